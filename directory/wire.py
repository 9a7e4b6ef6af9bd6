"""Reading requests and sending answers, or half of them, as ASGI messages."""

from typing import Any, Protocol

from starlette.types import Receive, Send

from directory.answers import Answer, Sent
from directory.jobs import ConnectionDropped


class Closable(Protocol):
    """The part of an `asyncio.Transport` that ends a connection."""

    def close(self) -> None: ...


async def read_body(receive: Receive) -> bytes:
    """Return the whole body.

    Raises:
        ConnectionDropped: The client left before it had sent it.
    """
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionDropped
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def client_leaves(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def transmit(answer: Answer, send: Send) -> None:
    """Send *answer*, or as much of it as is to arrive.

    Raises:
        ConnectionDropped: Not all of it is to arrive.
    """
    if answer.sent is Sent.NOTHING:
        raise ConnectionDropped
    start = {"type": "http.response.start", "status": answer.status, "headers": _headers(answer)}
    await send(start)
    if answer.sent is Sent.WHOLE:
        await send({"type": "http.response.body", "body": answer.body})
        return
    half = answer.body[: len(answer.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    raise ConnectionDropped


async def hang_up(receive: Receive, connection: Closable) -> None:
    """End *connection* after what was sent already.

    Waits until the server has noticed: it would report an app that returned without an
    answer as an error.
    """
    connection.close()
    await client_leaves(receive)


def connection_of(receive: Receive) -> Closable | None:
    """Return the connection behind *receive*, or None in process.

    In uvicorn, *receive* is a method of the object that holds the transport; the same in
    its h11 and httptools protocols. Only the outermost app gets that very *receive*.
    """
    cycle: Any = getattr(receive, "__self__", None)
    transport: Any = getattr(cycle, "transport", None)
    return transport if callable(getattr(transport, "close", None)) else None


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    if answer.status == 204:
        return []
    length = str(len(answer.body)).encode()
    headers = [(b"content-length", length), (b"content-type", answer.media_type)]
    if answer.location is not None:
        headers.append((b"location", answer.location))
    return headers
