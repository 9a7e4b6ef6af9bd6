"""The one claim on a batch, and the tasks that hold them.

Whatever works on a batch (a run, a resume, an abandon, a cleanup) holds its claim, so that no two
ever do. There is no await between asking and getting: of many at once exactly one wins.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from structlog.contextvars import bound_contextvars

from models.batch import Batch
from models.errors import BulkError
from services.logs import get_logger

logger = get_logger(__name__)

T = TypeVar("T")


class Claims:
    """Who works on which batch in this process."""

    def __init__(self) -> None:
        self._held: dict[UUID, Batch] = {}  # the one held longest goes first
        self._work: dict[UUID, asyncio.Task[Any]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, batch_id: UUID) -> bool:
        return batch_id in self._held

    def held(self) -> list[Batch]:
        """Return the batches that are worked on, from the one held longest on."""
        return list(self._held.values())

    @contextmanager
    def taken(self, batch: Batch) -> Iterator[None]:
        """Hold the free claim on a batch for a block; `start` inside it takes it over."""
        self._take(batch)
        try:
            yield
        finally:
            if batch.id not in self._work:
                self._held.pop(batch.id, None)

    def start(self, batch: Batch, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* as a task that holds the batch's claim until it ends.

        All that it logs has the batch's id, and that of the request which began it, if any.
        """
        self._held[batch.id] = batch
        with bound_contextvars(batch_id=str(batch.id)):
            task = asyncio.create_task(work)
            task.add_done_callback(partial(self._release, batch.id))
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

    def _take(self, batch: Batch) -> None:
        if batch.id in self._held:
            raise RuntimeError(f"batch {batch.id} is claimed already")
        self._held[batch.id] = batch

    def _release(self, batch_id: UUID, task: asyncio.Task[Any]) -> None:
        self._held.pop(batch_id, None)
        self._work.pop(batch_id, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, BulkError):
            logger.error("unforeseen error", exc_info=error)
