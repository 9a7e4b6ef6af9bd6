"""Work for threads beside the event loop."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

GIVE_WAY_S = 0.0001  # between pieces of work: the event loop gets its turn, and soon

T = TypeVar("T")


async def off_loop(function: Callable[[], T]) -> T:
    """Run *function* in a thread, to its end even when the caller is cancelled.

    Else what holds a lock for it would let go while it still runs: an older state of a batch could
    be written after a newer one.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


def giving_way(pieces: Iterable[T], *, every: int = 1) -> Iterator[T]:
    """Yield *pieces*, in a thread, with a rest after *every* so many in which others run."""
    for number, piece in enumerate(pieces):
        if number > 0 and number % every == 0:
            time.sleep(GIVE_WAY_S)  # noqa: TID251 - not on the event loop
        yield piece
