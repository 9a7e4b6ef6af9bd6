"""Bounds what clients may do with their connections: long heads, slow ones, answers left unread.

The connections are those of the uvicorn that runs the application, which has no settings for this,
or none that `uvicorn main:app` could be given. Under another server, or in a test without one,
nothing is done.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Any

from uvicorn import Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.logs import get_logger

logger = get_logger(__name__)

MAX_HEAD_BYTES = 64 * 1024  # as uvicorn's other parser, h11, has it
SWEEP_S = 1.0  # or a quarter of the shorter time, if that is less

_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


@contextlib.asynccontextmanager
async def guarded_connections(head_s: float, unread_s: float) -> AsyncIterator[None]:
    """Close connections of clients that take too long or send too long a head, for a block.

    Args:
        head_s: Longest time for the head of a request. uvicorn itself closes connections that send
            nothing at all after an answer, and no others.
        unread_s: Longest time in which nothing is taken of an answer that waits to be read.
    """
    server = running_server()
    sweeping = None
    if server is not None:
        if server.config.http_protocol_class is HttpToolsProtocol:
            server.config.http_protocol_class = BoundedHeads
        sweeping = asyncio.create_task(_sweep(server, head_s, unread_s))
    try:
        yield
    finally:
        if sweeping is not None:
            sweeping.cancel()


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's protocol on httptools, which itself takes a head of any length.

    10 MB of short headers on one connection cost 270 MB of memory.
    """

    _in_head = False
    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
            self.transport.close()


def running_server() -> Server | None:
    """Return the uvicorn that runs this; its handler of signals is a method of it."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, Server) else None


def drop_the_deaf(server: Server) -> None:
    """Break the connections of *server* whose clients leave unread what was sent to them."""
    for connection in _http(server):
        if connection.transport.get_write_buffer_size():
            connection.transport.abort()


async def _sweep(server: Server, head_s: float, unread_s: float) -> None:
    heads: dict[Any, float] = {}  # awaited since when, by connection and its last request
    unread: dict[Any, tuple[int, float]] = {}  # bytes, and since when not fewer
    while True:
        await asyncio.sleep(min(SWEEP_S, head_s / 4, unread_s / 4))
        now_s = asyncio.get_running_loop().time()
        try:
            connections = _http(server)
            awaited = [(one, one.cycle) for one in connections if _is_head_awaited(one)]
            heads = {head: heads.get(head, now_s) for head in awaited}
            unread = {one: _unread(one, unread.get(one), now_s) for one in connections}
            for (connection, _), since_s in heads.items():
                if now_s - since_s >= head_s:
                    connection.transport.close()  # what was written to it is sent all the same
            for connection, (_, since_s) in unread.items():
                if now_s - since_s >= unread_s:
                    connection.transport.abort()
        except Exception:  # of another uvicorn than the one this was written for
            logger.exception("slow clients could not be looked for")


def _is_head_awaited(connection: Any) -> bool:
    """Return whether nothing of a *connection* of uvicorn's is under way but the next head.

    An idle one, whose client has sent nothing since the last answer, has a timer of its own.
    """
    cycle = connection.cycle
    if cycle is None:
        return True
    return cycle.response_complete and connection.timeout_keep_alive_task is None


def _unread(connection: Any, before: tuple[int, float] | None, now_s: float) -> tuple[int, float]:
    """Return how many bytes wait for the client to read, and since when they do not get less."""
    waiting: int = connection.transport.get_write_buffer_size()
    if before is None or not 0 < before[0] <= waiting:
        return waiting, now_s
    return waiting, before[1]


def _http(server: Server) -> list[Any]:
    """Return the open HTTP connections of *server*: its classes for them have no common type."""
    connections = server.server_state.connections
    return [one for one in connections if getattr(one, "transport", None) and hasattr(one, "cycle")]
