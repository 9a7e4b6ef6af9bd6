"""Answers that are written while they are sent: the same document, and others get their turn."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.types import Message

from models.api import Difference
from routers.pieces import FEW_PIECES, PIECE_ITEMS, reply_in_pieces

FEW = (FEW_PIECES - 1) * PIECE_ITEMS


class Found(BaseModel):
    """A document with two lists."""

    reason: str = 'a "]" and a "}"'
    missing: list[Difference] = []
    surplus: list[Difference] = []


def differences(many: int) -> list[Difference]:
    return [Difference(row=n, hospital_id=None, name=f"[{n}]}}") for n in range(many)]


async def answered(found: Found) -> tuple[MutableMapping[str, Any], list[bytes]]:
    """Send *found*; return how the answer starts, and its pieces."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is to be received")

    lists = {"missing": iter(found.missing), "surplus": iter(found.surplus)}
    response = reply_in_pieces(Found(), lists, {"Location": "/here"})
    await response({"type": "http"}, receive, send)
    assert not sent[-1].get("more_body", False)
    return sent[0], [message["body"] for message in sent[1:] if message["body"]]


@pytest.mark.parametrize(
    ("missing", "surplus"),
    [(0, 0), (1, 0), (0, 2), (3, 4), (FEW - 300, 200), (FEW + 1, 0), (0, 3000), (1234, 2345)],
)
async def test_the_document_is_the_one_that_would_be_written_at_once(missing: int, surplus: int):
    found = Found(missing=differences(missing), surplus=differences(surplus))

    start, pieces = await answered(found)

    assert b"".join(pieces).decode() == found.model_dump_json()
    assert max(len(json.dumps(piece.decode())) for piece in pieces) < 100 * (FEW + 2)
    headers = dict(start["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"location"] == b"/here"
    assert (b"content-length" in headers) is (missing + surplus < FEW)


async def test_others_get_their_turn_between_the_pieces():
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(other())
    _, pieces = await answered(Found(missing=differences(20 * PIECE_ITEMS)))
    working.cancel()

    assert turns >= len(pieces) >= 20


async def test_a_client_that_is_gone_ends_the_answer_and_nothing_else():
    async def send(message: Message) -> None:
        raise OSError

    async def receive() -> Message:
        raise AssertionError("nothing is to be received")

    response = reply_in_pieces(Found(), {"missing": differences(5000), "surplus": ()})

    await response({"type": "http"}, receive, send)
