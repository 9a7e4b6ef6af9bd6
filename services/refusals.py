"""Why a batch's present state does not allow what was asked for, in words. Pure."""

from models.batch import Batch, BatchStatus

_BUSY = "The batch is being worked on: wait until it has ended."


def cannot_resume(batch: Batch) -> str:
    """Say why a batch cannot be resumed now."""
    match batch.status:
        case BatchStatus.COMPLETED:
            return "The batch is completed: there is nothing to resume."
        case BatchStatus.FAILED:
            return (
                "The directory refused the rows that are not created, so a resume cannot help "
                "before they are corrected: correct them, or abandon the batch."
            )
        case BatchStatus.ABANDONING:
            return "The batch is being abandoned: upload the file again."
        case _:
            return "The batch is being worked on already: follow its progress."


def cannot_abandon(batch: Batch) -> str:
    """Say why one cannot be abandoned now."""
    if batch.status is BatchStatus.COMPLETED:
        return "The batch is completed and its hospitals are active: they are never deleted."
    if batch.step:
        return f"The batch is being worked on ({batch.step}): wait until it has ended."
    return _BUSY


def cannot_cancel(batch: Batch) -> str:
    """Say why one cannot be cancelled now."""
    if batch.status is BatchStatus.ACTIVATING:
        return "All rows are created and the batch is being activated: it cannot be cancelled now."
    return f"The batch is {batch.status}: there is nothing to cancel."


def cannot_correct(batch: Batch) -> str:
    """Say why the rows of one cannot be corrected now."""
    if batch.status is BatchStatus.COMPLETED:
        return "The batch is completed: upload the row as a file of its own."
    return _BUSY
