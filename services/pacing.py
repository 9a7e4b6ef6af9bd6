"""When a request may leave for the directory: never more than it allows, batches in turn.

`next_turn` is the arithmetic. A `Lane` applies it to one endpoint of the directory, for the whole
process, or with a `Budget` for all processes that share one. It decides nothing about outcomes
except one: a request refused with 429 did no work, so it goes again without costing its sender a
try.
"""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar
from uuid import UUID

from models.outcome import NotSent, RateLimited, Unknown
from models.outlook import Standing
from services import clock
from services.logs import get_logger

logger = get_logger(__name__)

FIRST_PROBE_S = 1.0  # after a 429 one request asks again after this, then after twice as long ...
LAST_PROBE_S = 10.0  # ... up to this; a refused request costs the directory nothing
GIVE_UP_WINDOWS = 5  # rate windows without one request that passed, before its sender is told

BUDGET_RETRY_S = 0.5

USUAL_WEIGHT = 0.2  # of the latest request in what is usual

T = TypeVar("T")


def _nothing(*_: object) -> None:
    """Nobody wants to know."""


def _none(_: UUID) -> int:
    """All requests of a batch wait here."""
    return 0


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `limit` requests start in any `period_s` seconds; a limit of 0 means no pacing."""

    limit: int
    period_s: float


def next_turn(sent_s: Sequence[float], now_s: float, pace: Pace) -> float:
    """Return how many seconds to wait before the next request may leave; 0.0 means now.

    In any window of `pace.period_s` at most `pace.limit` requests start, so a burst of up to
    `pace.limit` leaves at once.

    Args:
        sent_s: Monotonic times of earlier sends, ascending, the last `pace.limit` at least.
        now_s: Current monotonic time.
        pace: The limit.

    Source:
        Sliding log. The directory counts in fixed windows that start with the first request
        (directory's documentation), so no window of its own can hold more than any of ours.
    """
    if pace.limit == 0 or len(sent_s) < pace.limit:
        return 0.0
    return max(0.0, sent_s[-pace.limit] + pace.period_s - now_s)


def turns_left(sent_s: Sequence[float], now_s: float, pace: Pace) -> float:
    """Return how many requests may leave now, as `next_turn` lets them; inf if there is no limit.

    Args:
        sent_s: Monotonic times of earlier sends, the last `pace.limit` at least.
        now_s: Current monotonic time.
        pace: The limit.
    """
    if pace.limit == 0:
        return math.inf
    return max(0, pace.limit - sum(sent + pace.period_s > now_s for sent in sent_s))


def turn_after(requests: int, sent_s: Sequence[float], now_s: float, pace: Pace) -> float:
    """Return in how many seconds the last of *requests*, at least one, may leave.

    They leave as `next_turn` lets them; every `pace.limit` of them take one period.
    """
    if pace.limit == 0:
        return 0.0
    periods, rest = divmod(requests - 1, pace.limit)
    times = list(sent_s)
    for _ in range(rest + 1):
        times.append(now_s + next_turn(times, now_s, pace))
    return times[-1] - now_s + periods * pace.period_s


class BudgetAway(Exception):
    """What the processes share cannot be reached: nobody knows whether a request may leave."""


class Budget(Protocol):
    """The turns at one endpoint of the directory, shared by several processes."""

    async def take(self, wanted: int) -> tuple[int, list[float]]:
        """Take as many turns as there are, up to *wanted*; each is for a request that leaves now.

        Returns:
            How many were taken, and how many seconds ago each of the present period was, by any
            process; the oldest first.

        Raises:
            BudgetAway: None was taken, or they are lost.
        """

    def give_back(self, turns: int) -> None:
        """Return turns of which nothing was sent, or nothing that the directory counts."""


# Returns the budget of the endpoint of that name.
Budgets: TypeAlias = Callable[[str, Pace], Budget]


class TurnWithdrawn(Exception):
    """The waiting request will not be sent: its batch or the service is stopping."""


class TurnUnused(Exception):
    """Nothing was sent: raised by an exchange whose turn counts for nothing."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to send one request, granted at `sent_s` (monotonic seconds).

    A probe is sent alone, after a refusal, to see whether the directory takes requests again.
    """

    sent_s: float
    is_probe: bool


class Lane:
    """The way to one endpoint of the directory, shared by all batches of the process.

    A request takes a permit, then its turn in the pacing, then the batch that has waited longest
    is chosen, and its request leaves at once. After a 429 one request at a time probes with a
    growing pause while the others wait; when one passes, all go on.

    Args:
        pace: What the endpoint allows.
        max_in_flight: Permits.
        note_send: Called immediately before each request leaves.
        changed: Called when what `standing` tells of waiting requests has changed.
        to_come: Tells how many requests of a batch are still to leave, if not all wait here.
        elsewhere: Tells of each batch that waits in another process how many are to leave there.
        usual_s: Seconds that one takes, until that is known.
        name: What it is called in the log and in the metrics.
        note_refusal: Called with that name for each request that was refused with 429.
        budget: Shared with other processes; None: this one has the endpoint for itself.
    """

    def __init__(
        self,
        pace: Pace,
        max_in_flight: int,
        note_send: Callable[[], None] = _nothing,
        changed: Callable[[], None] = _nothing,
        to_come: Callable[[UUID], int] = _none,
        elsewhere: Callable[[], Sequence[int]] = tuple,
        usual_s: float = 0.0,
        name: str = "requests",
        note_refusal: Callable[[str], None] = _nothing,
        budget: Budget | None = None,
    ) -> None:
        self._budget = budget if pace.limit else None
        self._asking: asyncio.Task[None] | None = None  # for turns of the budget
        self._taken = 0  # turns of it that were not granted yet
        self._name = name
        self._pace = pace
        self._max_in_flight = max_in_flight
        self._note_send = note_send
        self._note_refusal = note_refusal
        self._changed = changed
        self._to_come = to_come
        self._elsewhere = elsewhere
        self._told: object = None
        self.usual_s = usual_s
        self._in_flight = 0
        self._sent_s: deque[float] = deque(maxlen=max(pace.limit, 1))
        self._waiting: dict[UUID, deque[asyncio.Future[Turn]]] = {}
        self._here: Counter[UUID] = Counter()  # requests of each batch, waiting or under way
        self._last_sent_s: dict[UUID, float] = {}  # of those batches
        self._withdrawn: set[UUID] = set()  # of those batches
        self._timer: asyncio.TimerHandle | None = None
        self._held_until_s = 0.0
        self._probe_pause_s = 0.0  # 0.0: not refused lately
        self._probing = False
        self._passed_s = 0.0
        self._closed = False

    async def send(self, batch_id: UUID, exchange: Callable[[], Awaitable[T]]) -> T:
        """Run *exchange* when its turn comes, again after every 429; return its outcome.

        RateLimited is returned only after `GIVE_UP_WINDOWS` windows in which nothing passed.

        Raises:
            TurnWithdrawn: The batch was withdrawn, or the lane closed, before the turn came.
            TurnUnused: *exchange* did.
        """
        self._here[batch_id] += 1
        try:
            return await self._send(batch_id, exchange)
        finally:
            self._here[batch_id] -= 1
            if not self._here[batch_id]:
                del self._here[batch_id]
                self._last_sent_s.pop(batch_id, None)
                self._withdrawn.discard(batch_id)

    async def _send(self, batch_id: UUID, exchange: Callable[[], Awaitable[T]]) -> T:
        refused_since_s: float | None = None
        while True:
            turn = await self._turn(batch_id)
            self._last_sent_s[batch_id] = turn.sent_s
            outcome: T | None = None
            try:
                outcome = await exchange()
            except TurnUnused:
                self._forget(turn)
                raise
            finally:
                self._leave(turn, outcome)
            if not isinstance(outcome, RateLimited):
                return outcome
            now_s = clock.now_s()
            if refused_since_s is None:
                refused_since_s = now_s
            if now_s - max(refused_since_s, self._passed_s) >= self._patience_s:
                return outcome
            if batch_id in self._withdrawn:
                raise TurnWithdrawn

    @property
    def waiting(self) -> int:
        """How many requests are still to leave, of batches that wait for their turn."""
        return sum(map(self._to_leave, self._waiting))

    @property
    def under_way(self) -> int:
        """How many requests have left and have no outcome yet."""
        return self._in_flight

    @property
    def turns_left(self) -> float:
        """How many requests the pacing would let go now; 0 while it waits after a refusal."""
        now_s = clock.now_s()
        return 0 if self._held_until_s > now_s else turns_left(self._sent_s, now_s, self._pace)

    def standing(self, batch_id: UUID) -> Standing | None:
        """Tell where the batch's waiting requests stand; None if there are none."""
        if batch_id not in self._waiting:
            return None
        now_s = clock.now_s()
        batches = list(self._waiting)
        place = batches.index(batch_id)
        mine = self._to_leave(batch_id)
        before = [mine] * place + [mine - 1] * (len(batches) - place)  # batches take turns
        requests = mine + sum(
            min(self._to_leave(other), most)
            for other, most in zip(batches, before, strict=True)
            if other != batch_id
        )
        elsewhere = self._elsewhere()  # they take turns with these
        requests += sum(min(theirs, mine) for theirs in elsewhere)
        return Standing(
            waiting=mine,
            ahead=tuple(batches[:place]),
            batches=len(batches) + len(elsewhere),
            opens_in_s=self._opens_in_s(now_s),
            last_in_s=self.last_in_s(requests),
            is_refused=bool(self._probe_pause_s),
        )

    def last_in_s(self, requests: int) -> float:
        """Tell in how many seconds the last of so many requests leaves if none is refused."""
        if not requests:
            return 0.0
        waves = math.ceil(max(0, requests - self._free) / self._max_in_flight)
        turn_s = turn_after(requests, self._sent_s, clock.now_s(), self._pace)
        return max(turn_s, waves * self.usual_s)

    def takes_s(self, requests: int) -> float:
        """Tell how many seconds so many requests, at least one, take if nothing else is sent."""
        waves = math.ceil(requests / self._max_in_flight) - 1
        turn_s = turn_after(requests, (), 0.0, self._pace)
        return max(turn_s, waves * self.usual_s) + self.usual_s

    def answered_in_s(self, batch_id: UUID) -> float | None:
        """Tell in how many seconds the batch's last send is answered if it takes the usual time.

        None if it is overdue, or none is under way.
        """
        if batch_id not in self._last_sent_s:
            return None
        left_s = self._last_sent_s[batch_id] + self.usual_s - clock.now_s()
        return left_s if left_s >= 0 else None

    def remember(self, ages_s: Iterable[float]) -> None:
        """Count the sends of an earlier process, that many seconds ago, before any of our own."""
        now_s = clock.now_s()
        self._sent_s.extend(sorted(now_s - age_s for age_s in ages_s))

    def withdraw(self, batch_id: UUID) -> None:
        """Send back whoever waits here for *batch_id*, now or after a refusal."""
        if batch_id in self._here:
            self._withdrawn.add(batch_id)
        for waiting in self._waiting.pop(batch_id, ()):
            if not waiting.done():
                waiting.set_exception(TurnWithdrawn())
        self._tell()

    def close(self) -> None:
        """Let nothing leave any more; what is under way goes on."""
        self._closed = True
        for batch_id in list(self._waiting):
            self.withdraw(batch_id)

    def _to_leave(self, batch_id: UUID) -> int:
        return max(len(self._waiting[batch_id]), self._to_come(batch_id))

    @property
    def _patience_s(self) -> float:
        return GIVE_UP_WINDOWS * self._pace.period_s

    async def _turn(self, batch_id: UUID) -> Turn:
        if self._closed:
            raise TurnWithdrawn
        waiting: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(batch_id, deque()).append(waiting)
        self._grant()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._forget(waiting.result())
                self._leave(waiting.result(), None)
            raise

    def _leave(self, turn: Turn, outcome: object) -> None:
        self._in_flight -= 1
        if turn.is_probe:
            self._probing = False
        if isinstance(outcome, RateLimited):
            self._note_refusal(self._name)
            self._refused(turn)
        elif outcome is not None and not isinstance(outcome, NotSent):
            if turn.is_probe:  # what left before the refusal says nothing about the time after
                self._probe_pause_s = 0.0
                logger.info("the directory takes requests again", lane=self._name)
            if not isinstance(outcome, Unknown):
                self._passed_s = clock.now_s()
                self._note_seconds(self._passed_s - turn.sent_s)
        self._grant()

    def _note_seconds(self, seconds: float) -> None:
        self.usual_s += USUAL_WEIGHT * (seconds - self.usual_s)

    def _forget(self, turn: Turn) -> None:
        if self._budget is not None:
            if not self._closed:
                self._budget.give_back(1)
        elif turn.sent_s in self._sent_s:
            self._sent_s.remove(turn.sent_s)

    def _refused(self, turn: Turn) -> None:
        self._forget(turn)  # the directory did not count it either
        if self._probe_pause_s and not turn.is_probe:
            return  # one of the same wave
        if not self._probe_pause_s:
            logger.info("the directory refuses requests for their rate", lane=self._name)
        now_s = clock.now_s()
        self._probe_pause_s = min(max(self._probe_pause_s * 2, FIRST_PROBE_S), LAST_PROBE_S)
        self._held_until_s = max(self._held_until_s, now_s + self._probe_pause_s)

    def _wait_s(self, now_s: float) -> float | None:
        """Seconds until the next request may leave; None while all permits are taken."""
        if self._probing or self._free <= 0:
            return None
        return self._held_until_s - now_s if self._taken else self._opens_in_s(now_s)

    @property
    def _free(self) -> int:
        return self._max_in_flight - self._in_flight

    def _opens_in_s(self, now_s: float) -> float:
        return max(next_turn(self._sent_s, now_s, self._pace), self._held_until_s - now_s)

    def _grant(self) -> None:
        """Let go whoever may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting:
            now_s = loop.time()
            wait_s = self._wait_s(now_s)
            if wait_s is None:
                break
            if wait_s > 0:
                self._timer = loop.call_later(wait_s, self._grant)
                break
            if self._budget is not None and not self._taken:
                self._ask(self._budget)
                break
            waiting = self._next_in_turn()
            if not waiting.done():
                self._in_flight += 1
                self._probing = bool(self._probe_pause_s)
                self._count(now_s)
                self._note_send()
                waiting.set_result(Turn(now_s, is_probe=self._probing))
        self._give_back_the_rest()
        self._tell()

    def _count(self, now_s: float) -> None:
        if self._budget is None:
            self._sent_s.append(now_s)
        else:
            self._taken -= 1

    def _ask(self, budget: Budget) -> None:
        if self._asking is None and not self._closed:
            # In no context: whoever's turn ends asks for the next one, of any batch.
            self._asking = asyncio.create_task(self._take_turns(budget), context=Context())

    async def _take_turns(self, budget: Budget) -> None:
        waiting = sum(map(len, self._waiting.values()))
        try:
            taken, ages_s = await budget.take(
                1 if self._probe_pause_s else min(waiting, self._free)
            )
        except BudgetAway:
            self._held_until_s = max(self._held_until_s, clock.now_s() + BUDGET_RETRY_S)
        else:
            self._taken = taken
            now_s = clock.now_s()
            self._sent_s.clear()
            self._sent_s.extend(now_s - age_s for age_s in ages_s)
        finally:
            self._asking = None
        self._grant()

    def _give_back_the_rest(self) -> None:
        """A turn is for a request that leaves at once: whoever was to have it has withdrawn."""
        if self._budget is not None and self._taken and not self._closed:
            self._budget.give_back(self._taken)
            self._taken = 0

    def _tell(self) -> None:
        now_s = clock.now_s()
        opens_s = round(now_s + self._opens_in_s(now_s), 1) if self._timer else None
        told = (*self._waiting, opens_s)
        if self._told != told:
            self._told = told
            self._changed()

    def _next_in_turn(self) -> asyncio.Future[Turn]:
        batch_id = next(iter(self._waiting))
        queue = self._waiting.pop(batch_id)
        waiting = queue.popleft()
        if queue:
            self._waiting[batch_id] = queue  # behind all others
        return waiting
