"""Following a batch, and forgetting old ones."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response

from models.api import PAGE_ROWS, Cleaned, Progress, RowSelection
from models.batch import ENDED
from models.errors import UNREAD, BatchNotFound, ShuttingDown, StorageUnavailable
from routers.access import CallerDep
from routers.dependencies import BatchIdDep, ServiceDep
from routers.event_stream import EventStream, FeedsDep, done_id
from routers.openapi import problems
from routers.polled_route import PolledRoute
from routers.progress_document import PagesDep, progress_json

router = APIRouter(prefix="/hospitals/progress")

MAX_OFFSET = 1_000_000  # beyond any file


async def progress(
    batch_id: BatchIdDep,
    service: ServiceDep,
    pages: PagesDep,
    offset: Annotated[
        int, Query(ge=0, le=MAX_OFFSET, description="Rows to leave out at the beginning")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS, description="Rows on a page")] = PAGE_ROWS,
    only: Annotated[
        Literal["failed"] | None, Query(description="`failed`: only the rows that failed")
    ] = None,
) -> Response:
    """Tell where the batch and its rows stand; ask again until `is_completed`.

    The rows of a large batch come in pages. Whatever the page, the counts are of the whole batch.
    """
    selection = RowSelection(offset, limit, only_failed=only is not None)
    document = progress_json(service, service.get(batch_id), selection, pages)
    return Response(document, media_type="application/json")


router.add_api_route(
    "/{batch_id}",
    progress,
    response_model=Progress,
    tags=["Progress"],
    summary="Follow a batch",
    responses=problems(BatchNotFound(), StorageUnavailable(UNREAD)),
    route_class_override=PolledRoute,
)


_KINDS = {
    "progress": "The first one; `hospitals` has the first 1,000 rows",
    "rows": "A change; `hospitals` has the rows that changed, wherever they stand",
    "done": "The last one; `hospitals` has the first 1,000 rows",
}
_ID = "1795420802000000"
_DATA = json.dumps(Progress.model_json_schema()["examples"][0])
# As OpenAPI 3.1 has it, the schema of a stream is that of each of its events.
_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"enum": list(_KINDS)},
        "id": {"type": "string"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Progress"},
        },
    },
}
_EXAMPLES = {
    kind: {"summary": summary, "value": {"event": kind, "id": _ID, "data": _DATA}}
    for kind, summary in _KINDS.items()
}
_EVENTS: dict[int | str, Any] = {
    200: {
        "description": f"Events: lines `event: rows`, `id: {_ID}`, `data: {{...}}`, and an empty "
        "one. A comment (a line that begins with a colon) comes every 15 s when nothing changes.",
        "content": {"text/event-stream": {"schema": _EVENT, "examples": _EXAMPLES}},
    },
    204: {"description": "Nothing has changed since the `done` of `Last-Event-ID`"},
}


@router.get(
    "/{batch_id}/events",
    response_class=Response,
    tags=["Progress"],
    summary="Watch a batch",
    responses=_EVENTS | problems(BatchNotFound(), StorageUnavailable(UNREAD)),
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

    The first event, `progress`, has the whole document, with the first 1,000 rows. In those called
    `rows` `hospitals` holds only the rows that changed, and everything else is as of now: take all
    fields over, and replace rows by their `row`. The last one, `done`, is like the first. A client
    that cannot keep up gets a further `progress` instead of the `rows` it missed; so does everybody
    when more than 1,000 rows changed at once. Ask for other rows anew then.
    """
    batch = service.get(batch_id)
    if batch.status in ENDED and last_event_id == done_id(batch.updated_at):
        return Response(status_code=204)
    return EventStream(feeds, service, batch)


@router.post(
    "/cleanup",
    tags=["Batches"],
    summary="Forget and abandon old batches",
    responses=problems(ShuttingDown()),
)
async def cleanup(caller: CallerDep, service: ServiceDep) -> Cleaned:
    """Forget completed batches older than PROGRESS_CLEANUP_HOURS, never one that still runs.

    Resumable and failed ones older than RESUMABLE_RETENTION_HOURS are abandoned in the background,
    or kept if their hospitals cannot be deleted; the counts hold what was done since the last call.
    The service does all of it by itself, too, every ten minutes.
    """
    done = await service.cleanup(caller)
    return Cleaned(
        message=f"Completed batches forgotten: {done.forgotten}. Stopped batches abandoned in the "
        f"background since the last cleanup: {done.abandoned}.",
        cleaned=done.forgotten + done.abandoned,
        deleted_hospitals=done.deleted_hospitals,
    )
