"""What one run of a batch knows and the next one need not."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from models.batch import Batch
from services.reasons import CannotContinue
from services.settling import Settling


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

    def doubt(self) -> None:
        """Note an exchange with an unknown outcome."""
        self.settling.doubt()
        self.batch.doubtful = self.batch.unsettled = True
