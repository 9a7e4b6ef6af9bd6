"""Gives each request an id, which every line about it carries, and tells its end in one line."""

import re
from secrets import token_hex
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from routers.addresses import path_of
from routers.problem import unforeseen
from services.logs import get_logger

logger = get_logger(__name__)

HEADER = "X-Request-ID"

_NAME = HEADER.lower().encode()
_SOUND = re.compile(rb"[A-Za-z0-9._-]{1,128}")  # no line can be forged of it
_PROBED = frozenset({"/health", "/health/ready"})  # every few seconds, for as long as it runs


class RequestId:
    """ASGI middleware: `X-Request-ID` in and out, a line in the log, 500 for what is unforeseen.

    A sound id of the client's is kept. The line comes when the answer has ended, of an event stream
    too; its `status` is null when the client left before there was one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clear_contextvars()  # a request that came in behind another may have begun in its context
        request_id = _request_id(scope)
        bind_contextvars(request_id=request_id)
        exchange = _Exchange(scope, receive, send, request_id)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            logger.exception("unforeseen error")
            if exchange.status is None:  # else the server breaks off what was begun
                await unforeseen(scope["path"])(scope, exchange.receive, exchange.send)
        finally:
            exchange.tell()
            clear_contextvars()


def _request_id(scope: Scope) -> str:
    told = next((value for name, value in scope["headers"] if name == _NAME), b"")
    return told.decode() if _SOUND.fullmatch(told) else token_hex(16)


class _Exchange:
    """One request and what became of it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self._scope = scope
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._receive = receive
        self._send = send
        self._header = (_NAME, request_id.encode())
        self._began_s = perf_counter()
        self._has_ended = False
        self._client_left = False
        self.status: int | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._has_ended:
            self._client_left = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), self._header]}
            if not self._client_left:
                self.status = message["status"]
        elif not message.get("more_body", False):
            self._has_ended = True
        await self._send(message)

    def tell(self) -> None:
        """Write the line; without the query, which can hold anything."""
        path = self._scope["path"]
        keys: dict[str, Any] = {
            "method": self._scope["method"],
            "path": path,
            "status": self.status,
            "seconds": round(perf_counter() - self._began_s, 4),
            "client": (self._scope.get("client") or (None,))[0],
        }
        if (caller := self._state.get("caller")) is not None and caller.name is not None:
            keys["caller"] = caller.name
        if self._client_left:
            keys["client_left"] = True
        log = logger.debug if path_of(self._scope) in _PROBED else logger.info
        log("request", **keys)
