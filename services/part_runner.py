"""Sees one part of a batch through: send, look, settle, mend until it is as the file has it; and,
when all parts are, activate.

Whether a row may be sent is decided by `reconciliation` alone; this module keeps the order of
steps, the tries, and the reasons to stop.
"""

from models.batch import Batch, BatchStatus
from models.hospital import ListedHospital
from models.row import Row, RowStatus
from services import clock
from services.activation import Activation
from services.batch_run import Part, Run, RunPolicy
from services.logs import get_logger
from services.making_known import make_known
from services.meters import FOUND, OUT_OF_TRIES, SENT_AGAIN, Meters
from services.patient_directory import PatientDirectory
from services.progress_tracker import ProgressTracker
from services.reasons import foreign_hospitals, listing, lost_again, rows
from services.reconciliation import Plan, reconcile
from services.row_sender import RowSender

logger = get_logger(__name__)

MAX_VANISHINGS = 2  # a row that the directory forgets this often is evicted, not restarted away


class PartRunner:
    """Runs the parts of batches; has no state of its own."""

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

    async def complete(self, run: Run, part: Part) -> None:
        """Create what the part lacks, and verify it; rows that cannot be created are left lacking.

        Raises:
            CannotContinue, Interrupted, TurnWithdrawn: The run cannot go on.
        """
        if part.is_new:
            await self._sender.send(run, part)
            part.is_new = False
        while not await self._is_as_planned(run, part, await self._examine(run, part)):
            pass

    async def verify(self, run: Run, part: Part) -> None:
        """Look whether the part still is as the file has it.

        Raises:
            CannotContinue, Interrupted, TurnWithdrawn: The run cannot go on.
        """
        self._note(run, part, await self._examine(run, part))

    async def activate(self, run: Run, part: Part) -> None:
        """Activate the part; less if the directory turns out to have lost rows, of any part.

        Raises:
            CannotContinue, Interrupted, TurnWithdrawn: The run cannot go on.
        """
        ids = run.batch.directory_batch_ids(part.number)
        while part.verified_s is not None and +part.inactive and not run.has_lost:
            directory_batch_id = next(one for one in ids if part.inactive[one])
            expected = part.inactive[directory_batch_id]
            await self._activation.activate(run, part, directory_batch_id, expected)
            await self.verify(run, part)

    async def _examine(self, run: Run, part: Part) -> Plan:
        """Look at the part until nothing that was sent can change what is seen."""
        while True:
            plan = await self._look(run, part)
            if part.settling.is_settled:
                return plan
            await self._settle(run, part)

    def _note(self, run: Run, part: Part, plan: Plan) -> None:
        is_verified = plan.is_as_file and part.looked_s >= run.lost_s
        part.verified_s = part.looked_s if is_verified else None
        part.inactive = plan.inactive

    async def _is_as_planned(self, run: Run, part: Part, plan: Plan) -> bool:
        """Mend what differs from the file; True if nothing more can be done about the part."""
        if plan.foreign:
            raise foreign_hospitals(plan.foreign)
        if plan.surplus or plan.stranded:
            for number in plan.stranded:
                reason = "its copy was left out when the others were activated"
                self._tracker.set_row(run.batch, number, RowStatus.VERIFYING, error=reason)
            copies = (*plan.surplus, *plan.stranded.values())
            await self._activation.delete(run, part, copies)
            return False
        if self._queue(run, plan.send):
            if run.batch.directory_batch_ids(part.number)[-1] in plan.closed:
                await self._open_directory_batch(run, part)
            await self._sender.send(run, part)
            return False
        self._note(run, part, plan)
        return True

    async def _open_directory_batch(self, run: Run, part: Part) -> None:
        """Have rows go into a further directory batch: known, before anything can be in it."""
        batch = run.batch
        async with run.opening:
            further = batch.further.get(part.number, 0) + 1
            await make_known(self._tracker, batch, further={**batch.further, part.number: further})

    async def _look(self, run: Run, part: Part) -> Plan:
        """List the part, adopt what is there, and return what is to do about the rest."""
        batch = run.batch
        self._say(run, _looking(batch))
        ids = batch.directory_batch_ids(part.number)
        look = await run.unless_stopped(self._directory.look(batch.id, ids))
        part.looked_s = look.sent_s
        part.settling.looked(look.sent_s, look.answered_s)
        plan = reconcile(
            batch.rows_of(part.number), look.hospitals, settled=part.settling.is_settled
        )
        logger.debug(
            "looked",
            part=part.number,
            listed=len(look.hospitals),
            absent=len(plan.send),
            surplus=len(plan.surplus),
            is_settled=part.settling.is_settled,
        )
        for number, hospital in plan.adopt.items():
            self._adopt(batch, number, hospital)
        vanished = [
            row.hospital.row
            for row in batch.rows_of(part.number)
            if row.is_done and row.hospital.row not in plan.adopt.keys() | plan.stranded.keys()
        ]
        if vanished:
            self._note_vanished(run, part, vanished)
            part.settling.looked(look.sent_s, look.answered_s)
        if part.settling.is_settled:
            batch.unsettled -= {part.number}
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

    def _note_vanished(self, run: Run, part: Part, numbers: list[int]) -> None:
        """A created row that is not listed is sent again only after a settled look."""
        logger.warning("rows vanished from the directory", rows=listing(numbers))
        for number in numbers:
            self._tracker.set_row(
                run.batch, number, RowStatus.VERIFYING, error="the directory lost it"
            )
        run.vanishings.update(numbers)
        run.lost(part)
        if any(run.vanishings[number] >= MAX_VANISHINGS for number in numbers):
            raise lost_again(numbers)

    async def _settle(self, run: Run, part: Part) -> None:
        wait_s = part.settling.wait_s(clock.now_s())
        unclear = _unclear(run.batch, part)
        tell = logger.info if unclear or len(run.parts) == 1 else logger.debug
        tell(
            "settling: what was sent may still arrive",
            part=part.number,
            seconds=round(wait_s, 1),
            rows=[row.hospital.row for row in unclear],
            reasons=sorted({row.error for row in unclear if row.error}),
        )
        self._say(run, _settling(unclear), clock.now_s() + wait_s)
        await run.unless_stopped(self._directory.waker.pause(wait_s))

    def _say(self, run: Run, step: str, ends_s: float | None = None) -> None:
        """Say what is being done, unless rows of other parts are being sent meanwhile."""
        sending = run.batch.rows.count(RowStatus.PENDING, RowStatus.PROCESSING)
        if len(run.parts) == 1 or not sending:
            self._tracker.set_step(run.batch, step, ends_s)

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


def _unclear(batch: Batch, part: Part) -> list[Row]:
    return [row for row in batch.rows_of(part.number) if row.status is RowStatus.VERIFYING]


def _looking(batch: Batch) -> str:
    if batch.is_lacking:
        return "comparing the directory with the file"
    if batch.status is BatchStatus.ACTIVATING:
        return "verifying the activation"
    return "verifying before activation"


def _settling(unclear: list[Row]) -> str:
    which = rows([row.hospital.row for row in unclear])
    what = f"whether {which} arrived" if unclear else "whether anything sent arrives late"
    return f"settling: waiting to be certain {what}"
