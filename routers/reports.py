"""What is known of batches: the list of them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from models.api import EXAMPLE_CURSOR, BatchList, BatchSummary
from models.batch import BatchStatus
from models.errors import InvalidRequest
from routers.dependencies import ServiceDep, reply
from routers.openapi import problems
from services.batch_list import CURSOR, Place

router = APIRouter(prefix="/hospitals", tags=["Reports"])

_NO_CURSOR = "query cursor: Give the next_cursor of an earlier page as it is, or leave it out."


async def get_place(
    cursor: Annotated[
        str,
        Query(
            description="The `next_cursor` of the page before; empty: the first page",
            examples=[EXAMPLE_CURSOR],
            json_schema_extra={"pattern": f"^({CURSOR})?$"},
        ),
    ] = "",
) -> Place | None:
    """Read where an earlier page ended."""
    try:
        return Place.from_cursor(cursor) if cursor else None
    except ValueError:
        raise InvalidRequest(_NO_CURSOR) from None


PlaceDep = Annotated[Place | None, Depends(get_place)]


@router.get(
    "/batches",
    response_model=BatchList,
    summary="List the batches",
    responses=problems(InvalidRequest(_NO_CURSOR)),
)
async def batches(
    status: Annotated[
        list[BatchStatus],
        Query(default_factory=list, description="Only these; it may stand there more than once"),
    ],
    limit: Annotated[int, Query(ge=1, le=100, description="Batches on a page")] = 20,
    *,
    after: PlaceDep,
    service: ServiceDep,
) -> Response:
    """Newest first, without their rows.

    Follow `next_cursor` until it is null: batches that come and go meanwhile neither repeat nor
    hide others.
    """
    found = service.page(status, after, limit)
    return reply(
        BatchList(
            batches=[BatchSummary.of(batch) for batch in found.batches],
            next_cursor=found.next.cursor if found.next else None,
        )
    )
