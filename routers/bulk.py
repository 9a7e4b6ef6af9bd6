"""Uploading a file: check it, load it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from models.api import BulkResult, ValidationResult
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
from routers.answers import FINDING, RUN_RESPONSES, accepted, ended
from routers.dependencies import AsyncDep, ServiceDep, UploadDep, reply
from routers.openapi import problems
from routers.upload_limit import STALL_S
from routers.upload_route import FORM_LIMITS, UploadRoute

router = APIRouter(
    prefix="/hospitals", tags=["Upload"], route_class=UploadRoute, form_limits=FORM_LIMITS
)

_UPLOAD_ERRORS = (
    FormUnreadable("Missing boundary in multipart."),
    UploadStalled(STALL_S),
    NotCsv(),
    UploadNotKept(),
    ShuttingDown(),
)
# What the file's part is, for programs that build the form from the document.
_ENCODING = {"file": {"contentType": "text/csv"}}
_FORM = {"requestBody": {"content": {"multipart/form-data": {"encoding": _ENCODING}}}}


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
