"""Answers with lists of any length: long ones are written while they are sent."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

PIECE_ITEMS = 200  # about a millisecond of work
FEW_PIECES = 4  # that are written at once: three short lists and the end, or 600 items of one


class PiecedResponse(StreamingResponse):
    """A JSON document that is written while it is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it. Nothing is received: a body is cut off when the service stops."""
        with suppress(OSError):  # how some servers say that the client is gone
            await self.stream_response(send)


def reply_in_pieces(
    shape: BaseModel,
    lists: Mapping[str, Iterable[BaseModel]],
    headers: Mapping[str, str] | None = None,
    *,
    status: int = 200,
    media_type: str = "application/json",
) -> Response:
    """Return *shape* as a JSON response, with other lists in place of its own.

    Args:
        shape: The document; it has fields that are no lists, too.
        lists: Its last fields, in their order. They are read while the answer is sent: nothing
            that they are made of may change.
        headers: Of the response.
        status: Its status.
        media_type: Its type.
    """
    pieces = _pieces(shape, lists)
    first = list(islice(pieces, FEW_PIECES + 1))
    if len(first) <= FEW_PIECES:
        return Response("".join(first), status, headers, media_type)
    return PiecedResponse(_with_turns(chain(first, pieces)), status, headers, media_type)


def _pieces(shape: BaseModel, lists: Mapping[str, Iterable[BaseModel]]) -> Iterator[str]:
    text = shape.model_dump_json(exclude=set(lists)).removesuffix("}")
    for name, items in lists.items():
        text += f',"{name}":['
        remaining = iter(items)
        separator = ""
        while piece := list(islice(remaining, PIECE_ITEMS)):
            yield text + separator + ",".join(item.model_dump_json() for item in piece)
            text, separator = "", ","
        text += "]"
    yield text + "}"


async def _with_turns(pieces: Iterable[str]) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)  # others get their turn, also when the client takes all at once
