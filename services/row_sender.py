"""Sends the pending rows of a batch, all at once as far as the directory allows."""

import asyncio
from functools import partial
from typing import assert_never
from uuid import UUID

from models.batch import BatchStatus
from models.outcome import (
    BatchFull,
    Created,
    CreateOutcome,
    NotSent,
    RateLimited,
    Refused,
    Unexpected,
    Unknown,
)
from models.row import RowStatus
from services.batch_run import Part, Run, RunPolicy
from services.logs import get_logger
from services.making_known import make_known
from services.pacing import TurnWithdrawn
from services.patient_directory import PatientDirectory
from services.progress_tracker import ProgressTracker
from services.reasons import CannotContinue, Interrupted, turned_away

logger = get_logger(__name__)

OPENED_AHEAD = 4  # parts that are opened with the one that is sent, in one write


class RowSender:
    """Sends rows and records what became of each; an unknown outcome is left to be looked up."""

    def __init__(
        self, directory: PatientDirectory, tracker: ProgressTracker, policy: RunPolicy
    ) -> None:
        self._directory = directory
        self._tracker = tracker
        self._policy = policy

    async def send(self, run: Run, part: Part) -> None:
        """Send every pending row of a part at once; return when each has its outcome."""
        batch = run.batch
        self._tracker.set_step(batch, "creating hospitals")
        if batch.status is not BatchStatus.PROCESSING:
            self._tracker.set_status(batch, BatchStatus.PROCESSING)
        into = batch.directory_batch_ids(part.number)[-1]
        rows = batch.rows_of(part.number)
        pending = [row.hospital.row for row in rows if row.status is RowStatus.PENDING]
        # Gathered, not grouped: whatever befalls one row, creates under way keep their outcome.
        results = await asyncio.gather(
            *(self._send_row(run, part, number, into) for number in pending),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if run.stopped_by is not None:
            raise run.stopped_by
        if self._directory.waker.is_stopping and batch.is_lacking:
            raise Interrupted

    async def _send_row(self, run: Run, part: Part, number: int, into: UUID) -> None:
        try:
            while run.stopped_by is None and run.attempts[number] < self._policy.max_attempts:
                outcome = await self._directory.create(
                    run.batch.id,
                    into,
                    run.batch.row(number).hospital,
                    preparing=partial(self._prepare, run, part),
                    sending=partial(self._sending, run, number),
                    answered=partial(self._record, run, part, number, into),
                )
                if isinstance(outcome, RateLimited | Unexpected):
                    raise turned_away(outcome)
                if not isinstance(outcome, NotSent):
                    return
                await run.unless_stopped(self._directory.waker.back_off(run.attempts[number]))
        except CannotContinue as stop:
            run.stop(stop)
            self._directory.withdraw(run.batch.id)
        except TurnWithdrawn:
            return

    async def _prepare(self, run: Run, part: Part) -> None:
        await self._open(run, part)
        async with run.counting:
            if run.uncounted:  # only now: a batch may wait for its turn through many restarts
                # Counted before it sends: what it sends may be what ends the process.
                count = run.batch.auto_resumes + 1
                await make_known(self._tracker, run.batch, auto_resumes=count)
                run.uncounted = False

    def _sending(self, run: Run, number: int) -> None:
        if self._directory.waker.is_stopping or run.stopped_by:  # since the turn was granted
            raise TurnWithdrawn
        self._tracker.set_row(run.batch, number, RowStatus.PROCESSING)

    async def _open(self, run: Run, part: Part) -> None:
        """Have the part known as one that may have rows in the directory, before it has any."""
        batch = run.batch
        if part.number < batch.opened_parts:
            return
        async with run.opening:
            if part.number >= batch.opened_parts:
                opened = min(batch.parts, part.number + 1 + OPENED_AHEAD)
                await make_known(self._tracker, batch, opened_parts=opened)

    def _record(
        self,
        run: Run,
        part: Part,
        number: int,
        into: UUID,
        outcome: CreateOutcome,
        seconds: float,
    ) -> None:
        """Note what became of one send."""
        move = partial(self._tracker.set_row, run.batch, number, seconds=seconds)
        if not isinstance(outcome, RateLimited):
            run.attempts[number] += 1
        match outcome:
            case Created(hospital_id):
                run.batch.auto_resumes = 0
                move(RowStatus.CREATED, hospital_id=hospital_id)
            case Refused(reason):
                move(RowStatus.FAILED, error=reason, refused=True)
            case RateLimited():
                self._tracker.set_row(run.batch, number, RowStatus.PENDING)  # no work was done
            case NotSent(reason):
                move(RowStatus.PENDING, error=reason)
            case BatchFull():
                # Not applied, but late copies of other rows may have filled the batch.
                move(RowStatus.PENDING, error="the directory says that the batch is full")
                run.doubt(part)
            case Unknown(reason) | Unexpected(reason):
                move(RowStatus.VERIFYING, error=reason)
                run.doubt(part)
            case _:
                assert_never(outcome)
        logger.debug(
            "row sent",
            row=number,
            attempt=run.attempts[number] + isinstance(outcome, RateLimited),
            directory_batch_id=str(into),
            outcome=type(outcome).__name__,
            reason=getattr(outcome, "reason", None),  # can repeat what was sent
            seconds=round(seconds, 3),
            decision=_decision(outcome, may_try=run.attempts[number] < self._policy.max_attempts),
        )


def _decision(outcome: CreateOutcome, *, may_try: bool) -> str:
    """Say what follows from an outcome, for the log."""
    match outcome:
        case Created():
            return "created"
        case Refused():
            return "refused: not sent again"
        case RateLimited():
            return "waits for the rate window"
        case NotSent():
            return "tried again" if may_try else "not tried again in this run"
        case BatchFull() | Unknown() | Unexpected():
            return "looked up before anything is sent again"
        case _:
            assert_never(outcome)
