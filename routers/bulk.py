"""Uploading a file: check it, load it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from models.api import EXAMPLE_ID, BulkResult, Progress, ValidationResult
from models.batch import Batch, Row
from models.errors import (
    FileRejected,
    FormUnreadable,
    NotCsv,
    QueueFull,
    ShuttingDown,
    StorageUnavailable,
    UploadNotKept,
    UploadStalled,
)
from models.validation import Finding
from routers.dependencies import AsyncDep, ServiceDep, UploadDep, progress_of, reply
from routers.openapi import problems
from routers.upload_limit import STALL_S
from routers.upload_route import FORM_LIMITS, UploadRoute
from services import clock
from services.batch_service import BatchService

router = APIRouter(
    prefix="/hospitals", tags=["Upload"], route_class=UploadRoute, form_limits=FORM_LIMITS
)

FINDING = Finding(
    row=3,
    line=4,
    column="phone",
    value="n/a",
    error_type="invalid_phone",
    message="Write the phone as 7 to 15 digits with an optional + in front and space - ( ) . "
    "between them, or leave it empty: it has 3 characters, 0 of them digits.",
)
_UPLOAD_ERRORS = (
    FormUnreadable("Missing boundary in multipart."),
    UploadStalled(STALL_S),
    NotCsv(),
    UploadNotKept(),
    ShuttingDown(),
)
LOCATION = {
    "Location": {
        "description": "Where to follow the batch",
        "schema": {"type": "string", "examples": [f"/hospitals/progress/{EXAMPLE_ID}"]},
    }
}
_PREFERENCE_APPLIED = {
    "Preference-Applied": {
        "description": "When it was asked for",
        "schema": {"type": "string", "const": "respond-async"},
    }
}

# What the file's part is, for programs that build the form from the document.
_ENCODING = {"file": {"contentType": "text/csv"}}
_FORM = {"requestBody": {"content": {"multipart/form-data": {"encoding": _ENCODING}}}}

RUN_RESPONSES: dict[int | str, Any] = {
    200: {
        "model": BulkResult,
        "description": "The batch has ended; `status` says how.",
        "headers": LOCATION,
    },
    202: {
        "model": Progress,
        "description": "The batch goes on; `Location` says where to follow it. Asked for with "
        "`Prefer: respond-async`, or because the service is stopping: the next start goes on.",
        "headers": LOCATION | _PREFERENCE_APPLIED,
    },
}


@router.post(
    "/bulk",
    response_model=BulkResult,
    summary="Load a file",
    openapi_extra=_FORM,
    responses=RUN_RESPONSES
    | problems(
        FileRejected((FINDING,)),
        *_UPLOAD_ERRORS,
        StorageUnavailable(),
        QueueFull(200),
    ),
)
async def bulk(
    upload: UploadDep,
    respond_async: AsyncDep,
    service: ServiceDep,
    skip_invalid: Annotated[
        bool, Query(description="Load the sound rows of a file that has others too")
    ] = False,
) -> Response:
    """Create every row of the file in the directory, then activate them together.

    The batch goes on when the client goes away. `completed` means: each row is in the directory,
    once, active. With `skip_invalid` that goes for the sound rows; the others are `failed` with
    their reason.
    """
    async with upload.turn:
        batch = await service.submit(upload.file, upload.name, skip_invalid=skip_invalid)
    if respond_async:
        return accepted(service, batch, asked_for=True)
    if not await service.wait(batch):
        return accepted(service, batch)
    return ended(batch, batch.rows)


@router.post(
    "/validate",
    response_model=ValidationResult,
    summary="Check a file without sending it",
    openapi_extra=_FORM,
    responses=problems(*_UPLOAD_ERRORS),
)
async def validate(upload: UploadDep, service: ServiceDep) -> Response:
    """Tell everything that is wrong with the file; nothing is stored or sent."""
    async with upload.turn:
        content = await service.validate(upload.file)
    return reply(ValidationResult.of(content))


def accepted(service: BatchService, batch: Batch, *, asked_for: bool = False) -> Response:
    """Return 202 with the batch's progress and where to follow it."""
    headers = _location(batch)
    if asked_for:
        headers["Preference-Applied"] = "respond-async"
    return reply(progress_of(service, batch), 202, headers)


def ended(batch: Batch, rows: list[Row]) -> Response:
    """Return 200 with what became of the batch's *rows*."""
    return reply(BulkResult.of(batch, rows, clock.now_s()), 200, _location(batch))


def _location(batch: Batch) -> dict[str, str]:
    return {"Location": f"/hospitals/progress/{batch.id}"}
