"""The processes that share a database: who works on which batch, and what the others know of it."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar
from uuid import UUID

from models.batch import ENDED, INTERRUPTED, Batch
from models.errors import UNREAD, BatchNotFound, StorageUnavailable
from services import clock
from services.clock import age_s
from services.logs import get_logger
from services.meters import Meters
from services.off_loop import off_loop, seen
from services.peers import Lost, Taken
from services.progress_tracker import ProgressTracker
from services.reasons import cancelled
from services.storage.contract import StorageError
from services.storage.database import READ_PATIENCE_S
from services.storage.postgres import LEASE_S, NotStored, PostgresBatches, Stored, Unreadable

logger = get_logger(__name__)

RETRY_S = 0.5  # how often a database that is away is asked again
SEEN_EVERY_S = LEASE_S / 3
FRESH_S = LEASE_S / 2  # an older answer says nothing of who works on a batch by now
SILENCE_S = 3.0  # a database that is asked and says nothing for so long does not answer ...
ALL_OF_IT_S = 30.0  # ... but may take longer to tell all of a batch, which may be large

T = TypeVar("T")


class DatabasePeers:
    """See `peers.SharingPeers`.

    Args:
        storage: What the processes share.
        tracker: What this one knows of it.
        offer: Has some process take a batch.
        meters: Where it is counted that the database does not answer.
    """

    let_go_s = 2.0  # some exchanges with the database

    def __init__(
        self,
        storage: PostgresBatches,
        tracker: ProgressTracker,
        offer: Callable[[UUID], Awaitable[None]],
        meters: Meters,
    ) -> None:
        self._storage = storage
        self._tracker = tracker
        self._offer = offer
        self._meters = meters
        self.is_away = False
        self._publishing: dict[UUID, Callable[[], None]] = {}  # what ends it, of our batches
        self._versions: dict[UUID, int] = {}  # of others' batches, as they are known here
        self._unreadable: set[UUID] = set()  # which are not served, and were told of
        self._news: dict[UUID, None] = {}
        self._has_news = asyncio.Event()
        self._has_freed = asyncio.Event()  # batches of a process that is lost
        self._asking: asyncio.Task[dict[UUID, bool]] | None = None  # that has not begun yet
        self._one_asks = asyncio.Lock()

    async def take(self, batch: Batch) -> bool:
        is_clean = False
        try:
            claim = await off_loop(partial(self._storage.claim, batch.id))
            is_clean = claim is not None and claim.is_clean
            await self._read(batch.id, within_s=None)
        except StorageError:
            await self._release(batch.id, is_clean=is_clean)
            raise StorageUnavailable from None
        except BaseException:
            await self._release(batch.id, is_clean=is_clean)
            raise
        if batch.id not in self._tracker:  # it is gone, or not served
            await self._release(batch.id, is_clean=is_clean)
            raise BatchNotFound
        if claim is None:
            raise Taken
        batch.cancelled, batch.told = claim.cancelled, None
        self._tracker.take(batch)
        publish = partial(self._publish, batch)
        self._publishing[batch.id] = self._tracker.watchers.add(batch.id, publish)
        return claim.is_clean

    async def release(self, batch: Batch, *, is_clean: bool) -> None:
        is_written = await self._tracker.let_go(batch)
        self._publishing.pop(batch.id)()  # not before: until then this process knows best
        self._versions.pop(batch.id, None)
        if batch.id not in self._tracker:
            return
        version = await self._release(batch.id, is_clean=is_clean and is_written)
        if version is not None and is_written:  # so it is known here as it is
            self._versions[batch.id] = version
        await self.refresh(batch.id)
        if batch.status in INTERRUPTED:
            await self._offer(batch.id)

    async def accept(self, batch: Batch) -> None:
        try:
            await off_loop(partial(self._storage.accept, batch.id))
        except StorageError:
            try:  # its answer may have been lost
                await off_loop(partial(self._storage.accept, batch.id))
            except StorageError:
                self._drop(batch.id)
                raise StorageUnavailable from None
        await self._offer(batch.id)

    async def may_send(self, batch_id: UUID) -> None:
        held: dict[UUID, bool] | None = None
        while held is None:
            try:
                held = await self._held()
            except StorageError:
                await asyncio.sleep(RETRY_S)
        batch = self._tracker.get(batch_id)
        if batch_id not in held:
            self._tracker.lose(batch)
            raise Lost
        if held[batch_id] and batch.status in INTERRUPTED:
            if not batch.cancelled:
                self._tracker.cancelled_elsewhere(batch)
            raise cancelled()

    async def cancel(self, batch: Batch) -> bool:
        try:
            is_cancelled = await self._soon(partial(self._storage.cancel, batch.id))
        except StorageError:
            raise StorageUnavailable from None
        await self.refresh(batch.id)
        return is_cancelled

    async def refresh(self, batch_id: UUID) -> None:
        if batch_id in self._publishing:
            with contextlib.suppress(TimeoutError):  # of a database that is away
                async with asyncio.timeout(READ_PATIENCE_S):
                    await self._tracker.shown(batch_id)
            return
        try:
            await self._read(batch_id)
        except StorageError:
            if batch_id not in self._tracker:
                raise StorageUnavailable(UNREAD) from None

    async def refresh_upload(self, owner: str | None, idempotency_key: str) -> None:
        try:
            found = await self._soon(partial(self._storage.uploaded_as, owner, idempotency_key))
        except StorageError:
            raise StorageUnavailable from None
        if found is not None:
            await self.refresh(found)

    async def refresh_all(self) -> None:
        known = [batch.id for batch in self._tracker]
        try:
            versions = await self._soon(self._storage.versions)
        except StorageError:
            return
        for batch_id in known:
            if batch_id not in versions and batch_id not in self._publishing:
                self._drop(batch_id)
        for batch_id, version in versions.items():
            if self._versions.get(batch_id) != version and not self.is_away:
                await self.refresh(batch_id)

    def hear(self, batch_id: UUID, sender: str) -> None:
        """Note that another process changed a batch."""
        is_known = batch_id in self._publishing or batch_id in self._tracker.watchers
        if sender != self._storage.me and is_known:
            self._news[batch_id] = None
            self._has_news.set()

    def hear_all(self) -> None:
        """Note that other processes may have changed whatever is watched here."""
        self._news |= dict.fromkeys(self._tracker.watchers.watched())
        self._has_news.set()

    async def follow(self) -> None:
        """Bring up to date what is watched here, whenever another process changed it."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            while self._news:
                batch_id = next(iter(self._news))
                del self._news[batch_id]
                try:
                    await self._catch_up(batch_id)
                except (StorageUnavailable, StorageError):
                    await asyncio.sleep(RETRY_S)
                    self._news.setdefault(batch_id)
                except Exception:
                    logger.exception("unforeseen error", batch_id=str(batch_id))

    async def be_seen(self) -> None:
        """Show the other processes that this one lives, for as long as it does.

        On the beat of the event loop, since a process whose loop hangs does not work; but no other
        work holds it up: it has a thread and a connection of its own.
        """
        seen_s, since_s = -math.inf, math.inf  # when last, and since when without a gap
        is_warned = False
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, "be-seen")
        while True:
            try:
                await loop.run_in_executor(thread, self._storage.be_seen)
                now_s = clock.now_s()
                since_s = since_s if now_s - seen_s < LEASE_S else now_s
                seen_s, is_warned = now_s, False
                # After a gap the others may have had one too: it says nothing of them.
                if now_s - since_s > LEASE_S:
                    freed = await loop.run_in_executor(thread, self._storage.free_unseen)
                    if freed:
                        logger.warning("a process is lost: others go on", batches=freed)
                        self._has_freed.set()
            except StorageError:
                if clock.now_s() - seen_s > LEASE_S and not is_warned:
                    logger.warning("the others may take this process for lost")
                    is_warned = True
            except Exception:
                logger.exception("unforeseen error")
            await asyncio.sleep(SEEN_EVERY_S)

    async def keep_up(self, *, takes_over: bool) -> None:
        """Know what the others do, and have go on what nobody works on any more.

        Args:
            takes_over: This is one that runs batches.
        """
        while True:
            was_away = self.is_away
            try:
                if takes_over:
                    await self.take_over()
                await self.refresh_all()
            except (StorageError, StorageUnavailable):
                pass  # it is noted that the database is away
            except Exception:
                logger.exception("unforeseen error")
            if was_away and self.is_away:
                self._meters.checkpoint_failures.inc()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEEN_EVERY_S):
                    await self._has_freed.wait()
            self._has_freed.clear()

    async def take_over(self) -> None:
        """Have some process take each unfinished batch that nobody works on."""
        for batch_id in await self._soon(self._storage.left_over):
            if batch_id in self._unreadable:
                continue
            logger.info("batch is left over: it goes on", batch_id=str(batch_id))
            await self._offer(batch_id)

    async def _soon(self, function: Callable[[], T], within_s: float | None = SILENCE_S) -> T:
        """Return what the database answers; StorageError if it says nothing for a while."""
        try:
            answer = await off_loop(function, within_s=within_s)
        except Unreadable:
            raise
        except (StorageError, TimeoutError) as error:
            self._note(is_away=True)
            raise StorageError("the database does not answer") from error
        self._note(is_away=False)
        return answer

    def _note(self, *, is_away: bool) -> None:
        if is_away == self.is_away:
            return
        self.is_away = is_away
        if is_away:
            logger.warning("the database does not answer")
        else:
            logger.info("the database answers again")
        self._tracker.watchers.tell_all()

    async def _catch_up(self, batch_id: UUID) -> None:
        if batch_id not in self._publishing:
            await self.refresh(batch_id)
            return
        batch, held = self._tracker.get(batch_id), await self._held()
        if batch_id not in held:
            self._tracker.lose(batch)
        elif held[batch_id] and not batch.cancelled:
            self._tracker.cancelled_elsewhere(batch)

    async def _held(self) -> dict[UUID, bool]:
        """Ask the database what this process holds, in a question that begins after this call.

        However many ask at a time, one question is under way, and one more is shared by all who
        came since: twenty rows that leave together wait for two exchanges at most.
        """
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(seen)
        return await asyncio.shield(self._asking)

    async def _ask(self) -> dict[UUID, bool]:
        async with self._one_asks:
            self._asking = None
            asked_s = clock.now_s()
            held = await off_loop(self._storage.check)
            if clock.now_s() - asked_s > FRESH_S:
                raise StorageError("the database answered too late")
            return held

    def _publish(self, batch: Batch, row: int | None) -> None:
        if row is None:
            self._tracker.publish(batch)

    async def _release(self, batch_id: UUID, *, is_clean: bool) -> int | None:
        try:
            return await off_loop(partial(self._storage.release, batch_id, is_clean=is_clean))
        except StorageError:
            return None

    async def _read(self, batch_id: UUID, within_s: float | None = SILENCE_S) -> None:
        """Take over what is stored of a batch, unless it became this process's meanwhile."""
        since = self._versions.get(batch_id, 0) if batch_id in self._tracker else 0
        if since == 0 and within_s is not None:
            within_s = ALL_OF_IT_S
        try:
            stored = await self._soon(partial(self._storage.read, batch_id, since), within_s)
        except NotStored:
            self._drop(batch_id)
            return
        except Unreadable as error:
            self._set_aside(batch_id, error)
            return
        self._unreadable.discard(batch_id)
        is_news = stored is not None and stored.version > self._versions.get(batch_id, 0)
        if stored is not None and is_news and batch_id not in self._publishing:
            self._versions[batch_id] = stored.version
            self._tracker.follow(self._seen_from_here(stored), stored.rows)

    def _seen_from_here(self, stored: Stored) -> Batch:
        """Return the batch's head with the times of this process's clocks."""
        now_s = clock.now_s()
        changed_s = age_s(
            stored.head.updated_at.timestamp(), self._tracker.wall_clock().timestamp()
        )
        is_unfinished = stored.head.status not in ENDED
        is_running = stored.is_held and is_unfinished
        return replace(
            stored.head,
            step="waiting for a process that runs batches" if is_unfinished else "",
            changed_s=now_s - changed_s,
            running_since=now_s - stored.age_s if is_running else None,
            told=stored.told if is_running else None,
            told_s=now_s - stored.age_s,
        )

    def _set_aside(self, batch_id: UUID, error: Unreadable) -> None:
        """Serve a batch that cannot be read no more, nor hide others for it; say so once."""
        self._drop(batch_id)
        if batch_id not in self._unreadable:
            self._unreadable.add(batch_id)
            logger.error("a batch cannot be read and is not served", reason=str(error))

    def _drop(self, batch_id: UUID) -> None:
        self._versions.pop(batch_id, None)
        self._tracker.drop(batch_id)
