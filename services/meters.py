"""What the service counts about itself, for Prometheus.

No label has values that a client could choose: their number is bounded by the code.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from models.batch import BatchStatus
from models.outcome import (
    BatchFull,
    Created,
    CreateOutcome,
    NotSent,
    RateLimited,
    Refused,
    Unexpected,
    Unknown,
)

PREFIX = "hospital_bulk"

OUTCOMES: Mapping[type[CreateOutcome], str] = {
    Created: "created",
    Refused: "refused",
    BatchFull: "batch_full",
    RateLimited: "rate_limited",
    NotSent: "not_sent",
    Unknown: "unknown",
    Unexpected: "unexpected",
}
ENDPOINTS = ("create", "look", "find", "delete", "delete_batch", "activate")
FOUND, SENT_AGAIN, OUT_OF_TRIES = SETTLEMENTS = ("found", "sent_again", "out_of_tries")

# A create takes 5 to 7.5 s and is given up after 40; a checkpoint 0.3 ms where nothing else writes.
CREATE_BUCKETS_S = (1, 5, 5.5, 6, 7, 8, 10, 15, 20, 30, 40)
CHECKPOINT_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
HTTP_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)


class Meters:
    """The counters of one service, in a registry of their own: made once, handed to who counts.

    What can be read when it is asked for is read then: `show` says from where.
    """

    def __init__(self, version: str = "") -> None:
        # No series for the time at which each other series began: nobody asks for them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # shows nothing where there is no /proc
        Info(f"{PREFIX}_build", "The version that runs; always 1.", registry=registry).info(
            {"version": version}
        )
        self._creates = Counter(
            f"{PREFIX}_creates",
            "Creates that were sent to the directory, by what came of each.",
            ["outcome"],
            registry=registry,
        )
        self._create_seconds = Histogram(
            f"{PREFIX}_create_seconds",
            "How long the directory took for a create that it answered with an id.",
            buckets=CREATE_BUCKETS_S,
            registry=registry,
        )
        self._rate_limited = Counter(
            f"{PREFIX}_directory_rate_limited",
            "Requests that the directory refused with 429, by its endpoint; they go again.",
            ["endpoint"],
            registry=registry,
        )
        self._settled = Counter(
            f"{PREFIX}_unknown_outcomes_settled",
            "Rows of which it was unknown whether the directory has them, by what a look showed: "
            "it was found; absent and sent again; absent and out of tries.",
            ["how"],
            registry=registry,
        )
        self.copies_deleted = Counter(
            f"{PREFIX}_surplus_copies_deleted",
            "Copies of a row that the directory deleted because they were too many, or could never "
            "become active.",
            registry=registry,
        )
        self.checkpoint_seconds = Histogram(
            f"{PREFIX}_checkpoint_seconds",
            "How long it took to write a batch's state to disk, or to fail.",
            buckets=CHECKPOINT_BUCKETS_S,
            registry=registry,
        )
        self.checkpoint_failures = Counter(
            f"{PREFIX}_checkpoint_failures",
            "Writes of a batch's state that failed, and looks at a database that does not answer; "
            "each is tried again.",
            registry=registry,
        )
        self._requests = Counter(
            f"{PREFIX}_http_requests",
            "Requests that this service answered, counted when the answer begins.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            f"{PREFIX}_http_request_seconds",
            "How long it took until an answer of this service began.",
            ["route"],
            buckets=HTTP_BUCKETS_S,
            registry=registry,
        )
        # To find a series takes several times as long as to count in it.
        self._requests_of = cache(self._requests.labels)
        self._request_seconds_of = cache(self._request_seconds.labels)
        self._register_shown()
        self._begin_at_zero()

    def _register_shown(self) -> None:
        registry = self.registry
        self._batches = Gauge(
            f"{PREFIX}_batches", "Batches that are known, by status.", ["status"], registry=registry
        )
        self._rows_waiting = Gauge(
            f"{PREFIX}_rows_waiting", "Rows that wait for their turn to be sent.", registry=registry
        )
        self._creates_under_way = Gauge(
            f"{PREFIX}_creates_under_way",
            "Creates that were sent and have no outcome yet.",
            registry=registry,
        )
        self._budget_left = Gauge(
            f"{PREFIX}_create_budget_left",
            "Creates that the directory's rate limit lets go at once; 0 also while it refuses, "
            "+Inf without a limit.",
            registry=registry,
        )
        self._event_streams = Gauge(
            f"{PREFIX}_event_streams", "Event streams that are open.", registry=registry
        )

    def _begin_at_zero(self) -> None:
        """Show what never happened as 0: an increase from nothing to 1 is seen by no rule."""
        for outcome in OUTCOMES.values():
            self._creates.labels(outcome)
        for endpoint in ENDPOINTS:
            self._rate_limited.labels(endpoint)
        for how in SETTLEMENTS:
            self._settled.labels(how)

    def create_ended(self, outcome: CreateOutcome, seconds: float) -> None:
        """Count a create that was sent."""
        self._creates.labels(OUTCOMES[type(outcome)]).inc()
        if isinstance(outcome, Created):
            self._create_seconds.observe(seconds)

    def rate_limited(self, endpoint: str) -> None:
        """Count a 429 of one of the directory's `ENDPOINTS`."""
        self._rate_limited.labels(endpoint).inc()

    def settled(self, how: str) -> None:
        """Count a row whose unknown outcome a look settled, in one of the `SETTLEMENTS`."""
        self._settled.labels(how).inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer of the service; *method* and *route* are of few values."""
        self._requests_of(method, route, status).inc()
        self._request_seconds_of(route).observe(seconds)

    def show_creates(
        self,
        waiting: Callable[[], float],
        under_way: Callable[[], float],
        budget_left: Callable[[], float],
    ) -> None:
        """Have the creates of now read from these when somebody asks."""
        self._rows_waiting.set_function(waiting)
        self._creates_under_way.set_function(under_way)
        self._budget_left.set_function(budget_left)

    def show_batches(self, count: Callable[[BatchStatus], float]) -> None:
        """Have the batches of each status counted by *count* when somebody asks."""
        for status in BatchStatus:
            self._batches.labels(status).set_function(partial(count, status))

    def show_event_streams(self, count: Callable[[], float]) -> None:
        """Have the open event streams counted by *count* when somebody asks."""
        self._event_streams.set_function(count)
