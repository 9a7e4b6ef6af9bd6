"""A batch as a versioned JSON document, and back; another version is not guessed at.

The document of a batch in several parts may be followed by changes of the batch, a line of JSON
each.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby
from typing import Annotated, Any, Literal, TypeVar, cast
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import DONE_ROWS, Row, Rows, RowStatus

VERSION = 1
GENERATION = "[0-9a-f]{8}"
ROWS_A_PIECE = 100  # encoded in about half a millisecond


class UnreadableCheckpoint(Exception):
    """The document is torn, foreign, inconsistent, or of another version."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _can_be_left(status: BatchStatus) -> BatchStatus:
    if status is BatchStatus.VALIDATING:
        raise ValueError("no batch is ever validating: nothing could lead out of it")
    return status


_Number = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Status = Annotated[BatchStatus, AfterValidator(_can_be_left)]
_Runs = tuple[tuple[_Number, _Number], ...]


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
    processing_seconds: _Seconds

    @model_validator(mode="after")
    def _is_consistent(self) -> "_RowDocument":
        if (self.hospital_id is not None) != (self.status in DONE_ROWS):
            raise ValueError("a created row has an id, and only a created row")
        if (self.refused or self.skipped) and self.status is not RowStatus.FAILED:
            raise ValueError("only a failed row was refused or skipped")
        return self


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


# Each becomes a row as soon as it is read: thousands at a time in both forms take much memory.
_ReadRow = Annotated[_RowDocument, AfterValidator(_row)]


