"""What one run of a batch knows and the next one need not."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from models.batch import Batch
from services import clock
from services.peers import Lost
from services.reasons import CannotContinue
from services.settling import Settling

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """How patient and how broad a run is.

    Attributes:
        settle_s: Seconds that a request may still be applied.
        max_attempts: Sends of one row.
        max_in_flight: Creates that are under way at a time, of all batches.
    """

    settle_s: float
    max_attempts: int
    max_in_flight: int

    def parts_at_once(self, batch: Batch) -> int:
        """Return how many parts of *batch* are worked on at a time.

        Enough to have creates under way while parts are looked at, or settle, few enough to keep
        what waits small.
        """
        part_rows = batch.part_rows or len(batch.rows)
        return min(batch.parts, max(16, 4 * self.max_in_flight // part_rows))


@dataclass(slots=True)
class Part:
    """One part of a batch in one run: the rows that go to the same directory batch.

    Attributes:
        number: Counted from 0.
        settling: Whether anything sent of it may still be applied.
        is_new: Nothing of it was ever sent, so there is nothing to look for.
        looked_s: When it was last looked at (monotonic, the look's sending).
        verified_s: Monotonic time of the look that showed it to be as the file has it; None: it
            was not looked at since it was last changed, or since the directory lost rows.
        inactive: Its directory batches still to be activated, as of then, and their hospitals.
        changes: Activations and rounds of deletes so far.
        change_error: What the last of them met, for a person.
    """

    number: int
    settling: Settling
    is_new: bool
    looked_s: float = -math.inf
    verified_s: float | None = None
    inactive: Counter[UUID | None] = field(default_factory=Counter)
    changes: int = 0
    change_error: str = "it had no effect"


@dataclass(slots=True)
class Run:
    """One run of a batch.

    Attributes:
        batch: The batch, claimed for this run.
        parts: Its parts, in order.
        uncounted: A restart began it, and it has sent nothing yet.
        counting: Held while that is made known.
        opening: Held while it is made known where rows will go.
        attempts: Sends of each row in this run; refusals for pace do not count.
        vanishings: How often the directory lost each row in this run.
        has_lost: The directory lost rows since the parts were last gone through: none is to be
            activated before all are looked at again.
        lost_s: When that was last noticed (monotonic): an earlier look verifies nothing.
        losses: How often they had to be gone through again for it.
        stopped_by: Why no further row is sent.
        waits: What a stop ends.
    """

    batch: Batch
    parts: list[Part]
    uncounted: bool
    counting: asyncio.Lock = field(default_factory=asyncio.Lock)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    attempts: Counter[int] = field(default_factory=Counter)
    vanishings: Counter[int] = field(default_factory=Counter)
    has_lost: bool = False
    lost_s: float = -math.inf
    losses: int = 0
    stopped_by: CannotContinue | None = None
    waits: set[asyncio.Timeout] = field(default_factory=set)

    @classmethod
    def of(cls, batch: Batch, settle_s: float, *, again: bool, automatic: bool) -> "Run":
        """Return a run that has not begun; for *again* and *automatic* see `BatchRunner.run`."""
        parts = [
            Part(
                number,
                Settling(settle_s, in_doubt=number in batch.unsettled),
                is_new=not again or number >= batch.opened_parts,
            )
            for number in range(batch.parts)
        ]
        return cls(batch, parts, automatic)

    @property
    def is_verified(self) -> bool:
        """Whether every part is as the file has it, as far as the last looks tell."""
        return all(part.verified_s is not None for part in self.parts)

    def stop(self, reason: CannotContinue) -> None:
        """Send no further row, and end every wait; what is under way keeps its outcome."""
        if self.stopped_by is None:
            for wait in self.waits:
                wait.reschedule(asyncio.get_running_loop().time())
        if self.stopped_by is None or isinstance(reason, Lost):  # however it was to end
            self.stopped_by = reason

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

    def doubt(self, part: Part) -> None:
        """Note an exchange of *part* with an unknown outcome."""
        part.settling.doubt()
        self.batch.doubtful |= {part.number}
        self.batch.unsettled |= {part.number}

    def lost(self, part: Part) -> None:
        """Note that the directory lost rows of *part*: it may have lost any others."""
        self.has_lost, self.lost_s = True, clock.now_s()
        for one in self.parts:
            one.verified_s = None
        self.doubt(part)
