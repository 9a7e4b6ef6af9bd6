"""What must be known before more of a running batch is done: written, or the run stops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from models.batch import Batch, BatchStatus
from models.errors import StorageUnavailable
from services.peers import Lost
from services.progress_tracker import FIRST_RETRY_S, ProgressTracker
from services.reasons import not_saved


async def make_known(tracker: ProgressTracker, batch: Batch, **changes: Any) -> None:
    """Change what must be on disk before more of a running batch is sent; see `until_known`."""

    async def announce() -> None:
        await tracker.announce(batch, BatchStatus.PROCESSING, **changes)

    await until_known(tracker, batch, announce)


async def until_known(
    tracker: ProgressTracker, batch: Batch, write: Callable[[], Awaitable[None]]
) -> None:
    """Return when *write* succeeded.

    A disk that is full needs a person. A database that is away comes back, and meanwhile nothing
    of the batch is sent.

    Raises:
        CannotContinue: It could not be written.
        Lost: Another process works on the batch by now.
    """
    while True:
        try:
            return await write()
        except StorageUnavailable:
            if tracker.is_lost(batch):
                raise Lost from None
            if not tracker.is_shared:
                raise not_saved() from None
        await asyncio.sleep(FIRST_RETRY_S)
