"""What a batch is doing or waiting for, and how long it will take, from what is known now. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from models.batch import Batch, BatchStatus
from models.outlook import Outlook, Standing, Traffic
from models.row import RowStatus

STEPS = {
    BatchStatus.INITIALIZING: "accepted",
    BatchStatus.VALIDATING: "validating",
    BatchStatus.PROCESSING: "creating hospitals",
    BatchStatus.ACTIVATING: "activating",
    BatchStatus.COMPLETED: "completed: every row is in the directory, once, active",
    BatchStatus.RESUMABLE: "stopped: resume it to go on, or abandon it",
    BatchStatus.FAILED: "failed: correct the refused rows and resume the batch, or abandon it",
    BatchStatus.ABANDONING: "being abandoned: its hospitals are being deleted",
}

UNHEARD = Outlook("the database does not answer: this is how it was when it last did", None)


@dataclass(frozen=True, slots=True)
class Now:
    """The present on both clocks."""

    monotonic_s: float
    utc: datetime

    def clock_time(self, monotonic_s: float) -> str:
        """Return another time as a person reads it."""
        return f"{self.utc + timedelta(seconds=monotonic_s - self.monotonic_s):%H:%M:%S} UTC"


def outlook(batch: Batch, traffic: Traffic, now: Now) -> Outlook:
    """Return what *batch* is doing, and when it will have ended."""
    if batch.running_since is None:
        ended_s = 0.0 if batch.status is BatchStatus.COMPLETED else None
        return Outlook(_resting(batch), ended_s)
    standing = traffic.creates or traffic.lookups
    if batch.cancelled and standing is None and _is_under_way(batch):
        return Outlook("cancelled: waiting for the rows under way", traffic.answered_in_s)
    if standing is not None:
        step = _waiting(batch, standing, now)
        if traffic.creates is not None:
            step += f"; rows to send: {traffic.creates.waiting}"
        return Outlook(step + _place(standing), _eta_s(batch, traffic, now))
    if traffic.silent_since_s is not None and not _is_under_way(batch):
        since = now.clock_time(traffic.silent_since_s)
        return Outlook(f"waiting since {since} for the directory to answer", None)
    step = batch.step or STEPS[batch.status]
    if batch.step_ends_s is not None:
        step += f", until {now.clock_time(batch.step_ends_s)}"
    return Outlook(step, _eta_s(batch, traffic, now))


def _resting(batch: Batch) -> str:
    skipped = batch.rows.skipped
    if batch.status is BatchStatus.COMPLETED and skipped:
        loaded = f"{batch.created_count} of {len(batch.rows)} rows are"
        return f"completed: {loaded} in the directory, once, active; {skipped} were skipped"
    return batch.step or STEPS[batch.status]


def _waiting(batch: Batch, standing: Standing, now: Now) -> str:
    opens = now.clock_time(now.monotonic_s + standing.opens_in_s)
    if standing.is_refused:
        return f"waiting: others use up the directory's rate limit; it is asked again at {opens}"
    if standing.opens_in_s > 0:
        return f"waiting for the directory's rate window, which opens at {opens}"
    return batch.step


def _place(standing: Standing) -> str:
    if not standing.ahead:
        return ""
    place = f"place {len(standing.ahead) + 1} of {standing.batches} in the queue"
    return f"; {place}, batch {standing.ahead[0]} is next"


def _eta_s(batch: Batch, traffic: Traffic, now: Now) -> float | None:
    """Return the time that what is to come takes; looks go on beside it, or take next to none."""
    if traffic.creates is not None:
        is_refused = traffic.creates.is_refused
        created_s = traffic.creates.last_in_s + traffic.usual_s
        return None if is_refused else created_s + traffic.activated_in_s
    if _is_under_way(batch):
        answered_s = traffic.answered_in_s
        return None if answered_s is None else answered_s + traffic.activated_in_s
    if batch.step_ends_s is not None:
        return max(0.0, batch.step_ends_s - now.monotonic_s) + traffic.activated_in_s
    if batch.is_lacking or (batch.status is BatchStatus.ACTIVATING and batch.parts == 1):
        return None  # an activation takes what it takes
    if batch.unsettled and batch.parts > 1:
        return None  # some part is looked at again after a while
    looked_s = traffic.lookups.last_in_s if traffic.lookups is not None else 0.0
    return max(looked_s, traffic.activated_in_s)


def _is_under_way(batch: Batch) -> bool:
    return batch.rows.count(RowStatus.PROCESSING) > 0
