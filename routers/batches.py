"""What can be done with a batch: resume it, cancel it, correct its rows, abandon it."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from models.api import Abandoned, BulkResult, Correction, Progress, Resumable, RowState
from models.errors import (
    BatchConflict,
    BatchNotFound,
    DirectoryUnreachable,
    InvalidRequest,
    QueueFull,
    RowNotFound,
    RowRejected,
    ShuttingDown,
    StorageUnavailable,
    TooManyBatches,
)
from routers.access import CallerDep
from routers.answers import FINDING, LOCATION, RUN_RESPONSES, accepted, ended
from routers.dependencies import AsyncDep, BatchIdDep, ServiceDep, reply
from routers.openapi import problems

router = APIRouter(prefix="/hospitals", tags=["Batches"])

CANCEL_RESPONSES: dict[int | str, Any] = {
    202: {"description": "No further row is sent.", "headers": LOCATION}
}


@router.get("/resumable", summary="List the batches that a resume can finish")
async def resumable(caller: CallerDep, service: ServiceDep) -> list[Resumable]:
    """Oldest first, each with the reason why it stopped."""
    await service.refresh_all()
    return [Resumable.of(batch) for batch in service.resumable(caller)]


@router.post(
    "/resume/{batch_id}",
    response_model=BulkResult,
    summary="Go on with a stopped batch",
    responses=RUN_RESPONSES
    | problems(
        BatchNotFound(),
        BatchConflict("The batch is completed: there is nothing to resume."),
        StorageUnavailable(),
        TooManyBatches(50, None),
        QueueFull(200, None),
        ShuttingDown(),
    ),
)
async def resume(batch_id: BatchIdDep, respond_async: AsyncDep, service: ServiceDep) -> Response:
    """Create what is missing and activate the batch.

    The directory is looked at first; what it has is not sent again. Of several resumes at once
    exactly one wins. `hospitals` holds only the rows that this resume handled.
    """
    resumption = await service.resume(batch_id)
    if respond_async:
        return accepted(service, resumption.batch, asked_for=True)
    if not await service.wait(resumption.batch):
        return accepted(service, resumption.batch)
    return ended(resumption.batch, resumption.handled())


@router.post(
    "/batch/{batch_id}/cancel",
    status_code=202,
    response_model=Progress,
    summary="Stop a running batch",
    responses=CANCEL_RESPONSES
    | problems(
        BatchNotFound(),
        BatchConflict("The batch is completed: there is nothing to cancel."),
        StorageUnavailable(),
    ),
)
async def cancel(batch_id: BatchIdDep, service: ServiceDep) -> Response:
    """Send no further row; when those under way have ended, the batch is `resumable`.

    Refused once the batch is being activated.
    """
    return accepted(service, await service.cancel(batch_id))


@router.patch(
    "/batch/{batch_id}/rows/{row}",
    response_model=RowState,
    summary="Correct a row",
    responses=problems(
        BatchNotFound(),
        RowNotFound(20),
        BatchConflict("The batch is completed: upload the row as a file of its own."),
        RowRejected((FINDING,)),
        InvalidRequest("Give at least one of name, address and phone."),
        StorageUnavailable(),
    ),
)
async def correct(
    batch_id: BatchIdDep,
    row: Annotated[int, Path(description="Its number in the file, from 1", examples=[3])],
    correction: Correction,
    service: ServiceDep,
) -> Response:
    """Give a row that the directory refused, or that was skipped, other values.

    The batch becomes `resumable`; a resume sends the row. The rules are those of files.
    """
    if not correction.changes:
        raise InvalidRequest("Give at least one of name, address and phone.")
    corrected = await service.correct(batch_id, row, correction.changes)
    is_correctable = service.get(batch_id).is_correctable
    return reply(RowState.of(corrected, is_correctable=is_correctable))


@router.delete(
    "/batch/{batch_id}/abandon",
    response_model=Abandoned,
    summary="Take a stopped batch back",
    responses=problems(
        BatchNotFound(),
        BatchConflict("The batch is being worked on: wait until it has ended."),
        DirectoryUnreachable(
            "The directory could not be reached for 90 s (no connection to the directory). "
            "Nothing was forgotten; abandon the batch again later."
        ),
        StorageUnavailable(),
        ShuttingDown(),
    ),
)
async def abandon(batch_id: BatchIdDep, service: ServiceDep) -> Response:
    """Delete the batch's inactive hospitals in the directory, then forget the batch.

    Refused while it runs, when it is completed, or when any of its hospitals is active.
    """
    deleted = await service.abandon(batch_id)
    return reply(
        Abandoned(
            message=f"The batch is forgotten; hospitals deleted in the directory: {deleted}.",
            batch_id=batch_id,
            deleted_hospitals=deleted,
        )
    )
