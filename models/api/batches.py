"""The shapes of batches and their rows."""

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from models.api.shape import EXAMPLE_ID, Shape, example
from models.batch import ENDED, Batch, BatchStatus
from models.outlook import Outlook
from models.row import Row, RowStatus

PAGE_ROWS = 1000  # of a progress document: 5 ms of work when all have changed

EXAMPLE_ROW = {
    "row": 1,
    "name": "Spire Roding Hospital",
    "status": "created_and_activated",
    "hospital_id": 101,
    "error_message": None,
    "processing_time": 5.012,
    "to_correct": None,
}

EXAMPLE_SUMMARY = {
    "batch_id": EXAMPLE_ID,
    "file_name": "hospitals.csv",
    "owner": None,
    "status": "completed",
    "failure_reason": None,
    "total_hospitals": 20,
    "processed_hospitals": 20,
    "failed_hospitals": 0,
    "progress_percentage": 100.0,
    "batch_activated": True,
    "is_completed": True,
    "resume_count": 0,
    "created_at": "2026-11-23T08:00:00Z",
    "updated_at": "2026-11-23T08:00:05Z",
}


class RowValues(Shape):
    """What one row of the file says."""

    name: str
    address: str
    phone: str | None


class RowState(Shape):
    """One row of a batch."""

    model_config = example(EXAMPLE_ROW)

    row: Annotated[int, Field(description="Data row of the file, counted from 1")]
    name: str
    status: RowStatus
    hospital_id: Annotated[int | None, Field(description="The directory's id, once created")]
    error_message: str | None
    processing_time: Annotated[
        float | None, Field(description="Seconds its creates took; null if never sent")
    ]
    to_correct: Annotated[
        RowValues | None, Field(description="Its values while they can be corrected, else null")
    ]

    @classmethod
    def of(cls, row: Row, *, is_correctable: bool) -> "RowState":
        """Return the state of a row; of one in a batch at rest, with what can be corrected."""
        return cls(
            row=row.hospital.row,
            name=row.hospital.name,
            status=row.status,
            hospital_id=row.hospital_id,
            error_message=row.error,
            processing_time=round(row.seconds, 3) if row.seconds else None,
            to_correct=_values(row) if is_correctable and row.is_excluded else None,
        )


def _values(row: Row) -> RowValues:
    hospital = row.hospital
    return RowValues(name=hospital.name, address=hospital.address, phone=hospital.phone)


class BulkResult(Shape):
    """What became of an uploaded file, or of a resume."""

    model_config = example(
        {
            "batch_id": EXAMPLE_ID,
            "status": "completed",
            "failure_reason": None,
            "total_hospitals": 1,
            "processed_hospitals": 1,
            "failed_hospitals": 0,
            "processing_time_seconds": 5.061,
            "batch_activated": True,
            "hospitals": [EXAMPLE_ROW],
        }
    )

    batch_id: UUID
    status: BatchStatus
    failure_reason: str | None
    total_hospitals: int
    processed_hospitals: Annotated[int, Field(description="Rows created")]
    failed_hospitals: int
    processing_time_seconds: Annotated[float, Field(description="Of all runs together")]
    batch_activated: bool
    hospitals: Annotated[
        list[RowState], Field(description="Every row; after a resume those that it handled")
    ]

    @classmethod
    def of(cls, batch: Batch, now_s: float) -> "BulkResult":
        """Return what became of a batch, still without rows."""
        return cls(
            batch_id=batch.id,
            status=batch.status,
            failure_reason=batch.failure_reason,
            total_hospitals=len(batch.rows),
            processed_hospitals=batch.created_count,
            failed_hospitals=batch.failed_count,
            processing_time_seconds=round(batch.elapsed_seconds(now_s), 3),
            batch_activated=batch.is_activated,
            hospitals=[],
        )


class _BatchFields(Shape):
    """What is told of a batch besides its rows and what it is doing."""

    batch_id: UUID
    file_name: Annotated[str | None, Field(description="What the file was called")]
    owner: Annotated[str | None, Field(description="Name of the key that it was uploaded with")]
    status: BatchStatus
    failure_reason: str | None
    total_hospitals: int
    processed_hospitals: Annotated[int, Field(description="Rows created")]
    failed_hospitals: int
    progress_percentage: Annotated[
        float, Field(ge=0, le=100, description="(created + failed) / total * 100")
    ]
    batch_activated: bool
    is_completed: Annotated[bool, Field(description="It will not change by itself")]
    resume_count: int
    created_at: datetime
    updated_at: datetime


def _batch_fields(batch: Batch) -> dict[str, Any]:
    created, failed, total = batch.created_count, batch.failed_count, len(batch.rows)
    return {
        "batch_id": batch.id,
        "file_name": batch.file_name,
        "owner": batch.owner,
        "status": batch.status,
        "failure_reason": batch.failure_reason,
        "total_hospitals": total,
        "processed_hospitals": created,
        "failed_hospitals": failed,
        "progress_percentage": round((created + failed) / total * 100, 2),
        "batch_activated": batch.is_activated,
        "is_completed": batch.status in ENDED,
        "resume_count": batch.resume_count,
        "created_at": batch.created_at,
        "updated_at": batch.updated_at,
    }


