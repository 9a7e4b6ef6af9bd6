"""The progress document as JSON: the first page is encoded when it has changed, then told as it is.

Whoever asks again is mostly told the same rows. They are kept beside their JSON to be compared with
those of now: a row is never changed but replaced, so nothing has to be told here of what changed.
"""

from collections.abc import Iterable
from typing import Annotated, NamedTuple
from uuid import UUID
from weakref import ref

from fastapi import Depends, Request
from pydantic import TypeAdapter

from models.api import FIRST_PAGE, Progress, RowSelection, RowState
from models.batch import Batch
from models.row import Row, Rows
from services import clock
from services.batch_service import BatchService

KEPT_PAGES = 64  # 4 KB of a file of 20 rows, 200 KB of a large one
NO_ROWS = RowSelection(limit=0)

_STATES = TypeAdapter(list[RowState])


class _Page(NamedTuple):
    rows: list[Row]
    is_correctable: bool
    json: bytes
    of: ref[Rows]  # drops the page when these are gone


class FirstPages:
    """The first pages of the batches that were asked for last; none outlives its batch.

    Only first pages are asked for again and again; others, of which there is any number, are
    encoded each time.
    """

    def __init__(self, kept: int = KEPT_PAGES) -> None:
        self._kept = kept
        self._pages: dict[UUID, _Page] = {}  # the one asked for last comes last

    def json(self, batch: Batch) -> bytes:
        """Return the rows of the first page as they are now."""
        rows, is_correctable = FIRST_PAGE.of(batch), batch.is_correctable
        page = self._pages.pop(batch.id, None)
        if page is None or page.rows != rows or page.is_correctable is not is_correctable:
            json = _rows_json(rows, is_correctable)
            page = _Page(rows, is_correctable, json, self._watched(batch))
        self._pages[batch.id] = page
        if len(self._pages) > self._kept:
            del self._pages[next(iter(self._pages))]
        return page.json

    def _watched(self, batch: Batch) -> ref[Rows]:
        batch_id = batch.id
        return ref(batch.rows, lambda _: self._pages.pop(batch_id, None))


def progress_json(
    service: BatchService,
    batch: Batch,
    selection: RowSelection = FIRST_PAGE,
    pages: FirstPages | None = None,
) -> bytes:
    """Return where *batch* stands now, with some of its rows; first ones are taken from *pages*."""
    if pages is not None and selection == FIRST_PAGE:
        hospitals = pages.json(batch)
    else:
        hospitals = _rows_json(selection.of(batch), batch.is_correctable)
    return _document(service, batch, selection, hospitals)


def changes_json(service: BatchService, batch: Batch, rows: Iterable[Row]) -> bytes:
    """Return where *batch* stands now, with *rows* of it wherever they stand."""
    return _document(service, batch, NO_ROWS, _rows_json(rows, batch.is_correctable))


def _document(
    service: BatchService, batch: Batch, selection: RowSelection, hospitals: bytes
) -> bytes:
    progress = Progress.of(batch, service.outlook(batch), clock.now_s(), selection)
    bare = progress.model_dump_json(exclude={"hospitals"}).encode()
    return b'%b,"hospitals":%b}' % (bare.removesuffix(b"}"), hospitals)


def _rows_json(rows: Iterable[Row], is_correctable: bool) -> bytes:
    return _STATES.dump_json([RowState.of(row, is_correctable=is_correctable) for row in rows])


async def get_pages(request: Request) -> FirstPages:
    """Return the pages that all who ask share."""
    pages: FirstPages = request.app.state.pages
    return pages


PagesDep = Annotated[FirstPages, Depends(get_pages)]
