"""What the endpoints take from a request. Coroutines all: a plain function would cost a thread."""

import asyncio
import re
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Annotated, BinaryIO, NamedTuple, cast
from uuid import UUID

from fastapi import Depends, File, Header, Path, Request, Response, UploadFile
from pydantic import BaseModel

from config import Settings
from models.api import EXAMPLE_ID
from models.errors import BatchNotFound, InvalidRequest, NotCsv, UploadTooLarge
from routers.access import CallerDep
from routers.paced_file import PacedFile, busy_loop
from routers.upload_limit import ORDINARY_BYTES
from services.batch_service import BatchService

CSV_TYPES = frozenset({"text/csv", "application/csv", "text/x-csv", "text/comma-separated-values"})
FILE_NAME_CHARS = 255


class ReceivedFile(NamedTuple):
    """An uploaded file, and what to hold while it is read.

    Large files are read one at a time: together they would take every thread, and with the threads
    the event loop's time. Ordinary ones do not wait for them.
    """

    file: BinaryIO
    name: str | None
    turn: AbstractAsyncContextManager[None]


async def get_service(request: Request) -> BatchService:
    """Return the service that the lifespan built."""
    service: BatchService = request.app.state.service
    return service


async def get_settings(request: Request) -> Settings:
    """Return the settings that the app was made with."""
    settings: Settings = request.app.state.settings
    return settings


async def get_idempotency_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Your name for this upload: sent again with the same file, it is answered "
            "with the batch that it became, and starts nothing",
            min_length=1,
            max_length=255,
            pattern="^[ -~]+$",
            examples=["2026-11-23 north.csv"],
        ),
    ] = None,
) -> str | None:
    """Read how an upload calls itself; which of two names counts nobody could know."""
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise InvalidRequest("header idempotency-key: Send it once.")
    return idempotency_key


ServiceDep = Annotated[BatchService, Depends(get_service)]
SettingsDep = Annotated[Settings, Depends(get_settings)]


async def get_batch_id(
    batch_id: Annotated[str, Path(description="The batch's id", examples=[EXAMPLE_ID])],
    caller: CallerDep,
    service: ServiceDep,
) -> UUID:
    """Read a batch id; what is no UUID names no batch, nor does another caller's."""
    try:
        found = UUID(batch_id)
    except ValueError:
        raise BatchNotFound from None
    await service.refresh(found)
    if not caller.may_see(service.get(found)):
        raise BatchNotFound
    return found


async def get_upload(
    request: Request,
    file: Annotated[UploadFile, File(description="CSV with the columns name, address, phone")],
) -> ReceivedFile:
    """Return the uploaded file, which is CSV by name or type and not too large."""
    named = (file.filename or "").lower().endswith(".csv")
    content_type = (file.content_type or "").partition(";")[0].strip().lower()
    if not named and content_type not in CSV_TYPES:
        raise NotCsv
    max_bytes: int = request.app.state.max_upload_bytes
    size = file.size or 0
    if size > max_bytes:
        raise UploadTooLarge(max_bytes)
    turn = request.app.state.large_file_turn if size > ORDINARY_BYTES else nullcontext()
    paced = PacedFile(file.file, busy_loop(asyncio.get_running_loop()))
    return ReceivedFile(cast("BinaryIO", paced), _shown_name(file.filename), turn)


def _shown_name(name: str | None) -> str | None:
    """Return a file's name without its folders, fit to be shown."""
    last = re.split(r"[/\\]", name or "")[-1]
    return "".join(char for char in last if char.isprintable())[:FILE_NAME_CHARS] or None


async def wants_async(
    request: Request,
    prefer: Annotated[
        str | None,
        Header(
            description="`respond-async`: answer 202 at once, with where to follow the progress",
            examples=["respond-async"],
        ),
    ] = None,
) -> bool:
    """Read the Prefer header (RFC 7240), which may stand there more than once."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    return "respond-async" in (part.partition(";")[0].strip().lower() for part in preferences)


BatchIdDep = Annotated[UUID, Depends(get_batch_id)]
UploadDep = Annotated[ReceivedFile, Depends(get_upload)]
IdempotencyKeyDep = Annotated[str | None, Depends(get_idempotency_key)]
AsyncDep = Annotated[bool, Depends(wants_async)]


def reply(shape: BaseModel, headers: dict[str, str] | None = None) -> Response:
    """Return *shape* as a JSON response."""
    return Response(shape.model_dump_json(), media_type="application/json", headers=headers)
