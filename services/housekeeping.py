"""What the service does unasked: go on after a crash, finish abandons, end old batches."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

from models.batch import INTERRUPTED, STOPPED, Batch, BatchStatus
from models.caller import ANYBODY, Caller
from models.errors import BatchConflict, BatchNotFound, StorageUnavailable
from models.row import RowStatus
from services import clock
from services.abandonment import Abandonment
from services.batch_runner import BatchRunner
from services.claims import Claims
from services.logs import get_logger
from services.peers import Peers, Taken
from services.progress_tracker import ProgressTracker
from services.reasons import CannotContinue, Interrupted, cancelled, other_directory

logger = get_logger(__name__)

MAX_AUTO_RESUMES = 3  # without a row created in between; then a person should look
CLEANUP_INTERVAL_S = 600.0

_COMPLETED = frozenset({BatchStatus.COMPLETED})


@dataclass(frozen=True, slots=True)
class HouseRules:
    """What is kept and what goes on by itself.

    Attributes:
        directory_url: Batches of another directory are not touched.
        auto_resume: Go on at start with what was interrupted.
        keep_completed_s: Completed batches are forgotten at this age, in seconds.
        keep_stopped_s: Resumable and failed ones are abandoned at this age, in seconds.
    """

    directory_url: str
    auto_resume: bool
    keep_completed_s: float
    keep_stopped_s: float


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What was cleaned up of what a caller may see.

    Attributes:
        forgotten: Completed batches.
        abandoned: Stopped batches, in the background since a cleanup was last asked for.
        deleted_hospitals: Theirs, in the directory.
    """

    forgotten: int
    abandoned: int
    deleted_hospitals: int


