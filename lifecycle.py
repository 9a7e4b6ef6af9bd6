"""The process's life: a start that fails in one sentence, signals heard at once, idle clients shed.

What is done to the connections is done to those of the uvicorn that runs the application. Under
another server, or in a test without one, nothing is.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from types import FrameType
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import Server

from services.batch_service import BatchService

ANSWER_S = 1.0  # beyond the grace, for answers that are on their way
SWEEP_S = 1.0  # or a quarter of the timeout, if that is less


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
    server = _running_server()
    previous: dict[int, Any] = {}

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(service.stop)
        handler = previous[number]
        if server is not None:
            loop.call_soon_threadsafe(loop.call_later, grace_s + ANSWER_S, _drop_the_deaf, server)
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


@contextlib.asynccontextmanager
async def idle_clients_shed(head_s: float, unread_s: float) -> AsyncIterator[None]:
    """Close connections whose clients take too long, for as long as the block lasts.

    uvicorn itself closes those that send nothing at all after an answer, and no others.

    Args:
        head_s: Longest time for the head of a request.
        unread_s: Longest time in which nothing is taken of an answer that is there to be read.
    """
    server = _running_server()
    sweeping = asyncio.create_task(_sweep(server, head_s, unread_s)) if server else None
    try:
        yield
    finally:
        if sweeping is not None:
            sweeping.cancel()


async def _sweep(server: Server, head_s: float, unread_s: float) -> None:
    loop = asyncio.get_running_loop()
    heads: dict[Any, float] = {}  # awaited since when, by connection and its last request
    unread: dict[Any, tuple[int, float]] = {}  # bytes that wait, and since when none was taken
    while True:
        await asyncio.sleep(min(SWEEP_S, head_s / 4, unread_s / 4))
        now_s = loop.time()
        connections = _http(server)
        awaited = [(one, one.cycle) for one in connections if _is_head_awaited(one)]
        heads = {head: heads.get(head, now_s) for head in awaited}
        for (connection, _), since_s in heads.items():
            if now_s - since_s >= head_s:
                connection.transport.close()  # what was written to it is sent all the same
        unread = {one: _unread(one, unread.get(one), now_s) for one in connections}
        for connection, (_, since_s) in unread.items():
            if now_s - since_s >= unread_s:
                connection.transport.abort()


def _unread(connection: Any, before: tuple[int, float] | None, now_s: float) -> tuple[int, float]:
    """Return how many bytes wait for the client to read, and since when it has taken none."""
    waiting: int = connection.transport.get_write_buffer_size()
    if before is None or not 0 < before[0] <= waiting:
        return waiting, now_s
    return waiting, before[1]


def _is_head_awaited(connection: Any) -> bool:
    """Return whether nothing of a *connection* of uvicorn's is under way but the next head.

    An idle one, whose client has sent nothing since the last answer, has a timer of its own.
    """
    cycle = connection.cycle
    if cycle is None:
        return True
    return cycle.response_complete and connection.timeout_keep_alive_task is None


def _drop_the_deaf(server: Server) -> None:
    """Break the connections of *server* whose clients leave unread what was sent to them."""
    for connection in _http(server):
        if connection.transport.get_write_buffer_size():
            connection.transport.abort()


def _running_server() -> Server | None:
    """Return the uvicorn that runs this; its handler of signals is a method of it."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, Server) else None


def _http(server: Server) -> list[Any]:
    """Return the open connections of *server*: its classes for them have no common type."""
    return [one for one in server.server_state.connections if getattr(one, "transport", None)]


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
