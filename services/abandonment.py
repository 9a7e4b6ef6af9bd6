"""Takes a batch back: its inactive hospitals leave the directory first, then its state here.

Nothing is forgotten before the directory says that it has none of the batch's hospitals, and none
is deleted while one of them may be active.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

from models.batch import Batch, BatchStatus
from models.errors import BatchConflict
from models.hospital import ListedHospital
from models.outcome import Absent, Deleted, NotSent, RateLimited, StillActive, Unexpected, Unknown
from services import clock
from services.logs import get_logger
from services.patient_directory import PatientDirectory
from services.progress_tracker import ProgressTracker
from services.reasons import CannotContinue, listing, not_deleted, turned_away
from services.settling import Settling

MAX_DELETES = 5  # in a row after which no more of a batch is gone, before it is left for later

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
        finally:
            self._tracker.set_step(batch, "")

    async def _abandon(self, batch: Batch) -> int:
        await self._directory.waker.wake_if_quiet()
        parts = [
            _Part(number, Settling(self._settle_s, in_doubt=number in batch.doubtful))
            for number in range(batch.opened_parts)
        ]
        deleted: set[int] = set()
        tries, filled_before = 0, len(parts)
        while True:
            await self._examine(batch, parts)
            filled = [part for part in parts if part.hospitals]
            if not filled:
                await self._tracker.forget(batch)
                logger.info("batch abandoned", hospitals_deleted=len(deleted))
                return len(deleted)
            tries = tries + 1 if len(filled) >= filled_before else 1
            if tries > MAX_DELETES:
                raise not_deleted(MAX_DELETES)
            filled_before = len(filled)
            deleted |= {hospital.id for part in filled for hospital in part.hospitals}
            await self._delete(batch, filled)

    async def _examine(self, batch: Batch, parts: list["_Part"]) -> None:
        """Look at each part of which is not known what it has, until nothing can change that."""
        while unknown := [part for part in parts if not part.is_known]:
            wait_s = max(part.settling.wait_s(clock.now_s()) for part in unknown)
            if wait_s:
                await self._directory.waker.pause(wait_s)
            for part in unknown:
                await self._look(batch, part)

    async def _look(self, batch: Batch, part: "_Part") -> None:
        """Look at one part; BatchConflict if any of its hospitals is active."""
        self._say(batch, "looking at", part)
        look = await self._directory.look(batch.id, batch.directory_batch_ids(part.number))
        part.settling.looked(look.sent_s, look.answered_s)
        part.hospitals, part.is_looked_at = look.hospitals, True
        active = [hospital.id for hospital in look.hospitals if hospital.active]
        if active:
            raise _are_active(active)

    async def _delete(self, batch: Batch, filled: list["_Part"]) -> None:
        """Delete each directory batch that has hospitals once; a look shows what came of it.

        After one that failed a look comes first: by then a hospital may be active.
        """
        await self._tracker.announce(batch, BatchStatus.ABANDONING, failure_reason=None)
        for part in filled:
            self._say(batch, "deleting", part)
            having = {hospital.batch_id for hospital in part.hospitals}
            part.is_looked_at = False
            for directory_batch_id in batch.directory_batch_ids(part.number):
                if directory_batch_id in having and not await self._delete_one(
                    batch, part, directory_batch_id
                ):
                    return

    def _say(self, batch: Batch, doing: str, part: "_Part") -> None:
        if batch.parts > 1:
            place = f"part {part.number + 1} of {batch.opened_parts}"
            self._tracker.set_step(batch, f"being abandoned: {doing} {place}")

    async def _delete_one(self, batch: Batch, part: "_Part", directory_batch_id: UUID) -> bool:
        """Return whether the directory answered that it has none of it any more."""
        outcome = await self._directory.delete_batch(batch.id, directory_batch_id)
        match outcome:
            case StillActive(hospital_ids):
                raise _are_active(hospital_ids)
            case Deleted() | Absent():
                if part.number in batch.doubtful:
                    part.settling.doubt()  # a create that is under way survives a delete
                return True
            case NotSent(reason):
                await self._directory.waker.back_off(1, reason=reason)
            case Unknown():
                part.settling.doubt()
            case RateLimited() | Unexpected():
                raise turned_away(outcome)
            case _:
                assert_never(outcome)
        return False


@dataclass(slots=True)
class _Part:
    """What is known of one part.

    Attributes:
        number: Counted from 0.
        settling: Whether anything sent of it may still be applied.
        hospitals: What the directory had of it when it was last looked at.
        is_looked_at: It was not changed since.
    """

    number: int
    settling: Settling
    hospitals: tuple[ListedHospital, ...] = ()
    is_looked_at: bool = False

    @property
    def is_known(self) -> bool:
        return self.is_looked_at and self.settling.is_settled


def _are_active(hospital_ids: Sequence[int]) -> BatchConflict:
    return BatchConflict(
        f"Hospitals of the batch are active in the directory (ids {listing(hospital_ids)}), "
        "and active ones are never deleted: delete them there first."
    )
