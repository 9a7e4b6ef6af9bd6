"""Changes a settled batch in the directory: deletes surplus copies, activates what was verified.

Each change is one exchange; what came of it is seen at the next look, never taken from its answer.
"""

from typing import assert_never
from uuid import UUID

from models.batch import BatchStatus
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
from services.batch_run import Run
from services.logs import get_logger
from services.meters import Meters
from services.patient_directory import PatientDirectory
from services.progress_tracker import ProgressTracker
from services.reasons import not_activated, turned_away

logger = get_logger(__name__)

MAX_CHANGES = 8  # activations and rounds of deletes in one run; a run without faults has one


class Activation:
    """The last steps of a batch; has no state of its own."""

    def __init__(
        self, directory: PatientDirectory, tracker: ProgressTracker, meters: Meters
    ) -> None:
        self._directory = directory
        self._tracker = tracker
        self._meters = meters

    async def delete(self, run: Run, copies: tuple[ListedHospital, ...]) -> None:
        """Delete copies one by one; what came of it is seen at the next look."""
        self._tracker.set_step(run.batch, "deleting copies that are too many")
        self._count_change(run)
        for copy in copies:
            outcome = await self._directory.delete_copy(run.batch.id, copy)
            match outcome:
                case Deleted():
                    self._meters.copies_deleted.inc()
                    logger.info("copy deleted", hospital_id=copy.id)
                case Absent():
                    run.change_error = "a copy could not be deleted"
                case NotSent(reason):
                    run.change_error = reason
                    return await run.unless_stopped(self._directory.waker.back_off(run.changes))
                case Unknown(reason):
                    run.change_error = reason
                    return run.doubt()
                case RateLimited():
                    raise turned_away(outcome)
                case Unexpected():
                    run.doubt()  # what stands in between may have passed it on
                    raise turned_away(outcome)
                case _:
                    assert_never(outcome)

    async def activate(self, run: Run, directory_batch_id: UUID, expected: int) -> None:
        """Activate a verified directory batch of *expected* hospitals."""
        self._tracker.set_step(run.batch, "activating")
        self._count_change(run)
        self._tracker.set_status(run.batch, BatchStatus.ACTIVATING)
        about = {"directory_batch_id": str(directory_batch_id), "expected": expected}
        logger.info("activating", **about)
        outcome = await self._directory.activate(run.batch.id, directory_batch_id)
        match outcome:
            case Activated(count):
                if count != expected:
                    logger.warning("another number was activated", activated=count, **about)
            case AlreadyActive() | Absent():
                run.change_error = "the directory refused to activate the batch"
            case NotSent(reason):
                run.change_error = reason
                await self._directory.waker.back_off(run.changes)
            case Unknown(reason):
                run.change_error = reason
                run.doubt()
            case RateLimited():
                raise turned_away(outcome)
            case Unexpected():
                run.doubt()
                raise turned_away(outcome)
            case _:
                assert_never(outcome)

    def _count_change(self, run: Run) -> None:
        """Bound the changes of one run: one that is answered well may still have no effect."""
        if run.changes >= MAX_CHANGES:
            raise not_activated(run.change_error)
        run.changes += 1
