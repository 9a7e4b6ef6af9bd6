"""Following a batch, and forgetting old ones."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response

from models.api import EXAMPLE_ID, Cleaned, Progress
from models.batch import ENDED
from models.errors import BatchNotFound, ShuttingDown
from routers.dependencies import BatchIdDep, ServiceDep, progress_of, reply
from routers.event_stream import EventStream, FeedsDep, done_id
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


_STREAM = f"""event: progress
id: 1795420802000000
data: {{"batch_id": "{EXAMPLE_ID}", "status": "processing", "hospitals": [...], ...}}

event: rows
id: 1795420807031000
data: {{"batch_id": "{EXAMPLE_ID}", "status": "processing", "hospitals": [...], ...}}

: still here

event: done
id: 1795420807094000-done
data: {{"batch_id": "{EXAMPLE_ID}", "status": "completed", "hospitals": [...], ...}}

"""
_EVENTS: dict[int | str, Any] = {
    200: {
        "description": "`progress` once, `rows` at each change, `done` when `is_completed`",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _STREAM}},
    },
    204: {"description": "Nothing has changed since the `done` of `Last-Event-ID`"},
}


@router.get(
    "/{batch_id}/events",
    response_class=Response,
    summary="Watch a batch",
    responses=_EVENTS | problems(BatchNotFound()),
)
async def events(
    batch_id: BatchIdDep,
    service: ServiceDep,
    feeds: FeedsDep,
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event that was received")
    ] = None,
) -> Response:
    """Send server-sent events until the batch `is_completed`; the data are Progress documents.

    The first event, `progress`, has the whole document. In those called `rows` `hospitals` holds
    only the rows that changed, and everything else is as of now: take all fields over, and replace
    rows by their `row`. The last one, `done`, is whole again. A client that cannot keep up gets a
    further `progress` instead of the `rows` it missed.
    """
    batch = service.get(batch_id)
    if batch.status in ENDED and last_event_id == done_id(batch.updated_at):
        return Response(status_code=204)
    return EventStream(feeds, service, batch)


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
