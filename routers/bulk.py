"""Uploading a file: check it, load it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from models.api import BulkResult, RowError, ValidationResult
from models.errors import (
    FileRejected,
    FormUnreadable,
    InvalidRequest,
    KeyReused,
    NotCsv,
    QueueFull,
    ShuttingDown,
    StorageUnavailable,
    TooManyBatches,
    UploadNotKept,
    UploadStalled,
    UploadTooSlow,
)
from routers.access import CallerDep
from routers.answers import FINDING, REPLAYED, RUN_RESPONSES, accepted, ended
from routers.dependencies import AsyncDep, IdempotencyKeyDep, ServiceDep, UploadDep
from routers.openapi import problems
from routers.pieces import reply_in_pieces
from routers.upload_route import FORM_LIMITS, UploadRoute
from services.uploads import Upload

router = APIRouter(
    prefix="/hospitals", tags=["Upload"], route_class=UploadRoute, form_limits=FORM_LIMITS
)

_UPLOAD_ERRORS = (
    FormUnreadable("Missing boundary in multipart."),
    UploadStalled(30),
    UploadTooSlow(300),
    NotCsv(),
    UploadNotKept(),
    ShuttingDown(),
)
# What the file's part is, for programs that build the form from the document.
_ENCODING = {"file": {"contentType": "text/csv"}}
_BULK_RESPONSES = {
    status: response | {"headers": response["headers"] | REPLAYED}
    for status, response in RUN_RESPONSES.items()
}
_FORM = {"requestBody": {"content": {"multipart/form-data": {"encoding": _ENCODING}}}}


@router.post(
    "/bulk",
    response_model=BulkResult,
    summary="Load a file",
    openapi_extra=_FORM,
    responses=_BULK_RESPONSES
    | problems(
        FileRejected((FINDING,)),
        *_UPLOAD_ERRORS,
        InvalidRequest("Send the CSV file as the multipart form field 'file'."),
        KeyReused(),
        TooManyBatches(50, None),
        StorageUnavailable(),
        QueueFull(200, None),
    ),
)
async def bulk(
    upload: UploadDep,
    respond_async: AsyncDep,
    idempotency_key: IdempotencyKeyDep,
    caller: CallerDep,
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
        submission = await service.submit(
            Upload(upload.file, upload.name, caller.name, idempotency_key, skip_invalid)
        )
    batch = submission.batch
    if respond_async:
        response = accepted(service, batch, asked_for=True)
    elif await service.wait(batch):
        response = ended(batch, batch.rows)
    else:
        response = accepted(service, batch)
    if submission.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    return response


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
    result = ValidationResult.of(content, service.loading_s(content.valid_rows))
    return reply_in_pieces(result, {"errors": map(RowError.of, content.errors)})
