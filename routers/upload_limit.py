"""Refuses bodies while they are read: those above the limit, and all when the service stops."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import ShuttingDown, UploadTooLarge
from routers.problem import UploadCutOff, from_error
from services.batch_service import BatchService

# What a multipart form adds around the file: boundaries, part headers, small fields.
FRAMING_BYTES = 64 * 1024


class UploadLimit:
    """ASGI middleware; FastAPI's own limit answers in plain text and skips the error handlers.

    Args:
        app: What it stands before.
        max_bytes: Largest file.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_body = max_bytes + FRAMING_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._declared(scope) > self._max_body:
            response = from_error(UploadTooLarge(self._max_bytes), scope["path"])
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
        else:
            service = scope["app"].state.service
            await self._app(scope, self._counting(_unless_stopping(receive, service)), send)

    def _declared(self, scope: Scope) -> int:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                return int(value)
        return 0

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise UploadCutOff(UploadTooLarge(self._max_bytes))
            return message

        return counted


def _unless_stopping(receive: Receive, service: BatchService) -> Receive:
    """Give up a sender who is not done when the service stops: it would keep the process alive."""

    async def received() -> Message:
        receiving = asyncio.ensure_future(receive())
        stopping = asyncio.create_task(service.wait_until_stopping())
        try:
            await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                raise UploadCutOff(ShuttingDown())
            return receiving.result()
        finally:
            receiving.cancel()
            stopping.cancel()

    return received
