"""Why a run stops or a batch ends, in words for the person who has to go on from there."""

from collections.abc import Sequence

from models.batch import Batch, BatchStatus, RowStatus
from models.hospital import ListedHospital
from models.outcome import RateLimited, Unexpected
from services.pacing import GIVE_UP_WINDOWS


class CannotContinue(Exception):
    """The run must end as resumable; `reason` says why, for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def cause(self) -> str:
        """What was met, without what to do about a run."""
        return self.reason.rpartition(": ")[0] or self.reason


class Interrupted(Exception):
    """The service is stopping; the next start goes on."""


def not_answering(seconds: float, reason: str) -> CannotContinue:
    """The directory gave no answer of its own for *seconds*."""
    return CannotContinue(
        f"The directory could not be reached for {seconds:g} s ({reason}): "
        "resume the batch when it is up again."
    )


def turned_away(outcome: RateLimited | Unexpected) -> CannotContinue:
    """Something answered, but not with what was asked for."""
    if isinstance(outcome, RateLimited):
        return CannotContinue(
            f"The directory refused every request for {GIVE_UP_WINDOWS} rate windows "
            "(others use up its budget): resume the batch later."
        )
    return CannotContinue(
        f"The directory was not reached ({outcome.reason}): check HOSPITAL_API_BASE_URL and what "
        "stands before the directory, then resume the batch."
    )


def lost_again(numbers: Sequence[int]) -> CannotContinue:
    """Rows vanished a second time in one run."""
    return CannotContinue(
        f"The directory lost {rows(numbers)} again after creating them "
        "(it may be full, or restart often): resume the batch when it is stable."
    )


def not_activated(reason: str) -> CannotContinue:
    """Activating, or clearing the way for it, failed too often."""
    return CannotContinue(
        f"The batch could not be verified and activated ({reason}): resume it later."
    )


def not_deleted(tries: int) -> CannotContinue:
    """The directory still lists hospitals of an abandoned batch."""
    return CannotContinue(
        f"The directory still has hospitals of the batch after {tries} deletes: abandon it later."
    )


def foreign_hospitals(foreign: Sequence[ListedHospital]) -> CannotContinue:
    """Somebody put hospitals into the batch that are none of ours to delete while it runs."""
    ids = listing([hospital.id for hospital in foreign])
    return CannotContinue(
        f"The directory's batch holds hospitals that the file does not have (ids {ids}): "
        "delete them there and resume, or abandon the batch."
    )


def not_saved() -> CannotContinue:
    """What must be known before more is sent cannot be written down."""
    return CannotContinue(
        "The batch's state could not be saved: make the batch storage writable, then resume it."
    )


def shortfall(batch: Batch) -> tuple[BatchStatus, str]:
    """Say how a batch ends that nothing more can be done for in this run."""
    lacking = [row for row in batch.rows if not row.is_done]
    which = rows([row.hospital.row for row in lacking])
    if all(row.refused for row in lacking):
        active = any(row.status is RowStatus.CREATED_AND_ACTIVATED for row in batch.rows)
        first = "delete this batch's active hospitals in the directory, then " if active else ""
        return BatchStatus.FAILED, (
            f"The directory refused {which}: {first}abandon this batch, correct the file and "
            "upload it again."
        )
    return BatchStatus.RESUMABLE, (
        f"Not created: {which}. The reason stands at each; a resume tries again."
    )


def other_directory(batch: Batch) -> str:
    """The service is set to another directory than the batch's."""
    return (
        f"The batch belongs to another directory ({batch.directory_url}): "
        "set HOSPITAL_API_BASE_URL to it and restart the service."
    )


def rows(numbers: Sequence[int]) -> str:
    """Return "row 3" or "rows 3, 5"."""
    return f"row{'s' if len(numbers) != 1 else ''} {listing(numbers)}"


def listing(numbers: Sequence[int]) -> str:
    """Return numbers as a short list."""
    shown = ", ".join(str(number) for number in sorted(numbers)[:20])
    return f"{shown} and {len(numbers) - 20} more" if len(numbers) > 20 else shown
