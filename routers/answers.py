"""What an upload, a resume and a cancel answer with, and how the document says so."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse

from models.api import (
    EXAMPLE_FINDING,
    EXAMPLE_ID,
    PAGE_ROWS,
    BulkResult,
    Progress,
    RowState,
)
from models.batch import Batch
from models.row import Row
from models.validation import Finding
from routers.dependencies import progress_of, reply
from services import clock
from services.batch_service import BatchService

PIECE_ROWS = 200  # about a millisecond of work

FINDING = Finding(**EXAMPLE_FINDING)

LOCATION = {
    "Location": {
        "description": "Where to follow the batch",
        "schema": {"type": "string", "examples": [f"/hospitals/progress/{EXAMPLE_ID}"]},
    }
}
REPLAYED = {
    "Idempotency-Replayed": {
        "description": "When the batch came from an earlier upload with this Idempotency-Key",
        "schema": {"type": "string", "const": "true"},
    }
}
_PREFERENCE_APPLIED = {
    "Preference-Applied": {
        "description": "When it was asked for",
        "schema": {"type": "string", "const": "respond-async"},
    }
}

RUN_RESPONSES: dict[int | str, Any] = {
    200: {
        "model": BulkResult,
        "description": "The batch has ended; `status` says how.",
        "headers": LOCATION,
    },
    202: {
        "model": Progress,
        "description": "The batch goes on; `Location` says where to follow it. Asked for with "
        "`Prefer: respond-async`, or because the service is stopping: the next start goes on.",
        "headers": LOCATION | _PREFERENCE_APPLIED,
    },
}


def accepted(service: BatchService, batch: Batch, *, asked_for: bool = False) -> Response:
    """Return 202 with the batch's progress and where to follow it."""
    headers = _location(batch)
    if asked_for:
        headers["Preference-Applied"] = "respond-async"
    return reply(progress_of(service, batch), 202, headers)


def ended(batch: Batch, rows: Sequence[Row]) -> Response:
    """Return 200 with what became of the batch's *rows*; of many, written while it is sent."""
    if len(rows) <= PAGE_ROWS:
        return reply(BulkResult.of(batch, rows, clock.now_s()), 200, _location(batch))
    result = BulkResult.of(batch, (), clock.now_s())
    document = _written(result, list(rows), is_correctable=batch.is_correctable)
    return StreamingResponse(document, 200, _location(batch), "application/json")


async def _written(
    result: BulkResult, rows: Sequence[Row], *, is_correctable: bool
) -> AsyncIterator[str]:
    """Yield *result*, whose last field `hospitals` is empty, with *rows* in it."""
    head, tail = result.model_dump_json().rsplit("]", 1)
    yield head
    for start in range(0, len(rows), PIECE_ROWS):
        piece = [
            RowState.of(row, is_correctable=is_correctable).model_dump_json()
            for row in rows[start : start + PIECE_ROWS]
        ]
        yield ("," if start else "") + ",".join(piece)
        await asyncio.sleep(0)  # others get their turn, also when the client takes all at once
    yield f"]{tail}"


def _location(batch: Batch) -> dict[str, str]:
    return {"Location": f"/hospitals/progress/{batch.id}"}
