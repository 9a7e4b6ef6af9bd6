"""Takes a batch back: its inactive hospitals leave the directory first, then its state here.

Nothing is forgotten before the directory says that it has none of the batch's hospitals, and none
is deleted while one of them may be active.
"""

from collections.abc import Set
from typing import assert_never
from uuid import UUID

from models.batch import Batch, BatchStatus
from models.errors import BatchConflict
from models.outcome import Absent, Deleted, NotSent, RateLimited, Unexpected, Unknown
from services import clock
from services.logs import get_logger
from services.patient_directory import PatientDirectory
from services.progress_tracker import ProgressTracker
from services.reasons import CannotContinue, listing, not_deleted, turned_away
from services.settling import Settling

MAX_DELETES = 5  # of one batch, one after the other, before it is left for later

logger = get_logger(__name__)


class Abandonment:
    """Abandons batches; has no state of its own."""

    def __init__(
        self, directory: PatientDirectory, tracker: ProgressTracker, settle_s: float
    ) -> None:
        self._directory = directory
        self._tracker = tracker
        self._settle_s = settle_s

    async def abandon(self, batch: Batch) -> int:
        """Delete the batch's hospitals, then forget it; return how many were deleted.

        Args:
            batch: At rest, claimed by the caller. From the first delete on it is `abandoning`.

        Raises:
            BatchConflict: One of its hospitals is active; the batch is what it was when no delete
                was sent yet, else it stays `abandoning`.
            CannotContinue: The directory gave no usable answer.
            Interrupted: The service is stopping.
            StorageUnavailable: What comes next could not be made durable.
        """
        try:
            return await self._abandon(batch)
        except (BatchConflict, CannotContinue) as stop:
            if batch.status is BatchStatus.ABANDONING:
                cause = f"{stop.cause}." if isinstance(stop, CannotContinue) else str(stop)
                batch.failure_reason = f"{cause} It is tried again by itself."
                self._tracker.touch(batch)
            raise

    async def _abandon(self, batch: Batch) -> int:
        await self._directory.waker.wake_if_quiet()
        settling = Settling(self._settle_s, in_doubt=batch.doubtful)
        deleted: set[int] = set()
        deletes = 0
        while True:
            look = await self._directory.look(batch)
            settling.looked(look.sent_s, look.answered_s)
            active = [hospital.id for hospital in look.hospitals if hospital.active]
            if active:
                raise BatchConflict(
                    f"Hospitals of the batch are active in the directory (ids {listing(active)}), "
                    "and active ones are never deleted: delete them there first."
                )
            if not settling.is_settled:
                await self._directory.waker.pause(settling.wait_s(clock.now_s()))
            elif look.hospitals:
                deletes += 1
                if deletes > MAX_DELETES:
                    raise not_deleted(MAX_DELETES)
                deleted |= {hospital.id for hospital in look.hospitals}
                await self._delete(batch, {h.batch_id for h in look.hospitals}, settling)
            else:
                await self._tracker.forget(batch)
                logger.info("batch abandoned", hospitals_deleted=len(deleted))
                return len(deleted)

    async def _delete(self, batch: Batch, filled: Set[UUID | None], settling: Settling) -> None:
        """Delete each *filled* directory batch once; what came of it is seen at the next look.

        After one that failed a look comes first: by then a hospital may be active.
        """
        await self._tracker.announce(batch, BatchStatus.ABANDONING, failure_reason=None)
        for directory_batch_id in batch.directory_batch_ids:
            if directory_batch_id in filled and not await self._delete_one(
                batch, directory_batch_id, settling
            ):
                return

    async def _delete_one(self, batch: Batch, directory_batch_id: UUID, settling: Settling) -> bool:
        """Return whether the directory answered that it has none of it any more."""
        outcome = await self._directory.delete_batch(batch.id, directory_batch_id)
        match outcome:
            case Deleted() | Absent():
                if batch.doubtful:
                    settling.doubt()  # a create that is under way survives a delete
                return True
            case NotSent(reason):
                await self._directory.waker.back_off(1, reason=reason)
            case Unknown():
                settling.doubt()
            case RateLimited() | Unexpected():
                raise turned_away(outcome)
            case _:
                assert_never(outcome)
        return False
