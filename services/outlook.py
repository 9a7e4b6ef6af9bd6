"""What a batch is doing and how long it will take, from what is known now. Pure."""

from models.batch import Batch, BatchStatus
from models.outlook import Outlook

STEPS = {
    BatchStatus.INITIALIZING: "accepted",
    BatchStatus.VALIDATING: "validating",
    BatchStatus.PROCESSING: "creating hospitals",
    BatchStatus.ACTIVATING: "activating",
    BatchStatus.COMPLETED: "completed: every row is in the directory, once, active",
    BatchStatus.RESUMABLE: "stopped: resume it to go on, or abandon it",
    BatchStatus.FAILED: "failed: the directory refused rows",
    BatchStatus.ABANDONING: "being abandoned: its hospitals are being deleted",
}


def outlook(batch: Batch) -> Outlook:
    """Return what *batch* is doing."""
    return Outlook(batch.step or STEPS[batch.status], None)