class _PartsDocument(_Document):
    """Of a file that is sent in parts; many parts are told as runs, each by its first and last."""

    rows: Annotated[int, Field(ge=1)]  # of each part but the last
    opened: _Number
    further: dict[_Number, Annotated[int, Field(ge=1, le=1000)]]
    doubtful: _Runs
    unsettled: _Runs

    def check(self, row_count: int) -> None:
        """Raise ValueError unless they can be the parts of so many rows."""
        count = -(-row_count // self.rows)
        named = chain(self.further, *self.doubtful, *self.unsettled)
        if count < 2 or self.opened > count or any(part >= count for part in named):
            raise ValueError("the parts are not those of the rows")


class _HeadDocument(_Document):
    version: Literal[1]
    batch_id: UUID
    directory_url: str
    status: _Status
    file_name: str | None = None
    owner: str | None = None
    idempotency_key: str | None = None
    file_digest: str | None = None
    failure_reason: str | None
    created_at: AwareDatetime
    updated_at: AwareDatetime
    resume_count: _Number
    cancelled: bool = False
    auto_resumes: _Number
    doubtful: bool
    unsettled: bool
    directory_batches: Annotated[int, Field(ge=1, le=1000)] = 1
    parts: _PartsDocument | None = None
    generation: Annotated[str, Field(pattern=f"^{GENERATION}$")] | None = None
    processing_seconds: _Seconds


class _BatchDocument(_HeadDocument):
    rows: Annotated[tuple[_ReadRow, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _is_consistent(self) -> "_BatchDocument":
        if [row.hospital.row for row in _rows(self)] != list(range(1, len(self.rows) + 1)):
            raise ValueError("rows are numbered from 1 without gaps")
        if self.parts is not None:
            self.parts.check(len(self.rows))
        return self


class _StateDocument(_Document):
    """What changes while a batch in parts is under way, but for its rows."""

    status: _Status
    failure_reason: str | None
    updated_at: AwareDatetime
    resume_count: _Number
    cancelled: bool
    auto_resumes: _Number
    parts: _PartsDocument
    processing_seconds: _Seconds


class _ChangeDocument(_StateDocument):
    rows: tuple[_ReadRow, ...]


_Read = TypeVar("_Read", bound=_Document)


def encode(batch: Batch, generation: str | None = None) -> Iterator[bytes]:
    """Yield *batch*, which must be a snapshot, piece by piece as a document for a person to read.

    Args:
        batch: The snapshot.
        generation: Of a batch in several parts: what tells the changes that follow this document
            from those that followed an earlier one.
    """
    head = _head(batch, generation)
    in_one_part = head.parts is None
    # A file in one part is written as it was before there were several.
    left_out = {"parts", "generation"} if in_one_part else {"directory_batches"}
    text = head.model_dump_json(indent=1, exclude=left_out).removesuffix("\n}")
    yield from _pieces(
        text + ',\n "rows": [\n  ',
        batch.rows,
        ",\n  ",
        "\n ]\n}\n",
        indent=1 if in_one_part else None,
    )


def encode_change(batch: Batch, changed: Collection[int]) -> Iterator[bytes]:
    """Yield, piece by piece, a line with all that may have changed in a batch in several parts.

    Args:
        batch: A snapshot.
        changed: The numbers of the rows that changed.
    """
    text = _StateDocument(**_state(batch)).model_dump_json().removesuffix("}")
    rows = [batch.row(number) for number in sorted(changed)]
    yield from _pieces(text + ',"rows":[', rows, ",", "]}\n")


def decode(document: bytes) -> tuple[Batch, str | None]:
    """Return the batch that *document* describes, and the generation of the changes to come.

    Raises:
        UnreadableCheckpoint: With the reason, if it describes none.
    """
    read = _read(_BatchDocument, document)
    return _batch(read, Rows(_rows(read))), read.generation


def encode_head(batch: Batch) -> str:
    """Return all of *batch* but its rows, as a line of JSON."""
    left_out = {"generation", "directory_batches" if batch.part_rows else "parts"}
    return _head(batch, None).model_dump_json(exclude=left_out)


def decode_head(text: str, rows: Rows) -> Batch:
    """Return the batch that `encode_head` described, with *rows*; UnreadableCheckpoint if none."""
    return _batch(_read(_HeadDocument, text.encode()), rows)


def encode_row(row: Row) -> str:
    """Return a row as a line of JSON."""
    return _row_text(row)


def decode_row(text: str) -> Row:
    """Return the row that `encode_row` described; UnreadableCheckpoint if it describes none."""
    return _row(_read(_RowDocument, text.encode()))


def _batch(read: _HeadDocument, rows: Rows) -> Batch:
    return Batch(
        id=read.batch_id,
        directory_url=read.directory_url,
        rows=rows,
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
        **(_only_part(read) if read.parts is None else _parts(read.parts)),
    )


def changed_by(line: bytes, batch: Batch) -> Batch:
    """Return *batch*, which must not be used any more, as a line of changes leaves it.

    Raises:
        UnreadableCheckpoint: The line cannot be read, or is not about this batch.
    """
    read = _read(_ChangeDocument, line)
    rows = _rows(read)
    try:
        read.parts.check(len(batch.rows))
    except ValueError as error:
        raise UnreadableCheckpoint(f"parts: {error}") from None
    if read.parts.rows != batch.part_rows or any(r.hospital.row > len(batch.rows) for r in rows):
        raise UnreadableCheckpoint("rows: they are another batch's")
    for row in rows:
        batch.rows.put(row)
    return replace(
        batch,
        status=read.status,
        failure_reason=read.failure_reason,
        updated_at=read.updated_at,
        resume_count=read.resume_count,
        cancelled=read.cancelled,
        auto_resumes=read.auto_resumes,
        seconds=read.processing_seconds,
        **_parts(read.parts),
    )


def _head(batch: Batch, generation: str | None) -> _HeadDocument:
    return _HeadDocument(
        version=VERSION,
        batch_id=batch.id,
        directory_url=batch.directory_url,
        file_name=batch.file_name,
        owner=batch.owner,
        idempotency_key=batch.idempotency_key,
        file_digest=batch.file_digest,
        created_at=batch.created_at,
        doubtful=bool(batch.doubtful),
        unsettled=bool(batch.unsettled),
        directory_batches=1 + batch.further.get(0, 0),
        generation=generation,
        **_state(batch),
    )


def _state(batch: Batch) -> dict[str, Any]:
    return {
        "status": batch.status,
        "failure_reason": batch.failure_reason,
        "updated_at": batch.updated_at,
        "resume_count": batch.resume_count,
        "cancelled": batch.cancelled,
        "auto_resumes": batch.auto_resumes,
        "parts": _parts_document(batch),
        "processing_seconds": round(batch.seconds, 3),
    }


def _parts_document(batch: Batch) -> _PartsDocument | None:
    if batch.part_rows is None:
        return None
    return _PartsDocument(
        rows=batch.part_rows,
        opened=batch.opened_parts,
        further=dict(batch.further),
        doubtful=_runs(batch.doubtful),
        unsettled=_runs(batch.unsettled),
    )


def _pieces(
    head: str, rows: Sequence[Row], separator: str, tail: str, indent: int | None = None
) -> Iterator[bytes]:
    before = head
    for start in range(0, max(len(rows), 1), ROWS_A_PIECE):
        texts = [_row_text(row, indent) for row in rows[start : start + ROWS_A_PIECE]]
        after = tail if start + ROWS_A_PIECE >= len(rows) else ""
        yield (before + separator.join(texts) + after).encode()
        before = separator


def _row_text(row: Row, indent: int | None = None) -> str:
    document = _RowDocument(
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
    # Within a value there are no line breaks: JSON writes them as \n.
    return document.model_dump_json(indent=indent).replace("\n", "\n  ")


def _read(form: type[_Read], text: bytes) -> _Read:
    try:
        return form.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadableCheckpoint(f"{place or 'document'}: {first['msg']}") from None


def _rows(read: _BatchDocument | _ChangeDocument) -> tuple[Row, ...]:
    return cast("tuple[Row, ...]", read.rows)  # see `_ReadRow`


def _only_part(read: _HeadDocument) -> dict[str, Any]:
    return {
        "further": {0: read.directory_batches - 1} if read.directory_batches > 1 else {},
        "doubtful": frozenset({0} if read.doubtful else ()),
        "unsettled": frozenset({0} if read.unsettled else ()),
    }


def _parts(read: _PartsDocument) -> dict[str, Any]:
    return {
        "part_rows": read.rows,
        "opened_parts": read.opened,
        "further": read.further,
        "doubtful": _numbers(read.doubtful),
        "unsettled": _numbers(read.unsettled),
    }


def _runs(numbers: Iterable[int]) -> _Runs:
    """Return the first and the last of each run of *numbers* without a gap."""
    runs = []
    for _, run in groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        runs.append((members[0], members[-1]))
    return tuple(runs)


def _numbers(runs: _Runs) -> frozenset[int]:
    return frozenset(number for first, last in runs for number in range(first, last + 1))
