"""A row of a file: its statuses, the moves between them, and all rows of a file together."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import overload

from models.hospital import HospitalRow


class RowStatus(StrEnum):
    """Where one row stands in the directory."""

    PENDING = "pending"  # never sent, or proved absent: may be sent
    PROCESSING = "processing"  # its create is under way
    VERIFYING = "verifying"  # sent, outcome unknown: looked up before it is sent again
    CREATED = "created"  # the directory gave an id; inactive until the batch is activated
    CREATED_AND_ACTIVATED = "created_and_activated"
    FAILED = "failed"  # refused with 422, out of tries, or skipped


ROW_MOVES: dict[RowStatus, frozenset[RowStatus]] = {
    RowStatus.PENDING: frozenset(
        {RowStatus.PROCESSING, RowStatus.CREATED, RowStatus.FAILED, RowStatus.VERIFYING}
    ),
    RowStatus.PROCESSING: frozenset(
        {RowStatus.PENDING, RowStatus.VERIFYING, RowStatus.CREATED, RowStatus.FAILED}
    ),
    RowStatus.VERIFYING: frozenset({RowStatus.PENDING, RowStatus.CREATED, RowStatus.FAILED}),
    # The directory forgets: it restarts, or drops its oldest rows.
    RowStatus.CREATED: frozenset({RowStatus.VERIFYING, RowStatus.CREATED_AND_ACTIVATED}),
    RowStatus.CREATED_AND_ACTIVATED: frozenset({RowStatus.VERIFYING, RowStatus.CREATED}),
    # A resume sends again what ran out of tries; a list may show it after all.
    RowStatus.FAILED: frozenset({RowStatus.PENDING, RowStatus.CREATED, RowStatus.VERIFYING}),
}

DONE_ROWS = frozenset({RowStatus.CREATED, RowStatus.CREATED_AND_ACTIVATED})


class IllegalMove(Exception):
    """A status was to change in a way that the tables above do not allow: a defect here."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a batch and what became of it.

    Attributes:
        hospital: What the file says.
        status: Where it stands.
        hospital_id: The directory's id, while it is created.
        error: Why it failed or is unclear, in words.
        refused: The directory refused its content with 422: a resume does not send it again.
        skipped: Its content breaks the rules of files: it is never sent.
        seconds: Time its creates took so far, in seconds, over all runs.
    """

    hospital: HospitalRow
    status: RowStatus = RowStatus.PENDING
    hospital_id: int | None = None
    error: str | None = None
    refused: bool = False
    skipped: bool = False
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        return self.status in DONE_ROWS

    @property
    def is_excluded(self) -> bool:
        """The directory has none of it and is sent none of it, until it is corrected."""
        return self.refused or self.skipped

    def corrected(self, hospital: HospitalRow) -> "Row":
        """Return the excluded row with another content, to be sent."""
        return Row(hospital, seconds=self.seconds)

    def moved(
        self,
        status: RowStatus,
        *,
        hospital_id: int | None = None,
        error: str | None = None,
        refused: bool = False,
        seconds: float = 0.0,
    ) -> "Row":
        """Return the row in *status*, with *seconds* added; IllegalMove if it may not go there."""
        if status is not self.status and status not in ROW_MOVES[self.status]:
            raise IllegalMove(f"row {self.hospital.row}: {self.status} -> {status}")
        return replace(
            self,
            status=status,
            hospital_id=hospital_id,
            error=error,
            refused=refused,
            seconds=self.seconds + seconds,
        )


class Rows(Sequence[Row]):
    """The rows of a file in its order, row n at index n - 1, and how many are in each status.

    The numbers follow from the rows: they are kept up to date here, since files have many rows.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)
        self._of_status = Counter(row.status for row in self._rows)
        self._skipped = sum(row.skipped for row in self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]  # they change

    def put(self, row: Row) -> None:
        """Have *row* take the place of the one with its number."""
        index = row.hospital.row - 1
        before = self._rows[index]
        self._rows[index] = row
        self._of_status[before.status] -= 1
        self._of_status[row.status] += 1
        self._skipped += row.skipped - before.skipped

    def count(self, *statuses: RowStatus) -> int:
        """Return how many rows are in one of *statuses*."""
        return sum(self._of_status[status] for status in statuses)

    @property
    def skipped(self) -> int:
        """How many rows are skipped."""
        return self._skipped

    def copy(self) -> "Rows":
        """Return rows that later changes of these do not touch."""
        twin = Rows(())
        twin._rows, twin._of_status = self._rows.copy(), self._of_status.copy()
        twin._skipped = self._skipped
        return twin
