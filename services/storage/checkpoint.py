"""A batch as a versioned JSON document, and back; another version is not guessed at."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import DONE_ROWS, Row, Rows, RowStatus

VERSION = 1


class UnreadableCheckpoint(Exception):
    """The document is torn, foreign, inconsistent, or of another version."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _RowDocument(_Document):
    row: Annotated[int, Field(ge=1)]
    name: str
    address: str
    phone: str | None
    status: RowStatus
    hospital_id: int | None
    error: str | None
    refused: bool
    skipped: bool = False
    processing_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _is_consistent(self) -> "_RowDocument":
        if (self.hospital_id is not None) != (self.status in DONE_ROWS):
            raise ValueError("a created row has an id, and only a created row")
        if (self.refused or self.skipped) and self.status is not RowStatus.FAILED:
            raise ValueError("only a failed row was refused or skipped")
        return self


class _PartsDocument(_Document):
    """Of a file that is sent in parts."""

    rows: Annotated[int, Field(ge=1)]  # of each part but the last
    opened: Annotated[int, Field(ge=0)]
    further: dict[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1, le=1000)]]
    doubtful: tuple[Annotated[int, Field(ge=0)], ...]
    unsettled: tuple[Annotated[int, Field(ge=0)], ...]


class _BatchDocument(_Document):
    version: Literal[1]
    batch_id: UUID
    directory_url: str
    status: BatchStatus
    file_name: str | None = None
    owner: str | None = None
    idempotency_key: str | None = None
    file_digest: str | None = None
    failure_reason: str | None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    resume_count: Annotated[int, Field(ge=0)]
    cancelled: bool = False
    auto_resumes: Annotated[int, Field(ge=0)]
    doubtful: bool
    unsettled: bool
    directory_batches: Annotated[int, Field(ge=1, le=1000)] = 1
    parts: _PartsDocument | None = None
    processing_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    rows: Annotated[tuple[_RowDocument, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> "_BatchDocument":
        if [row.row for row in self.rows] != list(range(1, len(self.rows) + 1)):
            raise ValueError("rows are numbered from 1 without gaps")
        if self.status is BatchStatus.VALIDATING:
            raise ValueError("no batch is ever validating: nothing could lead out of it")
        if self.parts is not None:
            count = -(-len(self.rows) // self.parts.rows)
            named = {*self.parts.further, *self.parts.doubtful, *self.parts.unsettled}
            if count < 2 or self.parts.opened > count or any(part >= count for part in named):
                raise ValueError("the parts are not those of the rows")
        return self


def encode(batch: Batch) -> bytes:
    """Return *batch*, which must be a snapshot, as a document that a person can read."""
    document = _BatchDocument(
        version=VERSION,
        batch_id=batch.id,
        directory_url=batch.directory_url,
        status=batch.status,
        file_name=batch.file_name,
        owner=batch.owner,
        idempotency_key=batch.idempotency_key,
        file_digest=batch.file_digest,
        failure_reason=batch.failure_reason,
        created_at=batch.created_at,
        updated_at=batch.updated_at,
        resume_count=batch.resume_count,
        cancelled=batch.cancelled,
        auto_resumes=batch.auto_resumes,
        doubtful=bool(batch.doubtful),
        unsettled=bool(batch.unsettled),
        directory_batches=1 + batch.further.get(0, 0),
        parts=_parts_document(batch),
        processing_seconds=round(batch.seconds, 3),
        rows=tuple(_row_document(row) for row in batch.rows),
    )
    # A file in one part is written as it was before there were several.
    left_out = {"parts"} if document.parts is None else {"directory_batches"}
    return document.model_dump_json(indent=1, exclude=left_out).encode() + b"\n"


def decode(document: bytes) -> Batch:
    """Return the batch that *document* describes; UnreadableCheckpoint with the reason if none."""
    try:
        read = _BatchDocument.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableCheckpoint(f"{place or 'document'}: {first['msg']}") from None
    return Batch(
        id=read.batch_id,
        directory_url=read.directory_url,
        rows=Rows(_row(row) for row in read.rows),
        created_at=read.created_at,
        updated_at=read.updated_at,
        status=read.status,
        file_name=read.file_name,
        owner=read.owner,
        idempotency_key=read.idempotency_key,
        file_digest=read.file_digest,
        failure_reason=read.failure_reason,
        resume_count=read.resume_count,
        cancelled=read.cancelled,
        auto_resumes=read.auto_resumes,
        seconds=read.processing_seconds,
        **_parts(read),
    )


def _parts_document(batch: Batch) -> _PartsDocument | None:
    if batch.part_rows is None:
        return None
    return _PartsDocument(
        rows=batch.part_rows,
        opened=batch.opened_parts,
        further=dict(batch.further),
        doubtful=tuple(sorted(batch.doubtful)),
        unsettled=tuple(sorted(batch.unsettled)),
    )


def _parts(read: _BatchDocument) -> dict[str, Any]:
    if read.parts is None:
        return {
            "further": {0: read.directory_batches - 1} if read.directory_batches > 1 else {},
            "doubtful": frozenset({0} if read.doubtful else ()),
            "unsettled": frozenset({0} if read.unsettled else ()),
        }
    return {
        "part_rows": read.parts.rows,
        "opened_parts": read.parts.opened,
        "further": read.parts.further,
        "doubtful": frozenset(read.parts.doubtful),
        "unsettled": frozenset(read.parts.unsettled),
    }


def _row_document(row: Row) -> _RowDocument:
    return _RowDocument(
        row=row.hospital.row,
        name=row.hospital.name,
        address=row.hospital.address,
        phone=row.hospital.phone,
        status=row.status,
        hospital_id=row.hospital_id,
        error=row.error,
        refused=row.refused,
        skipped=row.skipped,
        processing_seconds=round(row.seconds, 3),
    )


def _row(read: _RowDocument) -> Row:
    return Row(
        hospital=HospitalRow(read.row, read.name, read.address, read.phone),
        status=read.status,
        hospital_id=read.hospital_id,
        error=read.error,
        refused=read.refused,
        skipped=read.skipped,
        seconds=read.processing_seconds,
    )
