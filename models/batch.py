"""A batch and its rows: statuses, the moves between them, and what follows from them.

Counts, percentages and "may it be resumed" are derived from the rows, never stored beside them.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

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


class BatchStatus(StrEnum):
    """Where a batch stands."""

    INITIALIZING = "initializing"  # on disk, not yet started
    VALIDATING = "validating"  # kept for clients, never entered
    PROCESSING = "processing"
    ACTIVATING = "activating"
    COMPLETED = "completed"  # every row created, verified and active
    RESUMABLE = "resumable"  # a resume can finish it
    FAILED = "failed"  # every row not created was refused with 422
    ABANDONING = "abandoning"  # its hospitals are being deleted; never resumed


BATCH_MOVES: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.INITIALIZING: frozenset({BatchStatus.PROCESSING, BatchStatus.RESUMABLE}),
    BatchStatus.VALIDATING: frozenset(),
    BatchStatus.PROCESSING: frozenset(
        {
            BatchStatus.ACTIVATING,
            BatchStatus.COMPLETED,
            BatchStatus.RESUMABLE,
            BatchStatus.FAILED,
        }
    ),
    BatchStatus.ACTIVATING: frozenset(
        {
            BatchStatus.PROCESSING,
            BatchStatus.COMPLETED,
            BatchStatus.RESUMABLE,
            BatchStatus.FAILED,
        }
    ),
    BatchStatus.COMPLETED: frozenset(),
    BatchStatus.RESUMABLE: frozenset({BatchStatus.PROCESSING, BatchStatus.ABANDONING}),
    # A row that was corrected can be sent.
    BatchStatus.FAILED: frozenset({BatchStatus.RESUMABLE, BatchStatus.ABANDONING}),
    BatchStatus.ABANDONING: frozenset(),
}

# Statuses that do not change by themselves: a client need not ask again.
ENDED = frozenset({BatchStatus.COMPLETED, BatchStatus.RESUMABLE, BatchStatus.FAILED})

# At rest short of its end: rows can be corrected, it can be abandoned, and is so for its age.
STOPPED = frozenset({BatchStatus.RESUMABLE, BatchStatus.FAILED})

# What a process that died leaves behind.
INTERRUPTED = frozenset({BatchStatus.INITIALIZING, BatchStatus.PROCESSING, BatchStatus.ACTIVATING})


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


@dataclass(slots=True)
class Batch:
    """One uploaded file on its way into the directory.

    Attributes:
        id: The service's batch id, and the `creation_batch_id` of its first directory batch.
        directory_url: The directory that its rows went to; no other may be resumed into.
        rows: In file order; row n stands at index n - 1.
        created_at: When it was accepted (UTC).
        updated_at: When it last changed (UTC, wall clock: it must survive a restart).
        changed_s: The same in monotonic seconds of this process, for its age.
        file_name: What the uploaded file was called, for a person to know it again.
        owner: Name of the key that it was uploaded with; None: without one.
        idempotency_key: What its client called the upload, to find the batch again.
        file_digest: SHA-256 of the uploaded file in hex, of a batch with such a key.
        failure_reason: Why it is not completed, for a person.
        resume_count: Runs after the first, asked for or automatic.
        cancelled: Somebody wants no further row sent: no restart goes on with it.
        auto_resumes: Automatic runs that sent a row, since a row was last created.
        doubtful: Some exchange had an unknown outcome, or a process died while it ran.
        unsettled: Something sent may still be applied: settle before deleting or activating.
        directory_batches: How many directory batches may hold its rows. More than one only after
            rows lacked beside an active one: nothing can be added to that directory batch.
        seconds: Time its runs took, in seconds, up to `running_since`.
        running_since: Monotonic time of the present run's start, in seconds; None at rest.
        step: What is being done right now, for a person; empty at rest.
        step_ends_s: When that is over, in monotonic seconds; None when unknown.
    """

    id: UUID
    directory_url: str
    rows: list[Row]
    created_at: datetime
    updated_at: datetime
    status: BatchStatus = BatchStatus.INITIALIZING
    file_name: str | None = None
    owner: str | None = None
    idempotency_key: str | None = None
    file_digest: str | None = None
    failure_reason: str | None = None
    resume_count: int = 0
    cancelled: bool = False
    auto_resumes: int = 0
    doubtful: bool = False
    unsettled: bool = False
    directory_batches: int = 1
    seconds: float = 0.0
    changed_s: float = field(default=0.0, compare=False)
    running_since: float | None = field(default=None, compare=False)
    step: str = field(default="", compare=False)
    step_ends_s: float | None = field(default=None, compare=False)

    @property
    def directory_batch_ids(self) -> tuple[UUID, ...]:
        """The directory batches that may hold its rows; rows are sent to the last one."""
        further = range(1, self.directory_batches)
        return (self.id, *(uuid5(self.id, str(number)) for number in further))

    def row(self, number: int) -> Row:
        return self.rows[number - 1]

    @property
    def created_count(self) -> int:
        return sum(row.is_done for row in self.rows)

    @property
    def failed_count(self) -> int:
        return sum(row.status is RowStatus.FAILED for row in self.rows)

    @property
    def lacking(self) -> list[Row]:
        """The rows that the directory is to have and that are not created."""
        return [row for row in self.rows if not (row.is_done or row.skipped)]

    @property
    def is_correctable(self) -> bool:
        return self.status in STOPPED

    @property
    def is_activated(self) -> bool:
        active = RowStatus.CREATED_AND_ACTIVATED
        return all(row.status is active for row in self.rows if not row.skipped)

    @property
    def first_open_row(self) -> int:
        """The first row not created; one past the last if all are."""
        return next((row.hospital.row for row in self.rows if not row.is_done), len(self.rows) + 1)

    def elapsed_seconds(self, now_s: float) -> float:
        """Return the time all runs took, the present one up to *now_s* (monotonic seconds)."""
        running = now_s - self.running_since if self.running_since is not None else 0.0
        return self.seconds + running

    def check_move(self, status: BatchStatus) -> None:
        """Raise IllegalMove unless the batch may go to *status*, or is there already."""
        if status is not self.status and status not in BATCH_MOVES[self.status]:
            raise IllegalMove(f"batch {self.id}: {self.status} -> {status}")

    def snapshot(self, now_s: float) -> "Batch":
        """Return a copy that later changes do not touch, its times as of *now_s*."""
        return replace(self, rows=list(self.rows), seconds=self.elapsed_seconds(now_s))
