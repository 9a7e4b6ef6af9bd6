"""Changes a settled batch in the directory: deletes surplus copies, activates what was verified.

Each change is one exchange; what came of it is seen at the next look, never taken from its answer.
"""

from functools import partial
from typing import assert_never
from uuid import UUID

from models.batch import Batch, BatchStatus
from models.hospital import ListedHospital
from models.outcome import (
    Absent,
    Activated,
    AlreadyActive,
    Deleted,
    NotSent,
    RateLimited,
    Unexpected,
    Unknown,
)
from services.batch_run import Part, Run
from services.logs import get_logger
from services.making_known import until_known
from services.meters import Meters
from services.patient_directory import PatientDirectory
from services.progress_tracker import ProgressTracker
from services.reasons import not_activated, turned_away

logger = get_logger(__name__)

MAX_CHANGES = 8  # activations and rounds of deletes of a part; a run without faults has one


class Activation:
    """The last steps of a batch; has no state of its own."""

    def __init__(
        self, directory: PatientDirectory, tracker: ProgressTracker, meters: Meters
    ) -> None:
        self._directory = directory
        self._tracker = tracker
        self._meters = meters

    async def delete(self, run: Run, part: Part, copies: tuple[ListedHospital, ...]) -> None:
        """Delete copies one by one; what came of it is seen at the next look."""
        self._tracker.set_step(run.batch, "deleting copies that are too many")
        self._count_change(part)
        for copy in copies:
            outcome = await self._directory.delete_copy(run.batch.id, copy)
            match outcome:
                case Deleted():
                    self._meters.copies_deleted.inc()
                    logger.info("copy deleted", hospital_id=copy.id)
                case Absent():
                    part.change_error = "a copy could not be deleted"
                case NotSent(reason):
                    part.change_error = reason
                    return await run.unless_stopped(self._directory.waker.back_off(part.changes))
                case Unknown(reason):
                    part.change_error = reason
                    return run.doubt(part)
                case RateLimited():
                    raise turned_away(outcome)
                case Unexpected():
                    run.doubt(part)  # what stands in between may have passed it on
                    raise turned_away(outcome)
                case _:
                    assert_never(outcome)

    async def activate(self, run: Run, part: Part, directory_batch_id: UUID, expected: int) -> None:
        """Activate a verified directory batch of a part, of *expected* hospitals."""
        self._count_change(part)
        await self._tell(run.batch)
        about = {"directory_batch_id": str(directory_batch_id), "expected": expected}
        logger.info("activating", **about)
        outcome = await self._directory.activate(run.batch.id, directory_batch_id)
        match outcome:
            case Activated(count):
                if count != expected:
                    logger.warning("another number was activated", activated=count, **about)
            case AlreadyActive() | Absent():
                part.change_error = "the directory refused to activate the batch"
            case NotSent(reason):
                part.change_error = reason
                await self._directory.waker.back_off(part.changes)
            case Unknown(reason):
                part.change_error = reason
                run.doubt(part)
            case RateLimited():
                raise turned_away(outcome)
            case Unexpected():
                run.doubt(part)
                raise turned_away(outcome)
            case _:
                assert_never(outcome)

    async def _tell(self, batch: Batch) -> None:
        self._tracker.set_step(batch, "activating")
        if batch.status is not BatchStatus.ACTIVATING:
            self._tracker.set_status(batch, BatchStatus.ACTIVATING)
            # From now on it cannot be cancelled anywhere.
            await until_known(self._tracker, batch, partial(self._tracker.agree, batch))

    def _count_change(self, part: Part) -> None:
        """Bound the changes of one part: one that is answered well may still have no effect."""
        if part.changes >= MAX_CHANGES:
            raise not_activated(part.change_error)
        part.changes += 1
