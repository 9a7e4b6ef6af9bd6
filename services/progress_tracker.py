"""The live truth of every batch, and its checkpoints.

Batches are changed here and on the event loop only; other threads get snapshots, which nothing
changes any more. Row changes are written behind: coalesced, so that progress never waits for the
disk. A checkpoint older than the truth costs only a look at the directory. What a client is told
(accepted, ended, abandoning) is on disk before it is told.

Where several processes share a storage, batches that another one works on are known here as they
were last read.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from models.batch import Batch, BatchStatus
from models.caller import Caller
from models.errors import BatchNotFound, StorageUnavailable
from models.outlook import Outlook
from models.row import Row, Rows, RowStatus
from services import clock
from services.clock import WallClock, age_s, utc_now
from services.logs import context_of, get_logger
from services.meters import Meters
from services.off_loop import off_loop, seen
from services.storage.contract import AlreadyUploaded, BatchStorage, LostBatch, StorageError
from services.watchers import Watchers

logger = get_logger(__name__)

WRITE_DELAY_S = 0.05  # changes within it share one write; a file of 20 is written about twice
FIRST_RETRY_S = 0.5  # a disk that is full may be so for long ...
LAST_RETRY_S = 10.0  # ... but is tried again at least this often
CHECK_S = 5.0  # a storage that takes longer cannot be used

T = TypeVar("T")
_COPIED = {field.name for field in fields(Batch)} - {"id", "rows"}


def _nothing(_: Batch) -> None:
    """Nobody wants to know."""


class ProgressTracker:
    """Every batch that the service knows.

    Args:
        storage: Where batches are kept.
        wall_clock: What `created_at` and `updated_at` are read from.
        meters: Where checkpoints are counted.

    Attributes:
        watchers: Those who follow a batch; they hear of whatever can be seen to change.
        outlook: Tells what a running batch is doing, for the other processes; None: there are none.
        cancelled_elsewhere: Called when another process was asked to cancel a batch of this one.
        lost: Called when another process turns out to work on a batch of this one.
    """

    def __init__(
        self,
        storage: BatchStorage,
        wall_clock: WallClock = utc_now,
        meters: Meters | None = None,
    ) -> None:
        self._storage = storage
        self._meters = meters or Meters()
        self.wall_clock = wall_clock
        self.watchers = Watchers()
        self.outlook: Callable[[Batch], Outlook] | None = None
        self.cancelled_elsewhere: Callable[[Batch], None] = _nothing
        self.lost: Callable[[Batch], None] = _nothing
        self._batches: dict[UUID, Batch] = {}
        self._locks: dict[UUID, asyncio.Lock] = {}
        self._ahead: dict[UUID, asyncio.Lock] = {}  # stored and so read by others, not yet shown
        self._dirty: set[UUID] = set()
        self._not_ours: set[UUID] = set()  # let go of, or taken by another process
        self._changed: dict[UUID, set[int]] = {}  # rows since the batch was last written
        self._check: asyncio.Task[None] | None = None
        self._writers: dict[UUID, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Batch]:
        return iter(tuple(self._batches.values()))

    def __contains__(self, batch_id: UUID) -> bool:
        return batch_id in self._batches

    def seen_by(self, caller: Caller) -> list[Batch]:
        """Return every batch that *caller* may see, oldest first."""
        theirs = (batch for batch in self._batches.values() if caller.may_see(batch))
        return sorted(theirs, key=lambda batch: batch.created_at)

    def uploaded_as(self, owner: str | None, idempotency_key: str) -> Batch | None:
        """Return the batch that *owner* uploaded under a key of their own, if there is one."""
        wanted = (owner, idempotency_key)
        return next(
            (b for b in self._batches.values() if (b.owner, b.idempotency_key) == wanted), None
        )

    def count(self, status: BatchStatus) -> int:
        """Return how many batches are in *status*."""
        return sum(batch.status is status for batch in self._batches.values())

    def pending_rows(self, batch_id: UUID) -> int:
        """Return how many rows of a batch are still to be sent; 0 if there is none of that id."""
        batch = self._batches.get(batch_id)
        return batch.rows.count(RowStatus.PENDING) if batch else 0

    def pending_elsewhere(self) -> list[int]:
        """Return of each batch that another process runs how many rows are still to be sent."""
        elsewhere = (batch for batch in self._batches.values() if batch.told is not None)
        pending = (batch.rows.count(RowStatus.PENDING) for batch in elsewhere)
        return [rows for rows in pending if rows]

    def get(self, batch_id: UUID) -> Batch:
        """Return a batch; BatchNotFound if there is none of that id."""
        try:
            return self._batches[batch_id]
        except KeyError:
            raise BatchNotFound from None

    def restore(self, batches: Iterable[Batch]) -> None:
        """Take over what the storage held."""
        now, now_s = self.wall_clock().timestamp(), clock.now_s()
        for batch in batches:
            batch.changed_s = now_s - age_s(batch.updated_at.timestamp(), now)
            self._batches[batch.id] = batch

    def follow(self, head: Batch, rows: Iterable[Row]) -> None:
        """Take over what another process changed of a batch, and tell who watches it.

        Args:
            head: The batch, but for its rows.
            rows: All rows of a batch that is new here; of another at least those that changed.
        """
        batch = self._batches.get(head.id)
        if batch is None:
            head.rows = Rows(rows)
            self._batches[head.id] = head
            return
        changed = [row for row in rows if batch.row(row.hospital.row) != row]
        for row in changed:
            batch.rows.put(row)
        for name in _COPIED:
            setattr(batch, name, getattr(head, name))
        self.poke(batch)
        for row in changed:
            self.watchers.tell(batch.id, row.hospital.row)

    def drop(self, batch_id: UUID) -> None:
        """Forget a batch that another process removed."""
        self._not_ours.discard(batch_id)
        self._locks.pop(batch_id, None)
        if self._batches.pop(batch_id, None) is not None:
            self._changed.pop(batch_id, None)
            self.watchers.tell(batch_id)

    def take(self, batch: Batch) -> None:
        """Write a batch from now on, which another process may have written until now."""
        self._not_ours.discard(batch.id)

    async def let_go(self, batch: Batch) -> bool:
        """Write a batch for the last time, then not any more; return whether all is written."""
        if batch.id not in self._batches:
            return True
        async with self._lock(batch):  # a write may be under way
            is_written = batch.id not in self._dirty
            if not is_written and batch.id not in self._not_ours:
                with contextlib.suppress(StorageUnavailable):
                    await self._save(batch)
                    is_written = True
            self._not_ours.add(batch.id)
            self._dirty.discard(batch.id)
            self._changed.pop(batch.id, None)
        return is_written

    @property
    def is_shared(self) -> bool:
        """Whether other processes know these batches too."""
        return self.outlook is not None

    def is_lost(self, batch: Batch) -> bool:
        """Whether another process works on the batch, or may do so from now on."""
        return batch.id in self._not_ours

    def lose(self, batch: Batch) -> None:
        """Write nothing more of a batch: another process turned out to work on it."""
        logger.warning("another process goes on with the batch", batch_id=str(batch.id))
        self._not_ours.add(batch.id)
        self.lost(batch)

    async def add(self, batch: Batch) -> None:
        """Make a new batch durable, then known.

        Raises:
            AlreadyUploaded: Another process knows one of its owner and idempotency key.
            StorageUnavailable: It cannot be written.
        """
        try:
            await self._written(batch, partial(self._storage.add, batch.snapshot(clock.now_s())))
        except StorageUnavailable:
            # The write may have failed only at its last step, after the document was in place.
            with contextlib.suppress(StorageError):
                await off_loop(partial(self._storage.delete, batch.id))
            raise
        self._batches[batch.id] = batch

    def set_row(self, batch: Batch, number: int, status: RowStatus, **changes: Any) -> Row:
        """Move one row; written behind. For *changes* see `Row.moved`."""
        row = batch.row(number).moved(status, **changes)
        batch.rows.put(row)
        self._changed.setdefault(batch.id, set()).add(number)
        self.touch(batch, row=number)
        return row

    def set_status(self, batch: Batch, status: BatchStatus) -> None:
        """Move a running batch to a status that promises nothing; written behind."""
        batch.check_move(status)
        batch.status = status
        self.touch(batch)

    def set_step(self, batch: Batch, step: str, ends_s: float | None = None) -> None:
        """Say what a running batch is doing, and until when (monotonic); kept in memory only."""
        batch.step, batch.step_ends_s = step, ends_s
        self.poke(batch)

    def poke(self, batch: Batch) -> None:
        """Say that what is told of the batch changed, though the batch itself did not."""
        self.watchers.tell(batch.id)

    def publish(self, batch: Batch) -> None:
        """Have the other processes know soon what is told of the batch."""
        if batch.id in self._batches:
            self._write_soon(batch)

    def touch(self, batch: Batch, *, row: int | None = None) -> None:
        """Note a change of the batch, or of one of its rows: it is written soon."""
        batch.updated_at = self.wall_clock()
        batch.changed_s = clock.now_s()
        self._write_soon(batch)
        self.watchers.tell(batch.id, row)

    async def save(self, batch: Batch) -> None:
        """Make the batch's present state durable at once; StorageUnavailable if that fails."""
        async with self._lock(batch):
            try:
                await self._save(batch)
            except StorageUnavailable:
                self._write_soon(batch)
                raise

    async def agree(self, batch: Batch) -> None:
        """Have the other processes, if there are any, know the batch's state before it is acted on.

        Raises:
            StorageUnavailable: They may not know it.
        """
        if self.is_shared:
            await self.save(batch)

    async def announce(
        self, batch: Batch, status: BatchStatus, *, row: Row | None = None, **changes: Any
    ) -> None:
        """Move the batch to *status* with other *changes*: durable first, then shown.

        Args:
            batch: The batch.
            status: Its new one, or the same.
            row: A row that takes the place of the one with its number.
            changes: Other fields of the batch.

        Raises:
            StorageUnavailable: It could not be written; the batch is what it was.
        """
        batch.check_move(status)
        changes |= {
            "status": status,
            "updated_at": self.wall_clock(),
            "changed_s": clock.now_s(),
        }
        async with self._storage_first(batch):
            try:
                await self._save(batch, row, **changes)
            except StorageUnavailable:
                self._write_soon(batch)  # it may be in place all the same: put back what is true
                raise
            for name, value in changes.items():
                setattr(batch, name, value)
            if row is not None:
                batch.rows.put(row)
        self.watchers.tell(batch.id, None if row is None else row.hospital.row)

    async def forget(self, batch: Batch) -> None:
        """Remove the batch, first from disk; StorageUnavailable if that fails."""
        async with self._storage_first(batch):
            try:
                await off_loop(partial(self._storage.delete, batch.id))
            except StorageError as error:
                logger.error(
                    "batch cannot be removed from the storage",
                    batch_id=str(batch.id),
                    error=str(error),
                )
                self._write_soon(batch)
                raise StorageUnavailable from None
            self._batches.pop(batch.id, None)
            self._changed.pop(batch.id, None)
        self._locks.pop(batch.id, None)
        self.watchers.tell(batch.id)

    async def shown(self, batch_id: UUID) -> None:
        """Return when all that others may know of a batch, since it is stored, is known here."""
        lock = self._ahead.get(batch_id)
        if lock is not None:
            async with lock:
                pass

    async def check_writable(self) -> bool:
        """Return whether a checkpoint could be written now.

        However many ask at a time, one thread writes: the others are for checkpoints.
        """
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(asyncio.to_thread(self._storage.check_writable))
            self._check.add_done_callback(seen)
        done, _ = await asyncio.wait({self._check}, timeout=CHECK_S)
        return bool(done) and self._check.exception() is None

    async def flush(self) -> None:
        """Write at once what is still to be written; what fails is logged and left."""
        for batch_id in list(self._writers):
            if batch_id in self._batches:
                await self._save_present(self._batches[batch_id])
        for task in self._writers.values():
            task.cancel()
        await asyncio.gather(*self._writers.values(), return_exceptions=True)
        self._writers.clear()

    def _write_soon(self, batch: Batch) -> None:
        if batch.id in self._not_ours:
            return
        self._dirty.add(batch.id)
        if batch.id not in self._writers:
            self._writers[batch.id] = asyncio.create_task(
                self._write_behind(batch), context=context_of(batch.id)
            )

    async def _write_behind(self, batch: Batch) -> None:
        pause_s = WRITE_DELAY_S
        while batch.id in self._dirty:
            await asyncio.sleep(pause_s)
            if batch.id not in self._batches or batch.id in self._not_ours:
                self._dirty.discard(batch.id)  # forgotten meanwhile, or another's
                break
            saved = await self._save_present(batch)
            pause_s = WRITE_DELAY_S if saved else min(max(pause_s * 2, FIRST_RETRY_S), LAST_RETRY_S)
        self._writers.pop(batch.id, None)

    async def _save_present(self, batch: Batch) -> bool:
        async with self._lock(batch):
            self._dirty.discard(batch.id)
            if batch.id not in self._batches or batch.id in self._not_ours:
                return True
            try:
                await self._save(batch)
            except StorageUnavailable:
                self._dirty.add(batch.id)
                return False
        return True

    async def _save(self, batch: Batch, row: Row | None = None, **changes: Any) -> None:
        """Write the batch as it is but for *changes*, and *row* in place of that of its number."""
        snapshot = replace(batch.snapshot(clock.now_s()), **changes)
        if self.outlook is not None and snapshot.running_since is not None:
            snapshot.told = self.outlook(batch)
        changed = self._changed.pop(batch.id, set())
        if row is not None:
            snapshot.rows.put(row)
            changed.add(row.hospital.row)
        try:
            save = partial(self._storage.save, snapshot, changed)
            is_to_be_cancelled = await self._written(batch, save)
        except BaseException:
            self._changed.setdefault(batch.id, set()).update(changed)
            raise
        if is_to_be_cancelled and not batch.cancelled:
            self.cancelled_elsewhere(batch)

    async def _written(self, batch: Batch, write: Callable[[], T]) -> T:
        """Return what *write* returns; StorageUnavailable, and a line in the log, if it fails."""
        try:
            with self._meters.checkpoint_seconds.time():
                return await off_loop(write)
        except AlreadyUploaded:
            raise
        except LostBatch:
            self.lose(batch)
        except StorageError as error:
            self._meters.checkpoint_failures.inc()
            logger.error("checkpoint cannot be written", batch_id=str(batch.id), error=str(error))
        except Exception:
            self._meters.checkpoint_failures.inc()
            logger.exception("checkpoint cannot be written", batch_id=str(batch.id))
        raise StorageUnavailable from None

    @contextlib.asynccontextmanager
    async def _storage_first(self, batch: Batch) -> AsyncIterator[None]:
        """Hold the batch's lock for a change that is stored before it is shown."""
        lock = self._lock(batch)
        async with lock:
            self._ahead[batch.id] = lock
            try:
                yield
            finally:
                self._ahead.pop(batch.id, None)

    def _lock(self, batch: Batch) -> asyncio.Lock:
        """One write of a batch at a time, so that an older snapshot never replaces a newer one."""
        return self._locks.setdefault(batch.id, asyncio.Lock())
