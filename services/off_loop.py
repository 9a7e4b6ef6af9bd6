"""Work for threads beside the event loop."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

GIVE_WAY_S = 0.0001  # between pieces of work: the event loop gets its turn, and soon

T = TypeVar("T")


async def off_loop(function: Callable[[], T], *, within_s: float | None = None) -> T:
    """Run *function* in a thread, to its end even when the caller is cancelled.

    Else what holds a lock for it would let go while it still runs: an older state of a batch could
    be written after a newer one.

    Raises:
        TimeoutError: It did not end *within_s* seconds. If it was begun it goes on, and nobody
            hears what came of it.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        await asyncio.wait({task}, timeout=within_s)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
    if not task.done():
        await asyncio.sleep(0)  # after a stall of the loop the time is over before it hears of it
    if not task.done():
        task.cancel()  # if it still waits for a thread it must not keep others waiting
        raise TimeoutError
    return task.result()


def seen(task: asyncio.Future[T]) -> None:
    """Look at what came of a task, so that nobody is warned that nobody did."""
    if not task.cancelled():
        task.exception()


def giving_way(pieces: Iterable[T], *, every: int = 1) -> Iterator[T]:
    """Yield *pieces*, in a thread, with a rest after *every* so many in which others run."""
    for number, piece in enumerate(pieces):
        if number > 0 and number % every == 0:
            time.sleep(GIVE_WAY_S)  # noqa: TID251 - not on the event loop
        yield piece
