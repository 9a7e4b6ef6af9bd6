"""The shapes of what is told of batches as a whole."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from models.api.shape import EXAMPLE_ID, Shape, example
from models.batch import ENDED, Batch, BatchStatus, Row
from models.hospital import ListedHospital

EXAMPLE_SUMMARY = {
    "batch_id": EXAMPLE_ID,
    "file_name": "hospitals.csv",
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
EXAMPLE_CURSOR = "AAZg7PsBoAALapweaj9MXp1WDw9vHCoR"


class BatchSummary(Shape):
    """A batch without its rows."""

    model_config = example(EXAMPLE_SUMMARY)

    batch_id: UUID
    file_name: Annotated[str | None, Field(description="What the file was called")]
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

    @classmethod
    def of(cls, batch: Batch) -> "BatchSummary":
        created, failed, total = batch.created_count, batch.failed_count, len(batch.rows)
        return cls(
            batch_id=batch.id,
            file_name=batch.file_name,
            status=batch.status,
            failure_reason=batch.failure_reason,
            total_hospitals=total,
            processed_hospitals=created,
            failed_hospitals=failed,
            progress_percentage=round((created + failed) / total * 100, 2),
            batch_activated=batch.is_activated,
            is_completed=batch.status in ENDED,
            resume_count=batch.resume_count,
            created_at=batch.created_at,
            updated_at=batch.updated_at,
        )


class BatchList(Shape):
    """One page of the batches, newest first."""

    model_config = example({"batches": [EXAMPLE_SUMMARY], "next_cursor": EXAMPLE_CURSOR})

    batches: list[BatchSummary]
    next_cursor: Annotated[
        str | None, Field(description="Give it as `cursor` for the next page; null on the last")
    ]


class Difference(Shape):
    """One row or hospital that is not as it should be."""

    row: Annotated[int | None, Field(description="null when the file has no such row")]
    hospital_id: Annotated[int | None, Field(description="null when the directory has none")]
    name: str

    @classmethod
    def of(cls, row: Row | None, hospital: ListedHospital | None) -> "Difference":
        name = row.hospital.name if row else (hospital and hospital.name) or ""
        return cls(
            row=row.hospital.row if row else None,
            hospital_id=hospital.id if hospital else None,
            # The directory may hold a lone surrogate, which could not be encoded.
            name=name.encode("utf-8", "replace").decode(),
        )


class Verification(Shape):
    """The directory compared with a batch's file."""

    model_config = example(
        {
            "batch_id": EXAMPLE_ID,
            "matches": False,
            "missing": [{"row": 3, "hospital_id": None, "name": "Castle Moor Infirmary"}],
            "surplus": [{"row": None, "hospital_id": 117, "name": "Alder Bridge Hospital"}],
            "inactive": [],
        }
    )

    batch_id: UUID
    matches: Annotated[bool, Field(description="Each row is there, once, active, nothing else is")]
    missing: Annotated[list[Difference], Field(description="Rows that are not there")]
    surplus: Annotated[
        list[Difference],
        Field(description="Copies beyond the file's rows, and hospitals that it does not have"),
    ]
    inactive: Annotated[list[Difference], Field(description="Rows that are there, not active")]
