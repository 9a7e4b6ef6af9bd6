"""What the directory has seen, for tests and benchmarks to read."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from directory.calls import Endpoint
from directory.faults import FaultKind


@dataclass(slots=True)
class Stats:
    """Counts since the start or the last reset; a restart of the directory keeps them.

    Attributes:
        requests: Every request that arrived, whatever became of it.
        refused: Answers with 429, those of `refuse` faults included.
        faulted: Requests that met a fault.
        in_flight: Requests between arrival and the end of their answer, waiting ones included.
        max_in_flight: The most of these at once.
        creates_in_flight: Creates being worked on, even without a client.
        committed: Creates stored.
        create_times: Loop time in seconds of each create counted against the limit.
    """

    requests: Counter[Endpoint] = field(default_factory=Counter)
    refused: Counter[Endpoint] = field(default_factory=Counter)
    faulted: Counter[FaultKind] = field(default_factory=Counter)
    in_flight: int = 0
    max_in_flight: int = 0
    creates_in_flight: int = 0
    committed: int = 0
    create_times: list[float] = field(default_factory=list)

    @contextmanager
    def request(self, endpoint: Endpoint) -> Iterator[None]:
        """Count a request for as long as the block lasts."""
        self.requests[endpoint] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1

    @contextmanager
    def create(self) -> Iterator[None]:
        """Count a create as under way for as long as the block lasts."""
        self.creates_in_flight += 1
        try:
            yield
        finally:
            self.creates_in_flight -= 1

    def reset(self) -> None:
        """Forget the past; what is under way stays counted."""
        self.requests.clear()
        self.refused.clear()
        self.faulted.clear()
        self.max_in_flight = self.in_flight
        self.committed = 0
        self.create_times.clear()
