"""Drives one batch to its end: send, look, settle, mend, activate, until nothing is left.

Whether a row may be sent is decided by `reconciliation` alone; this module keeps the order of
steps, the tries, and the reasons to stop.
"""

from uuid import UUID

from models.batch import Batch, BatchStatus, RowStatus
from models.errors import StorageUnavailable
from models.hospital import ListedHospital
from services import clock
from services.activation import Activation
from services.batch_run import Run, RunPolicy
from services.logs import get_logger
from services.meters import FOUND, OUT_OF_TRIES, SENT_AGAIN, Meters
from services.pacing import TurnWithdrawn
from services.patient_directory import PatientDirectory
from services.progress_tracker import FIRST_RETRY_S, LAST_RETRY_S, ProgressTracker
from services.reasons import (
    CannotContinue,
    Interrupted,
    cancelled,
    foreign_hospitals,
    listing,
    lost_again,
    not_saved,
    rows,
    shortfall,
)
from services.reconciliation import Plan, reconcile
from services.row_sender import RowSender
from services.settling import Settling

logger = get_logger(__name__)

MAX_VANISHINGS = 2  # a row that the directory forgets this often is evicted, not restarted away


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
        self._meters = meters
        self._sender = RowSender(directory, tracker, policy)
        self._activation = Activation(directory, tracker, meters)
        self._runs: dict[UUID, Run] = {}

    async def run(self, batch: Batch, *, again: bool, automatic: bool = False) -> None:
        """Return when the batch has ended, or the service stops; its status says how it ended.

        Args:
            batch: Claimed by the caller.
            again: It ran before, so the directory is looked at before anything is sent.
            automatic: Nobody asked for it: it goes on after a restart.
        """
        settling = Settling(self._policy.settle_s, in_doubt=batch.unsettled)
        run = self._runs[batch.id] = Run(batch, settling, automatic)
        if batch.cancelled:
            run.stop(cancelled())
        try:
            await self._end(run, *await self._result(run, again=again))
        except (Interrupted, TurnWithdrawn):
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

    async def _result(self, run: Run, *, again: bool) -> tuple[BatchStatus, str | None]:
        try:
            return await self._drive(run, again=again)
        except CannotContinue as stop:
            return BatchStatus.RESUMABLE, stop.reason
        except (Interrupted, TurnWithdrawn):
            raise
        except Exception:
            logger.exception("unforeseen error")
            return BatchStatus.RESUMABLE, "An unforeseen error: see the service's log."

    def _take_up(self, batch: Batch) -> None:
        """Give rows that ran out of tries new ones; refused rows stay refused."""
        untried = RowStatus.VERIFYING if batch.unsettled else RowStatus.PENDING
        for row in batch.rows:
            if row.status is RowStatus.FAILED and not row.is_excluded:
                self._tracker.set_row(batch, row.hospital.row, untried)

    async def _drive(self, run: Run, *, again: bool) -> tuple[BatchStatus, str | None]:
        self._take_up(run.batch)
        self._tracker.set_step(run.batch, "waking the directory")
        self._tracker.set_status(run.batch, BatchStatus.PROCESSING)
        await run.unless_stopped(self._directory.waker.wake_if_quiet())
        if not again:
            await self._sender.send(run)
        while True:
            plan = await self._look(run)
            if not run.settling.is_settled:
                await self._settle(run)
            elif await self._is_as_planned(run, plan):
                if run.batch.lacking:
                    return shortfall(run.batch)
                if not plan.inactive:
                    return BatchStatus.COMPLETED, None
                await self._activate(run, plan)

    async def _is_as_planned(self, run: Run, plan: Plan) -> bool:
        """Mend what differs from the file; True if nothing had to be, so that it is verified."""
        if plan.foreign:
            raise foreign_hospitals(plan.foreign)
        if plan.surplus or plan.stranded:
            for number in plan.stranded:
                reason = "its copy was left out when the others were activated"
                self._tracker.set_row(run.batch, number, RowStatus.VERIFYING, error=reason)
            await self._activation.delete(run, (*plan.surplus, *plan.stranded.values()))
            return False
        if self._queue(run, plan.send):
            if run.batch.directory_batch_ids[-1] in plan.closed:
                await self._open_directory_batch(run.batch)
            await self._sender.send(run)
            return False
        return True

    async def _activate(self, run: Run, plan: Plan) -> None:
        """Activate one directory batch; a look comes before the next."""
        inactive = plan.inactive
        directory_batch_id = next(one for one in run.batch.directory_batch_ids if inactive[one])
        await self._activation.activate(run, directory_batch_id, inactive[directory_batch_id])

    async def _open_directory_batch(self, batch: Batch) -> None:
        """Have rows go into a further directory batch: known, before anything can be in it."""
        try:
            await self._tracker.announce(
                batch, BatchStatus.PROCESSING, directory_batches=batch.directory_batches + 1
            )
        except StorageUnavailable:
            raise not_saved() from None

    async def _look(self, run: Run) -> Plan:
        """List the batch, adopt what is there, and return what is to do about the rest."""
        batch = run.batch
        self._tracker.set_step(batch, _looking(batch))
        look = await run.unless_stopped(self._directory.look(batch))
        run.settling.looked(look.sent_s, look.answered_s)
        plan = reconcile(batch.rows, look.hospitals, settled=run.settling.is_settled)
        logger.debug(
            "looked",
            listed=len(look.hospitals),
            absent=len(plan.send),
            surplus=len(plan.surplus),
            is_settled=run.settling.is_settled,
        )
        for number, hospital in plan.adopt.items():
            self._adopt(batch, number, hospital)
        vanished = [
            row.hospital.row
            for row in batch.rows
            if row.is_done and row.hospital.row not in plan.adopt.keys() | plan.stranded.keys()
        ]
        if vanished:
            self._note_vanished(run, vanished)
            run.settling.looked(look.sent_s, look.answered_s)
        batch.unsettled = not run.settling.is_settled
        return plan

    def _adopt(self, batch: Batch, number: int, hospital: ListedHospital) -> None:
        row = batch.row(number)
        status = RowStatus.CREATED_AND_ACTIVATED if hospital.active else RowStatus.CREATED
        if row.status is status and row.hospital_id == hospital.id:
            return
        if row.status is RowStatus.VERIFYING:
            self._meters.settled(FOUND)
        self._tracker.set_row(batch, number, RowStatus.CREATED, hospital_id=hospital.id)
        self._tracker.set_row(batch, number, status, hospital_id=hospital.id)
        if not row.is_done:
            batch.auto_resumes = 0
            logger.info("row found by look-up", row=number, hospital_id=hospital.id)

    def _note_vanished(self, run: Run, numbers: list[int]) -> None:
        """A created row that is not listed is sent again only after a settled look."""
        logger.warning("rows vanished from the directory", rows=listing(numbers))
        for number in numbers:
            self._tracker.set_row(
                run.batch, number, RowStatus.VERIFYING, error="the directory lost it"
            )
        run.vanishings.update(numbers)
        run.doubt()
        if any(run.vanishings[number] >= MAX_VANISHINGS for number in numbers):
            raise lost_again(numbers)

    async def _settle(self, run: Run) -> None:
        wait_s = run.settling.wait_s(clock.now_s())
        unclear = [row for row in run.batch.rows if row.status is RowStatus.VERIFYING]
        logger.info(
            "settling: what was sent may still arrive",
            seconds=round(wait_s, 1),
            rows=[row.hospital.row for row in unclear],
            reasons=sorted({row.error for row in unclear if row.error}),
        )
        self._tracker.set_step(run.batch, _settling(run.batch), clock.now_s() + wait_s)
        await run.unless_stopped(self._directory.waker.pause(wait_s))

    def _queue(self, run: Run, absent: tuple[int, ...]) -> bool:
        """Make absent rows pending, or failed when their tries are used up; True if any may go."""
        may_go = False
        for number in absent:
            row = run.batch.row(number)
            has_tries = run.attempts[number] < self._policy.max_attempts
            if row.status is RowStatus.VERIFYING:
                self._meters.settled(SENT_AGAIN if has_tries else OUT_OF_TRIES)
            if has_tries:
                self._tracker.set_row(run.batch, number, RowStatus.PENDING, error=row.error)
                may_go = True
            elif row.status is not RowStatus.FAILED:
                logger.debug("row given up", row=number, attempts=run.attempts[number])
                reason = f"not created after {run.attempts[number]} tries: {row.error}"
                self._tracker.set_row(run.batch, number, RowStatus.FAILED, error=reason)
        return may_go

    def _leave_nothing_processing(self, batch: Batch) -> None:
        """After an unforeseen error a create may have lost its outcome."""
        for row in batch.rows:
            if row.status is RowStatus.PROCESSING:
                self._tracker.set_row(batch, row.hospital.row, RowStatus.VERIFYING)
                batch.doubtful = batch.unsettled = True

    def _rest(self, batch: Batch) -> None:
        batch.seconds, batch.running_since = batch.elapsed_seconds(clock.now_s()), None
        goes_on = "is resumable" if batch.cancelled else "goes on"
        self._tracker.set_step(batch, f"interrupted: {goes_on} when the service starts again")
        self._tracker.touch(batch)

    async def _end(self, run: Run, status: BatchStatus, reason: str | None) -> None:
        """Announce how the run ended, however long the storage cannot be written."""
        batch = run.batch
        pause_s = FIRST_RETRY_S
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
                self._tracker.set_step(batch, "waiting until the batch storage can be written")
                await self._directory.waker.pause(pause_s)
                pause_s = min(pause_s * 2, LAST_RETRY_S)
            if status is not BatchStatus.RESUMABLE:  # as of a look that is no longer fresh
                status, reason = await self._result(run, again=True)
        logger.info(
            "batch ended",
            status=status,
            created=batch.created_count,
            rows=len(batch.rows),
            seconds=round(batch.seconds, 3),
            reason=reason,
        )


def _looking(batch: Batch) -> str:
    if batch.lacking:
        return "comparing the directory with the file"
    if batch.status is BatchStatus.ACTIVATING:
        return "verifying the activation"
    return "verifying before activation"


def _settling(batch: Batch) -> str:
    unclear = [row.hospital.row for row in batch.rows if row.status is RowStatus.VERIFYING]
    what = f"whether {rows(unclear)} arrived" if unclear else "whether anything sent arrives late"
    return f"settling: waiting to be certain {what}"
