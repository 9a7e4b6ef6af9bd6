"""Uploads that name themselves: the same one, sent again, finds the batch that it became.

What a batch was called stands in its own checkpoint, so that no crash can part the two. Here is
only what makes looking for it and storing it one step.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import BinaryIO
from weakref import WeakValueDictionary

PIECE_BYTES = 256 * 1024


def digest_of(file: BinaryIO) -> str:
    """Return the SHA-256 of a file in hex; it is read from its beginning and wound back."""
    digest = sha256()
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


class UploadTurns:
    """Of the uploads of one owner under one key, one at a time is looked for and stored."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str | None, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    @asynccontextmanager
    async def turn(self, owner: str | None, key: str) -> AsyncIterator[None]:
        """Hold the turn of *owner*'s *key* for a block."""
        lock = self._locks.setdefault((owner, key), asyncio.Lock())
        async with lock:
            yield
