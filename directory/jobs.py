"""Work that outlives the client that asked for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class ConnectionDropped(Exception):
    """The client gets no (further) byte: its connection ends here.

    On a real server the connection is cut. In process there is none, so this leaves the
    ASGI app, and the transport that called it can turn it into a `httpx.ReadError`.
    """


class Jobs:
    """Own every task of the directory, so that a restart can end them all.

    Work runs in tasks of its own: whether the caller is cancelled or its client leaves, a
    create still commits, as it does in the real directory.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin *work*; only `end_all` keeps it from finishing."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def outcome(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the outcome of *work*, which goes on if the waiting is cancelled.

        Raises:
            ConnectionDropped: `end_all` ended it.
        """
        task = self.start(work)
        await asyncio.wait((task,))
        if task.cancelled():
            raise ConnectionDropped
        return task.result()

    async def first_of(self, *waits: Coroutine[Any, Any, None]) -> None:
        """Return when the first of *waits* is over; the others are given up.

        Raises:
            ConnectionDropped: `end_all` ended them.
        """
        tasks = [self.start(wait) for wait in waits]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        if any(task.cancelled() for task in done):
            raise ConnectionDropped

    def end_all(self) -> None:
        for task in self._tasks:
            task.cancel()
