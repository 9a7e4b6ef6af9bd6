"""How the process begins and ends: a start that fails in one sentence, signals heard at once."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connections import drop_the_deaf, running_server
from services.batch_service import BatchService

ANSWER_S = 1.0  # beyond the grace, for answers that are on their way


class CannotStart(Exception):
    """The service cannot start; the message says what to do."""


@contextlib.contextmanager
def stopped_by_signals(service: BatchService, grace_s: float) -> Iterator[None]:
    """Tell the service of SIGTERM and SIGINT at once.

    The server itself tells it only after all open requests have ended, and a request that waits
    for its batch ends when the service stops. And it would wait for ever for a client that does not
    take its answer.
    """
    loop = asyncio.get_running_loop()
    server = running_server()
    previous: dict[int, Any] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(service.stop)
        handler = previous[number]
        if server is not None:
            loop.call_soon_threadsafe(loop.call_later, grace_s + ANSWER_S, drop_the_deaf, server)
        if callable(handler):
            handler(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError):  # not the main thread: the server's owner stops it
            previous[number] = signal.signal(number, hear)
    try:
        yield
    finally:
        for heard, handler in previous.items():
            signal.signal(heard, handler)


class PlainStartFailure:
    """ASGI middleware: the server prints one helpful sentence instead of a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_plainly(message: Message) -> None:
            failure = getattr(scope["app"].state, "start_failure", None)
            if message["type"] == "lifespan.startup.failed" and failure:
                message = {**message, "message": failure}
            await send(message)

        await self._app(scope, receive, send_plainly if scope["type"] == "lifespan" else send)
