"""Following a batch, and forgetting old ones."""

from fastapi import APIRouter, Response

from models.api import Cleaned, Progress
from models.errors import BatchNotFound
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


@router.post("/cleanup", summary="Forget old completed batches")
async def cleanup(service: ServiceDep) -> Cleaned:
    """Forget completed batches older than PROGRESS_CLEANUP_HOURS, never one that still runs.

    The service does the same by itself from time to time. Resumable and failed batches are kept.
    """
    cleaned = await service.cleanup()
    return Cleaned(
        message=f"Completed batches forgotten: {cleaned}.", cleaned=cleaned, deleted_hospitals=0
    )
