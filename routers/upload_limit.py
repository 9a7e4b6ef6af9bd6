"""Bounds the bodies of requests while they are read: size, silence, duration, share of the time.

Refused are bodies above the limit, senders that fall silent or take too long, and all when the
service stops. Large bodies are taken in turns with rests between, so that other clients hardly
notice them.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import ShuttingDown, UploadStalled, UploadTooLarge, UploadTooSlow
from routers.problem import UploadCutOff, from_error
from services.batch_service import BatchService

# What a multipart form adds around the file: boundaries, part headers, small fields.
FRAMING_BYTES = 64 * 1024
ORDINARY_BYTES = 32 * 1024  # a full file of 20 rows mostly has 2 KiB, with the longest values 16
# Pieces of a large body have up to 320 KiB and take about 0.4 ms: an eighth of the event loop's
# time, and 40 MB still come in within a second.
REST_S = 0.003


class UploadLimit:
    """ASGI middleware; FastAPI's own limit answers in plain text and skips the error handlers.

    Args:
        app: What it stands before.
        max_bytes: Largest file.
        stall_s: Longest silence in the middle of a body.
        timeout_s: Longest time that a sender may be waited for in all. Rests and turns are not
            counted: they are this side's.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, stall_s: float, timeout_s: float) -> None:
        self._app = app
        self.max_bytes = max_bytes
        self.max_body = max_bytes + FRAMING_BYTES
        self.stall_s = stall_s
        self.timeout_s = timeout_s
        self.turn = asyncio.Lock()  # of all large bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not has_body(scope):
            await self._app(scope, receive, send)
        elif _declared_bytes(scope) > self.max_body:
            response = from_error(UploadTooLarge(self.max_bytes), scope["path"])
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
        else:
            body = _Body(receive, scope["app"].state.service, self)
            await self._app(scope, body.receive, send)


def has_body(scope: Scope) -> bool:
    """Return whether a body may come (RFC 9112, 6).

    If none does, all that is still to be received is that the client left: that may be waited for
    as long as it takes, and asked for without waiting.
    """
    names = {name for name, _ in scope["headers"]}
    is_announced = not names.isdisjoint((b"content-length", b"transfer-encoding"))
    return is_announced or not scope["http_version"].startswith("1")


def _declared_bytes(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


class _Body:
    """The body of one request, on its way in."""

    def __init__(self, receive: Receive, service: BatchService, limit: UploadLimit) -> None:
        self._receive = receive
        self._service = service
        self._limit = limit
        self._received_bytes = 0
        self._left_s = limit.timeout_s
        self._ended = False

    async def receive(self) -> Message:
        """Return the next message; UploadCutOff if no more of this body is wanted."""
        if self._ended:
            return await self._receive()
        message = await self._next()
        self._ended = not message.get("more_body", False)
        self._received_bytes += len(message.get("body", b""))
        if self._received_bytes > self._limit.max_body:
            raise UploadCutOff(UploadTooLarge(self._limit.max_bytes))
        if self._received_bytes > ORDINARY_BYTES:
            async with self._limit.turn:
                await asyncio.sleep(REST_S)
        return message

    async def _next(self) -> Message:
        """Wait for the sender, but not when it is silent or the service stops.

        A sender that is not done would keep a stopping process alive.
        """
        receiving = asyncio.ensure_future(self._receive())
        stopping = asyncio.create_task(self._service.wait_until_stopping())
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        longest_s = min(self._limit.stall_s, self._left_s)
        try:
            await asyncio.wait(
                {receiving, stopping},
                timeout=longest_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            self._left_s -= loop.time() - since_s
            if stopping.done():  # first: a sender of many small pieces always has the next ready
                raise UploadCutOff(ShuttingDown())
            if receiving.done():
                return receiving.result()
            if longest_s < self._limit.stall_s:
                raise UploadCutOff(UploadTooSlow(self._limit.timeout_s))
            raise UploadCutOff(UploadStalled(self._limit.stall_s))
        finally:
            receiving.cancel()
            stopping.cancel()
