"""The progress document as JSON: a page of rows is encoded when it has changed, then told as it is.

Whoever asks again is mostly told the same rows. They are kept beside their JSON to be compared with
those of now: a row is never changed but replaced, so nothing has to be told here of what changed.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Annotated, NamedTuple, TypeAlias
from uuid import UUID
from weakref import ref

from fastapi import Depends, Request
from pydantic import TypeAdapter

from models.api import FIRST_PAGE, Progress, RowSelection, RowState
from models.batch import Batch
from models.row import Row, Rows
from services import clock
from services.batch_service import BatchService

KEPT_BYTES = 4 * 1024 * 1024  # the pages of a thousand ordinary files
NO_ROWS = RowSelection(limit=0)

_STATES = TypeAdapter(list[RowState])


class _Page(NamedTuple):
    rows: list[Row]
    json: bytes
    of: ref[Rows]  # drops the page when these are gone


_Key: TypeAlias = tuple[UUID, RowSelection, bool]


class Pages:
    """The pages that were told last, in so many bytes of JSON; none outlives its batch."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._pages: OrderedDict[_Key, _Page] = OrderedDict()
        self._bytes = 0

    def json(self, batch: Batch, selection: RowSelection) -> bytes:
        """Return the selected rows as they are now."""
        rows = selection.of(batch)
        key = (batch.id, selection, batch.is_correctable)
        page = self._pages.get(key)
        if page is None or page.rows != rows:
            json = _rows_json(rows, batch.is_correctable)
            page = _Page(rows, json, ref(batch.rows, lambda _: self._drop(key)))
            self._keep(key, page)
        else:
            self._pages.move_to_end(key)
        return page.json

    def _keep(self, key: _Key, page: _Page) -> None:
        self._drop(key)
        self._pages[key] = page
        self._bytes += len(page.json)
        while self._bytes > self._kept_bytes:
            self._drop(next(iter(self._pages)))

    def _drop(self, key: _Key) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._bytes -= len(page.json)


def progress_json(
    service: BatchService,
    batch: Batch,
    selection: RowSelection = FIRST_PAGE,
    pages: Pages | None = None,
) -> bytes:
    """Return where *batch* stands now, with some of its rows; those in *pages* are encoded."""
    hospitals = (
        _rows_json(selection.of(batch), batch.is_correctable)
        if pages is None
        else pages.json(batch, selection)
    )
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


async def get_pages(request: Request) -> Pages:
    """Return the pages that all who ask share."""
    pages: Pages = request.app.state.pages
    return pages


PagesDep = Annotated[Pages, Depends(get_pages)]