class BatchSummary(_BatchFields):
    """A batch without its rows."""

    model_config = example(EXAMPLE_SUMMARY)

    @classmethod
    def of(cls, batch: Batch) -> "BatchSummary":
        return cls(**_batch_fields(batch))


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Which rows of a batch are told: up to *limit*, from *offset* on, of all or of the failed."""

    offset: int = 0
    limit: int = PAGE_ROWS
    only_failed: bool = False

    def count(self, batch: Batch) -> int:
        """Return how many rows there are to page through."""
        return batch.failed_count if self.only_failed else len(batch.rows)

    def of(self, batch: Batch) -> list[Row]:
        """Return the page."""
        end = self.offset + self.limit
        if not self.only_failed:
            return batch.rows[self.offset : end]
        failed = (row for row in batch.rows if row.status is RowStatus.FAILED)
        end = min(end, batch.failed_count)  # beyond the last one all other rows would be looked at
        return list(islice(failed, min(self.offset, end), end))


FIRST_PAGE = RowSelection()


class Progress(_BatchFields):
    """Where a batch stands."""

    model_config = example(
        {
            "batch_id": EXAMPLE_ID,
            "status": "processing",
            "file_name": "hospitals.csv",
            "owner": None,
            "failure_reason": None,
            "total_hospitals": 1,
            "processed_hospitals": 0,
            "failed_hospitals": 0,
            "progress_percentage": 0.0,
            "processing_time_seconds": 2.5,
            "current_step": "creating hospitals",
            "eta_seconds": None,
            "batch_activated": False,
            "is_completed": False,
            "resume_count": 0,
            "created_at": "2026-11-23T08:00:00Z",
            "updated_at": "2026-11-23T08:00:02Z",
            "offset": 0,
            "selected_hospitals": 1,
            "hospitals": [EXAMPLE_ROW | {"status": "processing", "hospital_id": None}],
        }
    )

    processing_time_seconds: float
    current_step: str
    eta_seconds: Annotated[float | None, Field(description="null when unknown")]
    offset: Annotated[
        int, Field(description="How many of the selected rows come before those in `hospitals`")
    ]
    selected_hospitals: Annotated[
        int, Field(description="Rows to page through: all, or with `only=failed` the failed ones")
    ]
    hospitals: list[RowState]

    @classmethod
    def of(
        cls, batch: Batch, outlook: Outlook, now_s: float, selection: RowSelection
    ) -> "Progress":
        """Return what is told of a batch, still without rows; the counts are of all of them."""
        return cls(
            **_batch_fields(batch),
            processing_time_seconds=round(batch.elapsed_seconds(now_s), 3),
            current_step=outlook.step,
            eta_seconds=None if outlook.eta_s is None else round(outlook.eta_s, 1),
            offset=selection.offset,
            selected_hospitals=selection.count(batch),
            hospitals=[],
        )


class Resumable(Shape):
    """A batch that a resume can finish."""

    model_config = example(
        {
            "batch_id": EXAMPLE_ID,
            "total_hospitals": 20,
            "processed_hospitals": 12,
            "failed_hospitals": 0,
            "resume_from_row": 4,
            "failure_reason": "The directory could not be reached for 90 s (no connection to the "
            "directory): resume the batch when it is up again.",
            "last_checkpoint_time": 1795420800.0,
        }
    )

    batch_id: UUID
    total_hospitals: int
    processed_hospitals: int
    failed_hospitals: int
    resume_from_row: Annotated[int, Field(description="The first row not created")]
    failure_reason: str | None
    last_checkpoint_time: Annotated[float, Field(description="Seconds since the epoch")]

    @classmethod
    def of(cls, batch: Batch) -> "Resumable":
        return cls(
            batch_id=batch.id,
            total_hospitals=len(batch.rows),
            processed_hospitals=batch.created_count,
            failed_hospitals=batch.failed_count,
            resume_from_row=batch.first_open_row,
            failure_reason=batch.failure_reason,
            last_checkpoint_time=batch.updated_at.timestamp(),
        )


class Cleaned(Shape):
    """What a cleanup did."""

    model_config = example(
        {
            "message": "Completed batches forgotten: 2. Stopped batches abandoned in the "
            "background since the last cleanup: 1.",
            "cleaned": 3,
            "deleted_hospitals": 12,
        }
    )

    message: str
    cleaned: Annotated[int, Field(description="Batches that are no longer known")]
    deleted_hospitals: Annotated[int, Field(description="Hospitals deleted in the directory")]


class Abandoned(Shape):
    """What an abandon did."""

    model_config = example(
        {
            "message": "The batch is forgotten; hospitals deleted in the directory: 12.",
            "batch_id": EXAMPLE_ID,
            "deleted_hospitals": 12,
        }
    )

    message: str
    batch_id: UUID
    deleted_hospitals: int


class Correction(Shape):
    """New values of one row; what is left out stays."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"phone": "020 8709 7878"}], "minProperties": 1},
    )

    name: str | None = None
    address: str | None = None
    phone: Annotated[str | None, Field(description="Empty or null: none")] = None

    @property
    def changes(self) -> dict[str, str]:
        """The columns that were given, and their new values."""
        return {column: getattr(self, column) or "" for column in self.model_fields_set}
