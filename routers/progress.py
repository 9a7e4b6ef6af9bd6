"""Following a batch, and forgetting old ones."""

from fastapi import APIRouter, Response

from models.api import Cleaned, Progress
from models.errors import BatchNotFound, ShuttingDown
from routers.dependencies import BatchIdDep, ServiceDep, progress_of, reply
from routers.openapi import problems

router = APIRouter(prefix="/hospitals/progress", tags=["Progress"])


@router.get(
    "/{batch_id}",
    response_model=Progress,
    summary="Follow a batch",
    responses=problems(BatchNotFound()),
)
async def progress(batch_id: BatchIdDep, service: ServiceDep) -> Response:
    """Tell where the batch and each of its rows stand; ask again until `is_completed`."""
    return reply(progress_of(service, service.get(batch_id)))


@router.post("/cleanup", summary="End old batches", responses=problems(ShuttingDown()))
async def cleanup(service: ServiceDep) -> Cleaned:
    """Forget completed batches older than PROGRESS_CLEANUP_HOURS, never one that still runs.

    Resumable and failed ones older than RESUMABLE_RETENTION_HOURS are abandoned in the background,
    or kept if their hospitals cannot be deleted; the counts hold what was done since the last call.
    The service does all of it by itself, too, every ten minutes.
    """
    done = await service.cleanup()
    return Cleaned(
        message=f"Completed batches forgotten: {done.forgotten}. Stopped batches abandoned in the "
        f"background since the last cleanup: {done.abandoned}.",
        cleaned=done.forgotten + done.abandoned,
        deleted_hospitals=done.deleted_hospitals,
    )
