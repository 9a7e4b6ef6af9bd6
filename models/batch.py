"""A batch: its statuses, the moves between them, and what follows from its rows.

Counts, percentages and "may it be resumed" are derived from the rows, never stored beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from models.outlook import Outlook
from models.row import DONE_ROWS, IllegalMove, Row, Rows, RowStatus


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


@dataclass(slots=True)
class Batch:
    """One uploaded file on its way into the directory.

    A file that has more rows than a directory batch may have is sent in parts, numbered from 0 in
    file order: each has directory batches of its own.

    Attributes:
        id: The service's batch id, and the `creation_batch_id` of its first directory batch.
        directory_url: The directory that its rows went to; no other may be resumed into.
        rows: In file order.
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
        part_rows: Rows of each part but the last; None: the whole file is one part.
        opened_parts: How many parts, from the first on, may have a row in the directory.
        further: Part -> how many directory batches it has beyond its first. It has some only after
            rows lacked beside an active one: nothing can be added to that directory batch.
        doubtful: Parts of which some exchange had an unknown outcome, or a process died meanwhile.
        unsettled: Those of which something sent may still be applied: settle before deleting or
            activating.
        seconds: Time its runs took, in seconds, up to `running_since`.
        running_since: Monotonic time of the present run's start, in seconds; None at rest.
        step: What is being done right now, for a person; empty at rest.
        step_ends_s: When that is over, in monotonic seconds; None when unknown.
        told: What the process that runs it told of it, if that is another one; and in a snapshot.
        told_s: When that was, in monotonic seconds.
    """

    id: UUID
    directory_url: str
    rows: Rows
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
    part_rows: int | None = None
    opened_parts: int = 1
    further: Mapping[int, int] = field(default_factory=dict)
    doubtful: frozenset[int] = frozenset()
    unsettled: frozenset[int] = frozenset()
    seconds: float = 0.0
    changed_s: float = field(default=0.0, compare=False)
    running_since: float | None = field(default=None, compare=False)
    step: str = field(default="", compare=False)
    step_ends_s: float | None = field(default=None, compare=False)
    told: Outlook | None = field(default=None, compare=False)
    told_s: float = field(default=0.0, compare=False)

    @property
    def parts(self) -> int:
        """How many parts the file has."""
        return -(-len(self.rows) // (self.part_rows or len(self.rows)))

    def part_of(self, number: int) -> int:
        """Return the part that row *number* is in."""
        return (number - 1) // (self.part_rows or len(self.rows))

    def rows_of(self, part: int) -> list[Row]:
        """Return the rows of one part, in file order."""
        size = self.part_rows or len(self.rows)
        return self.rows[part * size : (part + 1) * size]

    def directory_batch_ids(self, part: int) -> tuple[UUID, ...]:
        """Return the directory batches that a part may have rows in; it sends to the last one.

        That of a file which fits into one has the batch's own id.
        """
        first = uuid5(self.id, f"part {part}") if part else self.id
        further = range(1, self.further.get(part, 0) + 1)
        return (first, *(uuid5(first, str(number)) for number in further))

    @property
    def opened_directory_batch_ids(self) -> list[UUID]:
        """All directory batches that may hold rows of it."""
        return [one for part in range(self.opened_parts) for one in self.directory_batch_ids(part)]

    def row(self, number: int) -> Row:
        return self.rows[number - 1]

    @property
    def created_count(self) -> int:
        return self.rows.count(*DONE_ROWS)

    @property
    def failed_count(self) -> int:
        return self.rows.count(RowStatus.FAILED)

    @property
    def is_lacking(self) -> bool:
        """Whether rows are not created that the directory is to have."""
        return len(self.rows) > self.created_count + self.rows.skipped

    @property
    def lacking(self) -> list[Row]:
        """The rows that the directory is to have and that are not created."""
        return [row for row in self.rows if not (row.is_done or row.skipped)]

    @property
    def is_correctable(self) -> bool:
        return self.status in STOPPED

    @property
    def is_activated(self) -> bool:
        active = self.rows.count(RowStatus.CREATED_AND_ACTIVATED)
        return active == len(self.rows) - self.rows.skipped

    @property
    def inactive_parts(self) -> int:
        """How many parts are still to be activated, as far as the rows tell."""
        inactive = len(self.rows) - self.rows.count(RowStatus.CREATED_AND_ACTIVATED)
        return -(-(inactive - self.rows.skipped) // (self.part_rows or len(self.rows)))

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
        return replace(self, rows=self.rows.copy(), seconds=self.elapsed_seconds(now_s))
