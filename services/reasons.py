"""Why a run stops or a batch ends, in words for the person who has to go on from there."""

from collections.abc import Sequence

from models.batch import Batch, BatchStatus
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


def keeps_losing() -> CannotContinue:
    """Rows vanished in one run again and again, if not the same ones."""
    return CannotContinue(
        "The directory lost rows again and again after creating them "
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
    which = rows([row.hospital.row for row in batch.lacking])
    if all(row.refused for row in batch.lacking):
        return BatchStatus.FAILED, (
            f"The directory refused {which}: correct what it refused and resume the batch, or "
            "abandon it."
        )
    return BatchStatus.RESUMABLE, (
        f"Not created: {which}. The reason stands at each; a resume tries again."
    )


def unforeseen() -> CannotContinue:
    """Something failed that nobody thought of."""
    return CannotContinue("An unforeseen error: see the service's log.")


def cancelled() -> CannotContinue:
    """Somebody asked for no further row to be sent."""
    return CannotContinue("It was cancelled: resume the batch to go on, or abandon it.")


def corrected(batch: Batch, number: int) -> str:
    """Say what to do about a batch of which a refused or skipped row was corrected."""
    others = [row.hospital.row for row in batch.rows if row.refused and row.hospital.row != number]
    still = f" Still refused: {rows(others)}." if others else ""
    return f"Row {number} was corrected: resume the batch to send it.{still}"


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
