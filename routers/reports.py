"""What is told of batches: a list of them, their rows as a file, the directory compared."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse

from models.api import EXAMPLE_CURSOR, BatchList, BatchSummary, Difference, Verification
from models.batch import BatchStatus
from models.errors import (
    UNREAD,
    BatchConflict,
    BatchNotFound,
    DirectoryUnreachable,
    InvalidRequest,
    ShuttingDown,
    StorageUnavailable,
)
from models.row import Row, RowStatus
from routers.access import CallerDep
from routers.dependencies import BatchIdDep, ServiceDep, reply
from routers.openapi import problems
from routers.pieces import reply_in_pieces
from services.batch_list import CURSOR, Place
from services.csv_report import report

router = APIRouter(prefix="/hospitals", tags=["Reports"])

_NO_CURSOR = "query cursor: Give the next_cursor of an earlier page as it is, or leave it out."
_REPORT = (
    "row,name,address,phone,status,hospital_id,error\r\n"
    '1,Spire Roding Hospital,"Roding Lane South, Ilford, Essex, IG4 5PZ",\'+44 20 8709 7878,'
    "created_and_activated,101,\r\n"
)
_REPORT_RESPONSE: dict[int | str, Any] = {
    200: {
        "description": "The rows in file order, in UTF-8.",
        "content": {"text/csv": {"example": _REPORT}},
        "headers": {
            "Content-Disposition": {
                "description": "A name for the file",
                "schema": {
                    "type": "string",
                    "examples": ['attachment; filename="hospitals-0b6a9c1e.csv"'],
                },
            }
        },
    }
}


class CsvResponse(StreamingResponse):
    """A CSV file that is written while it is sent."""

    media_type = "text/csv"


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
    caller: CallerDep,
    service: ServiceDep,
) -> Response:
    """Newest first, without their rows.

    Follow `next_cursor` until it is null: batches that come and go meanwhile neither repeat nor
    hide others.
    """
    await service.refresh_all()
    found = service.page(caller, status, after, limit)
    return reply(
        BatchList(
            batches=[BatchSummary.of(batch) for batch in found.batches],
            next_cursor=found.next.cursor if found.next else None,
        )
    )


@router.get(
    "/batch/{batch_id}/report.csv",
    response_class=CsvResponse,
    summary="Get a batch's rows as a file",
    responses=_REPORT_RESPONSE | problems(BatchNotFound(), StorageUnavailable(UNREAD)),
)
async def batch_report(
    batch_id: BatchIdDep,
    service: ServiceDep,
    only: Annotated[
        Literal["failed"] | None, Query(description="`failed`: only the rows that failed")
    ] = None,
) -> Response:
    """Give back every row and what became of it, whatever state the batch is in.

    The file can be uploaded as it is: its other columns are ignored, and the apostrophe that keeps
    spreadsheets from taking a value for a formula is taken off again. Upload the failed rows alone
    only when the batch is completed (`skip_invalid`): otherwise correct them here and resume.
    """
    rows = [row for row in service.get(batch_id).rows if not only or row.status is RowStatus.FAILED]
    name = f"hospitals-{str(batch_id)[:8]}.csv"
    return CsvResponse(
        _report(rows), headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@router.get(
    "/batch/{batch_id}/verify",
    response_model=Verification,
    summary="Compare the directory with a batch's file",
    responses=problems(
        BatchNotFound(),
        StorageUnavailable(UNREAD),
        BatchConflict("The batch is being worked on: compare it when it has ended."),
        DirectoryUnreachable(
            "The directory could not be reached for 90 s (no connection to the directory). "
            "Nothing was changed; try again later."
        ),
        ShuttingDown(),
    ),
)
async def verify(batch_id: BatchIdDep, service: ServiceDep) -> Response:
    """Look at what the directory holds of the batch now; nothing is changed, here or there.

    Rows refused or skipped take no part. The directory keeps its rows in memory: after it
    was restarted every row of a completed batch is missing, for good. Then upload the file again;
    `report.csv` gives it back.
    """
    found = await service.verify(batch_id)
    return reply_in_pieces(
        Verification(batch_id=batch_id, matches=found.matches, missing=[], surplus=[], inactive=[]),
        {
            "missing": (Difference.of(row, None) for row in found.missing),
            "surplus": (Difference.of(None, hospital) for hospital in found.surplus),
            "inactive": (Difference.of(row, hospital) for row, hospital in found.inactive),
        },
    )


async def _report(rows: Sequence[Row]) -> AsyncIterator[str]:
    for piece in report(rows):
        yield piece
        await asyncio.sleep(0)  # others get their turn, also when the client takes all at once
