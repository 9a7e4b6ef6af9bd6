"""The shapes on the wire, for routers only. Names and shapes are the service's contract."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from models.batch import ENDED, Batch, BatchStatus, Row, RowStatus
from models.validation import CsvContent, Finding

EXAMPLE_ID = "0b6a9c1e-6a3f-4c5e-9d56-0f0f6f1c2a11"
_EXAMPLE_ROW = {
    "row": 1,
    "name": "Spire Roding Hospital",
    "status": "created_and_activated",
    "hospital_id": 101,
    "error_message": None,
    "processing_time": 5.012,
}
_EXAMPLE_FINDING = {
    "row": 3,
    "line": 4,
    "column": "phone",
    "value": "n/a",
    "error_type": "invalid_phone",
    "message": "Give 7 to 15 digits, or leave the phone empty.",
}

_STEPS = {
    BatchStatus.INITIALIZING: "accepted",
    BatchStatus.VALIDATING: "validating",
    BatchStatus.PROCESSING: "creating hospitals",
    BatchStatus.ACTIVATING: "activating",
    BatchStatus.COMPLETED: "completed: every row is in the directory, once, active",
    BatchStatus.RESUMABLE: "stopped: resume it to go on, or abandon it",
    BatchStatus.FAILED: "failed: the directory refused rows",
    BatchStatus.ABANDONING: "being abandoned: its hospitals are being deleted",
}


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True)


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(frozen=True, json_schema_extra={"examples": [example]})


class RowState(_Shape):
    """One row of a batch."""

    model_config = _example(_EXAMPLE_ROW)

    row: Annotated[int, Field(description="Data row of the file, counted from 1")]
    name: str
    status: RowStatus
    hospital_id: Annotated[int | None, Field(description="The directory's id, once created")]
    error_message: str | None
    processing_time: Annotated[
        float | None, Field(description="Seconds its creates took; null if never sent")
    ]

    @classmethod
    def of(cls, row: Row) -> "RowState":
        return cls(
            row=row.hospital.row,
            name=row.hospital.name,
            status=row.status,
            hospital_id=row.hospital_id,
            error_message=row.error,
            processing_time=round(row.seconds, 3) if row.seconds else None,
        )


class BulkResult(_Shape):
    """What became of an uploaded file, or of a resume."""

    model_config = _example(
        {
            "batch_id": EXAMPLE_ID,
            "status": "completed",
            "failure_reason": None,
            "total_hospitals": 1,
            "processed_hospitals": 1,
            "failed_hospitals": 0,
            "processing_time_seconds": 5.061,
            "batch_activated": True,
            "hospitals": [_EXAMPLE_ROW],
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
    def of(cls, batch: Batch, rows: list[Row], now_s: float) -> "BulkResult":
        return cls(
            batch_id=batch.id,
            status=batch.status,
            failure_reason=batch.failure_reason,
            total_hospitals=len(batch.rows),
            processed_hospitals=batch.created_count,
            failed_hospitals=batch.failed_count,
            processing_time_seconds=round(batch.elapsed_seconds(now_s), 3),
            batch_activated=batch.is_activated,
            hospitals=[RowState.of(row) for row in rows],
        )


class Progress(_Shape):
    """Where a batch stands."""

    model_config = _example(
        {
            "batch_id": EXAMPLE_ID,
            "status": "processing",
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
            "hospitals": [_EXAMPLE_ROW | {"status": "processing", "hospital_id": None}],
        }
    )

    batch_id: UUID
    status: BatchStatus
    failure_reason: str | None
    total_hospitals: int
    processed_hospitals: Annotated[int, Field(description="Rows created")]
    failed_hospitals: int
    progress_percentage: Annotated[
        float, Field(ge=0, le=100, description="(created + failed) / total * 100")
    ]
    processing_time_seconds: float
    current_step: str
    eta_seconds: Annotated[float | None, Field(description="null when unknown")]
    batch_activated: bool
    is_completed: Annotated[bool, Field(description="It will not change by itself")]
    resume_count: int
    created_at: datetime
    updated_at: datetime
    hospitals: list[RowState]

    @classmethod
    def of(cls, batch: Batch, now_s: float) -> "Progress":
        created, failed, total = batch.created_count, batch.failed_count, len(batch.rows)
        return cls(
            batch_id=batch.id,
            status=batch.status,
            failure_reason=batch.failure_reason,
            total_hospitals=total,
            processed_hospitals=created,
            failed_hospitals=failed,
            progress_percentage=round((created + failed) / total * 100, 2),
            processing_time_seconds=round(batch.elapsed_seconds(now_s), 3),
            current_step=batch.step or _STEPS[batch.status],
            eta_seconds=None,
            batch_activated=batch.is_activated,
            is_completed=batch.status in ENDED,
            resume_count=batch.resume_count,
            created_at=batch.created_at,
            updated_at=batch.updated_at,
            hospitals=[RowState.of(row) for row in batch.rows],
        )


class Resumable(_Shape):
    """A batch that a resume can finish."""

    model_config = _example(
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


class RowError(_Shape):
    """One thing wrong with a file."""

    model_config = _example(_EXAMPLE_FINDING)

    row: Annotated[int, Field(description="Data row, counted from 1; 0 for the file as a whole")]
    line: Annotated[int, Field(description="Physical line, counted from 1; 0 if there is none")]
    column: str | None
    value: Annotated[str | None, Field(description="What stands there, shortened")]
    error_type: str
    message: Annotated[str, Field(description="What to do")]

    @classmethod
    def of(cls, finding: Finding) -> "RowError":
        return cls(
            row=finding.row,
            line=finding.line,
            column=finding.column,
            value=finding.value,
            error_type=finding.error_type,
            message=finding.message,
        )


class PreviewHospital(_Shape):
    """One sound row as it would be sent."""

    row: int
    name: str
    address: str
    phone: str | None


class FileProperties(_Shape):
    """What the file itself is like."""

    size_bytes: int
    encoding: str
    delimiter: str | None
    has_header: bool


class ValidationResult(_Shape):
    """What a check of a file found; nothing was stored or sent."""

    model_config = _example(
        {
            "is_valid": False,
            "total_rows": 3,
            "valid_rows": 2,
            "invalid_rows": 1,
            "errors": [_EXAMPLE_FINDING],
            "warnings": [],
            "preview_hospitals": [
                {
                    "row": 1,
                    "name": "Spire Roding Hospital",
                    "address": "Roding Lane South, Ilford, Essex, IG4 5PZ",
                    "phone": "020 8709 7878",
                }
            ],
            "file_info": {
                "size_bytes": 231,
                "encoding": "utf-8",
                "delimiter": ",",
                "has_header": True,
            },
        }
    )

    is_valid: bool
    total_rows: Annotated[int, Field(description="Data rows read; reading stops above the limit")]
    valid_rows: int
    invalid_rows: int
    errors: list[RowError]
    warnings: list[str]
    preview_hospitals: Annotated[list[PreviewHospital], Field(description="The first 5 sound rows")]
    file_info: FileProperties

    @classmethod
    def of(cls, content: CsvContent) -> "ValidationResult":
        return cls(
            is_valid=content.is_valid,
            total_rows=content.total_rows,
            valid_rows=len(content.rows),
            invalid_rows=content.total_rows - len(content.rows),
            errors=[RowError.of(finding) for finding in content.errors],
            warnings=list(content.warnings),
            preview_hospitals=[
                PreviewHospital(row=row.row, name=row.name, address=row.address, phone=row.phone)
                for row in content.rows[:5]
            ],
            file_info=FileProperties(
                size_bytes=content.info.size_bytes,
                encoding=content.info.encoding,
                delimiter=content.info.delimiter,
                has_header=content.info.has_header,
            ),
        )


class Cleaned(_Shape):
    """What a cleanup did."""

    model_config = _example(
        {"message": "Completed batches forgotten: 2.", "cleaned": 2, "deleted_hospitals": 0}
    )

    message: str
    cleaned: Annotated[int, Field(description="Batches forgotten")]
    deleted_hospitals: Annotated[int, Field(description="Hospitals deleted in the directory")]


class Abandoned(_Shape):
    """What an abandon did."""

    model_config = _example(
        {
            "message": "The batch is forgotten; hospitals deleted in the directory: 12.",
            "batch_id": EXAMPLE_ID,
            "deleted_hospitals": 12,
        }
    )

    message: str
    batch_id: UUID
    deleted_hospitals: int


class ApiInfo(_Shape):
    """What this is and where to go on."""

    model_config = _example(
        {
            "name": "Hospital Bulk Processing API",
            "version": "1.0.0",
            "status": "running",
            "links": {"docs": "/docs", "bulk": "/hospitals/bulk"},
        }
    )

    name: str
    version: str
    status: str
    links: dict[str, str]


class Health(_Shape):
    """The process serves."""

    model_config = _example({"status": "healthy", "version": "1.0.0"})

    status: str
    version: str


class Readiness(_Shape):
    """Whether uploads are taken, and how the directory was last seen."""

    model_config = _example({"status": "ready", "failing": [], "directory": "awake"})

    status: str
    failing: Annotated[list[str], Field(description="`storage`, `shutdown`; empty when ready")]
    directory: Annotated[
        str, Field(description="`awake`, `asleep` or `unreachable`; does not fail readiness")
    ]


def _is_none(value: object) -> bool:
    return value is None


class Problem(_Shape):
    """An error as RFC 9457 has it."""

    type: Annotated[str, Field(description="Stable name of the kind of problem")]
    title: str
    status: int
    detail: Annotated[str, Field(description="One sentence that a person can act on")]
    instance: Annotated[str, Field(description="The path that was called")]
    # Left out when they are not of this kind of problem; a row error keeps its nulls.
    errors: Annotated[
        list[RowError] | None,
        Field(description="Of a rejected file: everything wrong with it", exclude_if=_is_none),
    ] = None
    failing: Annotated[
        list[str] | None,
        Field(description="Of a service that is not ready: what fails", exclude_if=_is_none),
    ] = None
    directory: Annotated[
        str | None,
        Field(description="Of one that is not ready: the directory's state", exclude_if=_is_none),
    ] = None
