"""What an upload, a resume and a cancel answer with, and how the document says so."""

from collections.abc import Iterable
from typing import Any

from fastapi import Response

from models.api import EXAMPLE_FINDING, EXAMPLE_ID, BulkResult, Progress, RowState
from models.batch import Batch
from models.row import Row
from models.validation import Finding
from routers.pieces import reply_in_pieces
from routers.progress_document import progress_json
from services import clock
from services.batch_service import BatchService

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
    return Response(
        progress_json(service, batch),
        status_code=202,
        media_type="application/json",
        headers=headers,
    )


def ended(batch: Batch, rows: Iterable[Row]) -> Response:
    """Return 200 with what became of the batch's *rows*, as they are now."""
    is_correctable = batch.is_correctable
    states = (RowState.of(row, is_correctable=is_correctable) for row in list(rows))
    result = BulkResult.of(batch, clock.now_s())
    return reply_in_pieces(result, {"hospitals": states}, _location(batch))


def _location(batch: Batch) -> dict[str, str]:
    return {"Location": f"/hospitals/progress/{batch.id}"}
