"""The one claim on a batch, and the tasks that hold them.

Whatever works on a batch (a run, a resume, an abandon, a cleanup) holds its claim, so that no two
ever do. Within a process there is no await between asking and getting: of many at once exactly one
wins. Then the other processes are asked, if there are any.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from structlog.contextvars import bound_contextvars

from models.batch import ENDED, INTERRUPTED, Batch
from models.errors import BulkError
from services import clock
from services.logs import get_logger
from services.peers import NoPeers, Peers, Taken

logger = get_logger(__name__)

LOOK_AGAIN_S = 0.02

T = TypeVar("T")


class Claims:
    """Who works on which batch in this process.

    Args:
        peers: The other processes.
        hands_over: What is interrupted in good order may go on elsewhere as it is.
    """

    def __init__(self, peers: Peers | None = None, *, hands_over: bool = True) -> None:
        self._peers = peers or NoPeers()
        self._hands_over = hands_over
        self._held: dict[UUID, Batch] = {}  # the one held longest goes first
        self._work: dict[UUID, asyncio.Task[Any]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, batch_id: UUID) -> bool:
        return batch_id in self._held

    def held(self) -> list[Batch]:
        """Return the batches that are worked on, from the one held longest on."""
        return list(self._held.values())

    @asynccontextmanager
    async def taken(self, batch: Batch) -> AsyncIterator[bool]:
        """Hold the claim on a batch for a block; `start` inside it takes it over.

        Yields:
            Whether nothing was under way when it was last let go, in whichever process.

        Raises:
            Taken: It is held.
            StorageUnavailable: Nobody knows.
        """
        was_clean = await self._take(batch)
        try:
            yield was_clean
        finally:
            if batch.id not in self._work:
                # What a process that died left under way stays so for whoever takes it next.
                is_clean = was_clean or batch.status not in INTERRUPTED
                try:
                    await self._peers.release(batch, is_clean=is_clean)
                finally:
                    self._held.pop(batch.id, None)

    def start(self, batch: Batch, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* as a task that holds the batch's claim, which was taken, until it ends.

        All that it logs has the batch's id, and that of the request which began it, if any.
        """
        with bound_contextvars(batch_id=str(batch.id)):
            task = asyncio.create_task(self._working(batch, work))
            task.add_done_callback(partial(self._release, batch.id, work))
        self._work[batch.id] = task
        return task

    async def wait(self, batch_id: UUID) -> None:
        """Return when nothing works on the batch; being cancelled here cancels no work."""
        task = self._work.get(batch_id)
        if task is not None:
            await asyncio.wait({task})

    async def wait_for_all(self) -> None:
        """Return when no work is left."""
        await asyncio.gather(*self._work.values(), return_exceptions=True)

    def cancel_all(self) -> None:
        """End all work where it stands; a create that was sent is found again at the next start."""
        for task in self._work.values():
            task.cancel()

    async def _take(self, batch: Batch) -> bool:
        """Take the claim; of a batch that was told to have ended, wait until it is let go of."""
        deadline_s = clock.now_s() + self._peers.let_go_s
        while True:
            try:
                return await self._try_to_take(batch)
            except Taken:
                if batch.status not in ENDED or clock.now_s() >= deadline_s:
                    raise
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _try_to_take(self, batch: Batch) -> bool:
        if batch.id in self._held:
            raise Taken
        self._held[batch.id] = batch
        try:
            return await self._peers.take(batch)
        except BaseException:
            del self._held[batch.id]
            raise

    async def _working(self, batch: Batch, work: Coroutine[Any, Any, T]) -> T:
        is_clean = False
        try:
            result = await work
            # Not cut off: whatever was under way has its outcome.
            is_clean = self._hands_over or batch.status not in INTERRUPTED
            return result
        finally:
            await self._peers.release(batch, is_clean=is_clean)

    def _release(
        self, batch_id: UUID, work: Coroutine[Any, Any, Any], task: asyncio.Task[Any]
    ) -> None:
        work.close()  # it was never begun if the task was cancelled at once
        self._held.pop(batch_id, None)
        self._work.pop(batch_id, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, BulkError):
            logger.error("unforeseen error", exc_info=error)
