"""Refuses bodies above the limit while they are read, not after."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import UploadTooLarge
from routers.problem import UploadCutOff, from_error

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
            await self._app(scope, self._counting(receive), send)

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
