"""Work for threads."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def off_loop(function: Callable[[], T]) -> T:
    """Run *function* off the event loop, to its end even when the caller is cancelled.

    Else what holds a lock for it would let go while it still runs: an older state of a batch could
    be written after a newer one.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
