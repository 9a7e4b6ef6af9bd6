"""Who runs batches: this process itself, or whichever of several takes them.

Both leave the claims to `claims`, and how a batch is run to `batch_runner`.
"""

import asyncio
from typing import Protocol

from models.batch import ENDED, INTERRUPTED, Batch
from models.errors import BatchConflict, StorageUnavailable
from services import clock
from services.batch_runner import BatchRunner
from services.claims import Claims
from services.housekeeping import Housekeeping
from services.peers import SharingPeers
from services.progress_tracker import ProgressTracker
from services.refusals import cannot_cancel


class Execution(Protocol):
    """Has batches run."""

    async def accept(self, batch: Batch) -> None:
        """Make a new batch durable, and have it run.

        Raises:
            AlreadyUploaded, StorageUnavailable: There is no such batch.
        """

    def go_on(self, batch: Batch) -> None:
        """Have a batch run again of which the claim is held."""

    async def cancel(self, batch: Batch) -> None:
        """Have no further row of a batch sent.

        Raises:
            BatchConflict: It is too late.
            StorageUnavailable: It may be sent all the same, now or after a restart.
        """

    async def wait(self, batch: Batch, stopping: asyncio.Event) -> None:
        """Return when the batch is not to be run any more, it is gone, or the service stops."""

    def under_way(self) -> list[Batch]:
        """Return the batches that are worked on, or wait for it, from the oldest on."""

    def is_worked_on(self, batch: Batch) -> bool:
        """Return whether the batch may change without a new call."""


class RunsHere:
    """This process has its batches for itself, and runs them."""

    def __init__(self, tracker: ProgressTracker, claims: Claims, runner: BatchRunner) -> None:
        self._tracker = tracker
        self._claims = claims
        self._runner = runner

    async def accept(self, batch: Batch) -> None:
        async with self._claims.taken(batch):
            await self._tracker.add(batch)
            batch.running_since = clock.now_s()
            self._claims.start(batch, self._runner.run(batch, again=False))

    def go_on(self, batch: Batch) -> None:
        self._claims.start(batch, self._runner.run(batch, again=True))

    async def cancel(self, batch: Batch) -> None:
        self._runner.cancel(batch)
        try:
            await self._tracker.save(batch)
        except StorageUnavailable:
            raise StorageUnavailable(
                "No further row is sent, but this could not be saved, and a restart of the "
                "service would go on with the batch"
            ) from None

    async def wait(self, batch: Batch, stopping: asyncio.Event) -> None:
        if batch.status in INTERRUPTED:
            await self._claims.wait(batch.id)

    def under_way(self) -> list[Batch]:
        return self._claims.held()

    def is_worked_on(self, batch: Batch) -> bool:
        return batch.id in self._claims


class RunsAnywhere:
    """Whichever process takes a batch runs it, and not the one that was asked to."""

    def __init__(
        self,
        tracker: ProgressTracker,
        claims: Claims,
        runner: BatchRunner,
        housekeeping: Housekeeping,
        peers: SharingPeers,
    ) -> None:
        self._tracker = tracker
        self._claims = claims
        self._runner = runner
        self._housekeeping = housekeeping
        self._peers = peers

    async def accept(self, batch: Batch) -> None:
        await self._tracker.add(batch)
        await self._peers.accept(batch)

    def go_on(self, batch: Batch) -> None:
        """It is taken when its claim is let go of."""

    async def cancel(self, batch: Batch) -> None:
        if not await self._peers.cancel(batch):
            raise BatchConflict(cannot_cancel(batch))
        if batch.id in self._claims:
            self._runner.cancel(batch)
        elif batch.status in INTERRUPTED:  # if nobody works on it nobody else may come to end it
            await self._housekeeping.take(batch.id, to_end_it=True)

    async def wait(self, batch: Batch, stopping: asyncio.Event) -> None:
        changed = asyncio.Event()
        stop_hearing = self._tracker.watchers.add(batch.id, lambda _: changed.set())
        stop = asyncio.create_task(stopping.wait())
        try:
            while (
                batch.status in INTERRUPTED and batch.id in self._tracker and not stopping.is_set()
            ):
                change = asyncio.create_task(changed.wait())
                await asyncio.wait({change, stop}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
                changed.clear()
        finally:
            stop.cancel()
            stop_hearing()

    def under_way(self) -> list[Batch]:
        under_way = [batch for batch in self._tracker if self.is_worked_on(batch)]
        return sorted(under_way, key=lambda batch: batch.updated_at)

    def is_worked_on(self, batch: Batch) -> bool:
        return batch.status not in ENDED  # the claim on one that has ended is about to be given up