class Housekeeping:
    """Recovers at start and cleans up from time to time."""

    def __init__(
        self,
        tracker: ProgressTracker,
        claims: Claims,
        runner: BatchRunner,
        abandonment: Abandonment,
        rules: HouseRules,
        peers: Peers,
    ) -> None:
        self._tracker = tracker
        self._peers = peers
        self._claims = claims
        self._runner = runner
        self._abandonment = abandonment
        self._rules = rules
        self._kept: dict[UUID, str] = {}  # what could not be abandoned, and the reason told
        self._asked = asyncio.Event()
        self._asked_by: set[Caller] = set()
        # By owner, since a cleanup was last asked for.
        self._abandoned: Counter[str | None] = Counter()
        self._deleted_hospitals: Counter[str | None] = Counter()

    async def recover(self, batches: list[Batch]) -> None:
        """Take over what an earlier process left."""
        self._tracker.restore(batches)
        for batch in batches:
            if batch.status in INTERRUPTED:
                async with self._claims.taken(batch):
                    self._recover_one(batch)
        await self._take_up_abandons(ANYBODY)

    async def take(self, batch_id: UUID, *, to_end_it: bool = False) -> None:
        """Go on with an unfinished batch that no process works on; return when that has ended.

        Args:
            batch_id: The batch's.
            to_end_it: Only if it was cancelled: then nothing of it is sent.
        """
        await self._peers.refresh(batch_id)
        if batch_id not in self._tracker:
            return
        batch = self._tracker.get(batch_id)
        with contextlib.suppress(Taken, BatchNotFound, StorageUnavailable):
            async with self._claims.taken(batch) as is_clean:
                if to_end_it and not batch.cancelled:
                    pass  # somebody has resumed it
                elif batch.status is BatchStatus.ABANDONING:
                    self._claims.start(batch, self._abandon(batch))
                elif batch.status in INTERRUPTED and is_clean:
                    again = batch.status is not BatchStatus.INITIALIZING
                    batch.running_since = clock.now_s()
                    self._claims.start(batch, self._runner.run(batch, again=again))
                elif batch.status in INTERRUPTED:
                    self._recover_one(batch)
        await self._claims.wait(batch_id)

    async def cleanup(self, caller: Caller) -> Cleanup:
        """Forget *caller*'s old completed batches; stopped ones are seen to in the background."""
        forgotten = await self._forget_old(caller)
        self._asked_by.add(caller)
        self._asked.set()
        return Cleanup(
            forgotten, _taken(self._abandoned, caller), _taken(self._deleted_hospitals, caller)
        )

    async def clean_regularly(self) -> None:
        """Clean up for as long as the service runs, from time to time and when asked."""
        due_s = clock.now_s() + CLEANUP_INTERVAL_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due_s - clock.now_s()):
                    await self._asked.wait()
            callers, self._asked_by = self._asked_by, set()
            self._asked.clear()
            if clock.now_s() >= due_s:  # however often somebody asks: the others' turn comes too
                callers, due_s = {ANYBODY}, clock.now_s() + CLEANUP_INTERVAL_S
            for caller in callers:
                try:
                    await self._clean(caller)
                except Exception:
                    logger.exception("cleanup failed", tried_again_in_s=CLEANUP_INTERVAL_S)

    async def _clean(self, caller: Caller) -> None:
        self._kept = {one: why for one, why in self._kept.items() if one in self._tracker}
        await self._peers.refresh_all()
        await self._take_up_abandons(caller)
        await self._forget_old(caller)
        await self._abandon_old(caller)

    async def _forget_old(self, caller: Caller) -> int:
        old = self._older_than(self._rules.keep_completed_s, _COMPLETED, caller)
        return sum([await self._forget(batch) for batch in old])

    async def _abandon_old(self, caller: Caller) -> None:
        """Abandon stopped batches one after the other, so that uploads find room in the queue."""
        for batch in self._older_than(self._rules.keep_stopped_s, STOPPED, caller):
            task = await self._begin_to_abandon(batch)
            if task is None:
                continue
            await self._claims.wait(batch.id)
            if task.cancelled() or task.exception() is not None:
                continue  # its claim has logged it
            match task.result():
                case int(deleted):
                    self._abandoned[batch.owner] += 1
                    self._deleted_hospitals[batch.owner] += deleted
                case CannotContinue():
                    return  # the directory is away, for the others too
                case _:
                    pass  # this one is kept

    def _older_than(self, age_s: float, statuses: Set[BatchStatus], caller: Caller) -> list[Batch]:
        theirs = self._tracker.seen_by(caller)
        return [batch for batch in theirs if _is_old(batch, age_s, statuses)]

    async def _begin_to_abandon(self, batch: Batch) -> asyncio.Task[int | Exception] | None:
        """Return the work, or None if somebody is at it, or took it up, since the round began."""
        with contextlib.suppress(Taken, BatchNotFound, StorageUnavailable):
            async with self._claims.taken(batch):
                if batch.id in self._tracker and self._is_kept_long_enough(batch):
                    return self._claims.start(batch, self._abandon(batch))
        return None

    def _is_kept_long_enough(self, batch: Batch) -> bool:
        if not _is_old(batch, self._rules.keep_stopped_s, STOPPED):
            return False
        if batch.id not in self._kept:
            logger.info("batch kept long enough", batch_id=str(batch.id), status=batch.status)
        return True

    def _recover_one(self, batch: Batch) -> None:
        """Treat every row whose creation is not recorded as sent: the checkpoint may be older.

        Not those of parts that were never opened: what is opened is known before anything is sent.
        """
        opened = range(batch.opened_parts)
        batch.doubtful = batch.unsettled = frozenset(opened)
        for row in chain.from_iterable(map(batch.rows_of, opened)):
            if not row.is_done and not row.is_excluded:
                self._tracker.set_row(
                    batch,
                    row.hospital.row,
                    RowStatus.VERIFYING,
                    error="the service was interrupted",
                )
        reason = self._why_not_resumed(batch)
        if reason is not None:
            batch.failure_reason = reason
            self._tracker.set_status(batch, BatchStatus.RESUMABLE)
            logger.warning("batch not resumed", batch_id=str(batch.id), reason=reason)
            return
        batch.resume_count += 1
        batch.running_since = clock.now_s()
        self._tracker.set_status(batch, BatchStatus.PROCESSING)
        logger.info("batch goes on after an interruption", batch_id=str(batch.id))
        self._claims.start(batch, self._runner.run(batch, again=True, automatic=True))

    def _why_not_resumed(self, batch: Batch) -> str | None:
        if batch.directory_url != self._rules.directory_url:
            return other_directory(batch)
        if batch.cancelled:
            return cancelled().reason
        if not self._rules.auto_resume:
            return "The service was interrupted while the batch ran: resume it."
        if batch.auto_resumes >= MAX_AUTO_RESUMES:
            return (
                f"{MAX_AUTO_RESUMES} automatic resumes created no row: "
                "see the service's log, then resume the batch."
            )
        return None

    async def _take_up_abandons(self, caller: Caller) -> None:
        for batch in self._tracker.seen_by(caller):
            if batch.status is BatchStatus.ABANDONING:
                with contextlib.suppress(Taken, BatchNotFound, StorageUnavailable):
                    async with self._claims.taken(batch):
                        if batch.status is BatchStatus.ABANDONING:
                            self._claims.start(batch, self._abandon(batch))

    async def _abandon(self, batch: Batch) -> int | Exception:
        """Abandon with nobody waiting; what fails is kept, and taken up by the next cleanup.

        Returns:
            How many hospitals were deleted, or why the batch is kept.
        """
        try:
            if batch.directory_url != self._rules.directory_url:
                raise BatchConflict(other_directory(batch))
            return await self._abandonment.abandon(batch)
        except (BatchConflict, StorageUnavailable, CannotContinue) as error:
            self._keep(batch, str(error))
            return error
        except Interrupted as error:
            return error

    def _keep(self, batch: Batch, reason: str) -> None:
        """Say why a batch is still to be abandoned: once, not at every cleanup."""
        if self._kept.get(batch.id) != reason:
            self._kept[batch.id] = reason
            logger.warning("batch still to be abandoned", reason=reason)

    async def _forget(self, batch: Batch) -> bool:
        if batch.id not in self._tracker:
            return False
        try:
            async with self._claims.taken(batch):
                await self._tracker.forget(batch)
        except (Taken, BatchNotFound, StorageUnavailable):
            return False
        logger.info("batch forgotten", batch_id=str(batch.id))
        return True


def _taken(counts: Counter[str | None], caller: Caller) -> int:
    """Take *caller*'s part out of what was counted by owner."""
    owners = [owner for owner in counts if caller.sees_all or owner == caller.name]
    return sum(counts.pop(owner) for owner in owners)


def _is_old(batch: Batch, age_s: float, statuses: Set[BatchStatus]) -> bool:
    return batch.status in statuses and batch.changed_s <= clock.now_s() - age_s
