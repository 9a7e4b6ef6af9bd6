"""Drives one batch to its end: every part completed and verified, then every part activated."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from uuid import UUID

from models.batch import Batch, BatchStatus
from models.errors import StorageUnavailable
from models.row import RowStatus
from services import clock
from services.batch_run import Part, Run, RunPolicy
from services.logs import get_logger
from services.meters import Meters
from services.pacing import TurnWithdrawn
from services.part_runner import PartRunner
from services.patient_directory import PatientDirectory
from services.peers import Lost
from services.progress_tracker import FIRST_RETRY_S, LAST_RETRY_S, ProgressTracker
from services.reasons import (
    CannotContinue,
    Interrupted,
    cancelled,
    keeps_losing,
    shortfall,
    unforeseen,
)

logger = get_logger(__name__)

MAX_LOSSES = 5  # times in one run that the directory loses rows, before a person should look
FORESEEN = (CannotContinue, Interrupted, TurnWithdrawn)


class BatchRunner:
    """Runs batches."""

    def __init__(
        self,
        directory: PatientDirectory,
        tracker: ProgressTracker,
        policy: RunPolicy,
        meters: Meters,
    ) -> None:
        self._directory = directory
        self._tracker = tracker
        self._policy = policy
        self._parts = PartRunner(directory, tracker, policy, meters)
        self._runs: dict[UUID, Run] = {}

    async def run(self, batch: Batch, *, again: bool, automatic: bool = False) -> None:
        """Return when the batch has ended, or the service stops; its status says how it ended.

        Args:
            batch: Claimed by the caller.
            again: It ran before, so the directory is looked at before anything is sent.
            automatic: Nobody asked for it: it goes on after a restart.
        """
        run = Run.of(batch, self._policy.settle_s, again=again, automatic=automatic)
        self._runs[batch.id] = run
        if batch.cancelled:
            run.stop(cancelled())
        try:
            await self._end(run, *await self._result(run))
        except (Interrupted, TurnWithdrawn, Lost):
            self._rest(batch)
        finally:
            del self._runs[batch.id]

    def cancel(self, batch: Batch) -> None:
        """Send no further row of *batch*: it ends as resumable when those under way have ended."""
        batch.cancelled = True
        if batch.id in self._runs:
            self._runs[batch.id].stop(cancelled())
        self._directory.withdraw(batch.id)
        self._tracker.poke(batch)

    def lose(self, batch: Batch) -> None:
        """Send nothing more of *batch*: another process goes on with it."""
        if batch.id in self._runs:
            self._stop(self._runs[batch.id], Lost())

    async def _result(self, run: Run) -> tuple[BatchStatus, str | None]:
        try:
            return await self._drive(run)
        except Lost:
            raise
        except CannotContinue as stop:
            return BatchStatus.RESUMABLE, stop.reason
        except (Interrupted, TurnWithdrawn):
            raise
        except Exception:
            logger.exception("unforeseen error")
            return BatchStatus.RESUMABLE, unforeseen().reason

    def _take_up(self, batch: Batch) -> None:
        """Give rows that ran out of tries new ones; refused rows stay refused."""
        for row in batch.rows:
            if row.status is RowStatus.FAILED and not row.is_excluded:
                is_unsettled = batch.part_of(row.hospital.row) in batch.unsettled
                untried = RowStatus.VERIFYING if is_unsettled else RowStatus.PENDING
                self._tracker.set_row(batch, row.hospital.row, untried)

    async def _drive(self, run: Run) -> tuple[BatchStatus, str | None]:
        """Complete every part; when all are verified, activate every part."""
        batch = run.batch
        self._take_up(batch)
        self._tracker.set_step(batch, "waking the directory")
        self._tracker.set_status(batch, BatchStatus.PROCESSING)
        await run.unless_stopped(self._directory.waker.wake_if_quiet())
        while True:
            if run.has_lost:
                run.losses += 1
                if run.losses > MAX_LOSSES:
                    raise keeps_losing()
            run.has_lost = False
            await self._complete(run)
            if batch.is_lacking:
                return shortfall(batch)
            await self._verify_oldest(run)
            if run.is_verified:
                await self._each(run, self._parts.activate, run.parts)
            await self._verify_oldest(run)
            if run.is_verified and not any(+part.inactive for part in run.parts):
                return BatchStatus.COMPLETED, None

    async def _complete(self, run: Run) -> None:
        """Have every part verified. Those that lack nothing are looked at while others send."""
        left = [part for part in run.parts if part.verified_s is None]
        lacks = {part.number for part in left if part.is_new or _lacks(run.batch, part)}
        sending = [part for part in left if part.number in lacks]
        looking = [part for part in left if part.number not in lacks]
        await self._each(run, self._parts.complete, sending, looking)

    async def _verify_oldest(self, run: Run) -> None:
        """Of several parts look once more at the one verified longest ago, and at the oldest one.

        It may be hours. A directory that restarted since does not have the first any more, one that
        is full and dropped its oldest rows not the second, and then all are looked at again.
        """
        if len(run.parts) > 1 and run.is_verified:
            ages = {part.number: _smallest_id(run.batch, part) for part in run.parts}
            filled = [part for part in run.parts if ages[part.number] < math.inf]
            longest_ago = min(filled, key=_verified_s)
            oldest = min(filled, key=lambda part: ages[part.number])
            for part in {part.number: part for part in (longest_ago, oldest)}.values():
                await self._parts.verify(run, part)

    async def _each(
        self, run: Run, work: Callable[[Run, Part], Awaitable[None]], *groups: list[Part]
    ) -> None:
        """Have *work* done on each part, of each group in order, several at a time.

        What stops one part stops the run; what is under way of the others keeps its outcome.
        """
        at_once = self._policy.parts_at_once(run.batch)
        workers = [
            self._work(run, work, parts) for parts in map(iter, groups) for _ in range(at_once)
        ]
        results = await asyncio.gather(*workers, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        defects = [error for error in errors if not isinstance(error, FORESEEN)]
        for error in defects or ([run.stopped_by] if run.stopped_by else errors):
            raise error

    async def _work(
        self, run: Run, work: Callable[[Run, Part], Awaitable[None]], parts: Iterator[Part]
    ) -> None:
        for part in parts:
            if run.stopped_by is not None:
                return
            if self._directory.waker.is_stopping and len(run.parts) > 1:
                raise Interrupted
            try:
                await work(run, part)
            except (Interrupted, TurnWithdrawn):
                raise
            except CannotContinue as stop:
                self._stop(run, stop)
                raise
            except BaseException:
                self._stop(run, unforeseen())
                raise

    def _stop(self, run: Run, reason: CannotContinue) -> None:
        run.stop(reason)
        self._directory.withdraw(run.batch.id)

    def _leave_nothing_processing(self, batch: Batch) -> None:
        """After an unforeseen error a create may have lost its outcome."""
        for row in batch.rows:
            if row.status is RowStatus.PROCESSING:
                self._tracker.set_row(batch, row.hospital.row, RowStatus.VERIFYING)
                batch.doubtful |= {batch.part_of(row.hospital.row)}
                batch.unsettled |= {batch.part_of(row.hospital.row)}

    def _rest(self, batch: Batch) -> None:
        batch.seconds, batch.running_since = batch.elapsed_seconds(clock.now_s()), None
        goes_on = "is resumable" if batch.cancelled else "goes on"
        self._tracker.set_step(batch, f"interrupted: {goes_on} when the service starts again")
        self._tracker.touch(batch)

    async def _end(self, run: Run, status: BatchStatus, reason: str | None) -> None:
        """Announce how the run ended, however long the storage cannot be written."""
        batch = run.batch
        while True:
            self._leave_nothing_processing(batch)
            try:
                await self._tracker.announce(
                    batch,
                    status,
                    failure_reason=reason,
                    seconds=batch.elapsed_seconds(clock.now_s()),
                    running_since=None,
                    step="",
                    step_ends_s=None,
                )
                break
            except StorageUnavailable:
                if isinstance(run.stopped_by, Lost):
                    raise run.stopped_by from None
                self._tracker.set_step(batch, "waiting until the batch storage can be written")
                await self._until_writable()
            if status is not BatchStatus.RESUMABLE:  # as of looks that are no longer fresh
                for part in run.parts:
                    part.verified_s = None
                status, reason = await self._result(run)
        logger.info(
            "batch ended",
            status=status,
            created=batch.created_count,
            rows=len(batch.rows),
            seconds=round(batch.seconds, 3),
            reason=reason,
        )

    async def _until_writable(self) -> None:
        pause_s = FIRST_RETRY_S
        await self._directory.waker.pause(pause_s)
        while not await self._tracker.check_writable():
            pause_s = min(pause_s * 2, LAST_RETRY_S)
            await self._directory.waker.pause(pause_s)


def _lacks(batch: Batch, part: Part) -> bool:
    return any(not (row.is_done or row.skipped) for row in batch.rows_of(part.number))


def _smallest_id(batch: Batch, part: Part) -> float:
    """Return that of the part's oldest hospital, since ids count up; inf if it has none."""
    rows = batch.rows_of(part.number)
    return min((row.hospital_id for row in rows if row.hospital_id is not None), default=math.inf)


def _verified_s(part: Part) -> float:
    return -math.inf if part.verified_s is None else part.verified_s
