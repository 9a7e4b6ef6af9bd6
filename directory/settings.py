"""How a local Hospital Directory behaves: its speed and its limits."""

from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySettings:
    """The numbers of one directory; the defaults are those of the real one.

    Attributes:
        create_seconds: Seconds of work before a create is stored.
        create_limit: Creates per period and client address; 0 is no limit.
        lookup_limit: The same for each other endpoint but `GET /`.
        root_limit: The same for `GET /`.
        period: Seconds of a rate window.
        keep: Rows kept, the oldest dropped first; 0 is no limit.
        workers: Requests worked on at a time; further ones wait.
        batch_limit: Rows of a batch, checked before the work; 0 is no limit.
        seed: Seed of the luck behind faults with a probability.
    """

    UNLIMITED_AT_0: ClassVar = frozenset(
        {"create_limit", "lookup_limit", "root_limit", "keep", "batch_limit"}
    )

    create_seconds: float = 5.0
    create_limit: int = 30
    lookup_limit: int = 50
    root_limit: int = 100
    period: float = 60.0
    keep: int = 10_000
    workers: int = 40
    batch_limit: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} must not be negative")
        if self.workers < 1 or self.period <= 0:
            raise ValueError("workers must be at least 1 and period above 0")
