"""What can be done with a batch that stopped: find it, resume it, abandon it."""

from fastapi import APIRouter, Response

from models.api import Abandoned, BulkResult, Resumable
from models.errors import (
    BatchConflict,
    BatchNotFound,
    DirectoryUnreachable,
    QueueFull,
    ShuttingDown,
    StorageUnavailable,
)
from routers.bulk import RUN_RESPONSES, accepted, ended
from routers.dependencies import AsyncDep, BatchIdDep, ServiceDep, reply
from routers.openapi import problems

router = APIRouter(prefix="/hospitals", tags=["Stopped batches"])


@router.get("/resumable", summary="List the batches that a resume can finish")
async def resumable(service: ServiceDep) -> list[Resumable]:
    """Oldest first, each with the reason why it stopped."""
    return [Resumable.of(batch) for batch in service.resumable()]


@router.post(
    "/resume/{batch_id}",
    response_model=BulkResult,
    summary="Go on with a stopped batch",
    responses=RUN_RESPONSES
    | problems(
        BatchNotFound(),
        BatchConflict("The batch is completed: there is nothing to resume."),
        StorageUnavailable(),
        QueueFull(200),
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


@router.delete(
    "/batch/{batch_id}/abandon",
    response_model=Abandoned,
    summary="Take a stopped batch back",
    responses=problems(
        BatchNotFound(),
        BatchConflict("The batch is being worked on: wait until it has ended."),
        DirectoryUnreachable(
            "The directory could not be reached for 90 s (no connection to the directory): "
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
