"""What one HTTP exchange with the directory came to: one value of a small closed set.

The one rule behind the set: what cannot be proved unapplied is `Unknown`, and what is unknown is
looked up before anything is sent again.
"""

from dataclasses import dataclass
from typing import TypeAlias

from models.hospital import ListedHospital


@dataclass(frozen=True, slots=True)
class Created:
    """The directory answered with the hospital's id; only a list proves that it stays."""

    hospital_id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """422: the directory refuses this row's content. Sending it again cannot help."""

    reason: str


@dataclass(frozen=True, slots=True)
class BatchFull:
    """400: the directory counts as many hospitals in the batch as it takes."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Every hospital of one directory batch; empty when the directory knows no such batch."""

    hospitals: tuple[ListedHospital, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """One hospital, looked up by its id."""

    hospital: ListedHospital


@dataclass(frozen=True, slots=True)
class Activated:
    """The directory says how many hospitals it made active."""

    count: int


@dataclass(frozen=True, slots=True)
class AlreadyActive:
    """400: some hospital of the batch was active before, so nothing was activated."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """The directory deleted what it was asked to."""


@dataclass(frozen=True, slots=True)
class Absent:
    """404 in the directory's own words: there is no such hospital, or none in the batch."""


@dataclass(frozen=True, slots=True)
class StillActive:
    """Nothing was deleted: these hospitals (ids) of the directory batch are active."""

    hospital_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Awake:
    """The directory answered its `GET /` as itself."""


@dataclass(frozen=True, slots=True)
class RateLimited:
    """429: the request was refused before any work, so nothing was applied."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """No connection could be made, so nothing was applied."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No readable answer: it may have been applied, be applied later, or never be."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A 3xx or 4xx that the directory does not give: something in between answered."""

    reason: str


Failure: TypeAlias = RateLimited | NotSent | Unknown | Unexpected

CreateOutcome: TypeAlias = Created | Refused | BatchFull | Failure
ListOutcome: TypeAlias = Listed | Failure
FindOutcome: TypeAlias = Found | Absent | Failure
ActivateOutcome: TypeAlias = Activated | AlreadyActive | Absent | Failure
DeleteOutcome: TypeAlias = Deleted | Absent | Failure
DeleteBatchOutcome: TypeAlias = DeleteOutcome | StillActive
WakeOutcome: TypeAlias = Awake | Failure
