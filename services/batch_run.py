"""What one run of a batch knows and the next one need not."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from models.batch import Batch
from services.reasons import CannotContinue
from services.settling import Settling

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """How patient a run is: seconds that a request may still be applied, sends of one row."""

    settle_s: float
    max_attempts: int


@dataclass(slots=True)
class Run:
    """One run of a batch.

    Attributes:
        batch: The batch, claimed for this run.
        settling: Whether anything sent may still be applied.
        uncounted: A restart began it, and it has sent nothing yet.
        counting: Held while that is made known.
        attempts: Sends of each row in this run; refusals for pace do not count.
        vanishings: How often the directory lost each row in this run.
        changes: Activations and rounds of deletes so far.
        change_error: What the last of them met, for a person.
        stopped_by: Why no further row is sent.
        waits: What a stop ends.
    """

    batch: Batch
    settling: Settling
    uncounted: bool
    counting: asyncio.Lock = field(default_factory=asyncio.Lock)
    attempts: Counter[int] = field(default_factory=Counter)
    vanishings: Counter[int] = field(default_factory=Counter)
    changes: int = 0
    change_error: str = "it had no effect"
    stopped_by: CannotContinue | None = None
    waits: set[asyncio.Timeout] = field(default_factory=set)

    def stop(self, reason: CannotContinue) -> None:
        """Send no further row, and end every wait; what is under way keeps its outcome."""
        if self.stopped_by is None:
            self.stopped_by = reason
            for wait in self.waits:
                wait.reschedule(asyncio.get_running_loop().time())

    async def unless_stopped(self, waiting: Awaitable[T]) -> T:
        """Return what *waiting*, a wait or a question, returns; CannotContinue once stopped."""
        try:
            async with asyncio.timeout(None if self.stopped_by is None else 0.0) as wait:
                self.waits.add(wait)
                try:
                    result = await waiting
                finally:
                    self.waits.discard(wait)
        except TimeoutError:
            assert self.stopped_by is not None
            raise self.stopped_by from None
        if self.stopped_by is not None:  # in the very turn in which the answer came
            raise self.stopped_by
        return result

    def doubt(self) -> None:
        """Note an exchange with an unknown outcome."""
        self.settling.doubt()
        self.batch.doubtful = self.batch.unsettled = True
