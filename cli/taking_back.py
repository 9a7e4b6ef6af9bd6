"""Takes a batch back, however long that takes: the service goes on when nobody waits for it."""

import time

from cli.client import Json, NoAnswer, Refused, Service
from cli.display import Display
from cli.follow import PATIENCE_S, Link, LostTouch
from cli.interruption import Interrupted

LOOK_S = 3.0
BEING_ABANDONED = "being abandoned"  # how the service's steps of it begin
GIVEN_UP = "What became of the batch is not known here; the service may go on abandoning it."
GONE, BEING_WORKED_ON = 404, 409


def take_back(
    service: Service, display: Display, batch_id: str, patience_s: float = PATIENCE_S
) -> Json:
    """Abandon a batch; return what was deleted once it is gone.

    No answer, and a refusal because it is being abandoned, mean to wait: asked again, the service
    goes on with what was left, and does not know the batch any more when nothing was. How many
    hospitals were deleted is not known then (None).

    Args:
        patience_s: How long to try in vain, once it may have arrived.

    Raises:
        NoAnswer: It never arrived.
        Refused: It cannot be abandoned, or not now.
        LostTouch, Interrupted: Nobody knows; how to find out has been said.
    """
    try:
        return _taken_back(service, display, batch_id, Link(display.tell, patience_s, GIVEN_UP))
    except (Interrupted, LostTouch) as reason:
        if isinstance(reason, Interrupted):
            display.tell("The service goes on abandoning the batch without this command.")
        display.advise(("come back:", f"abandon {batch_id} --yes"))
        raise


def _taken_back(service: Service, display: Display, batch_id: str, link: Link) -> Json:
    has_begun = False
    step = ""
    while True:
        try:
            return service.abandon(batch_id)
        except NoAnswer as failure:
            has_begun = has_begun or failure.may_have_arrived
            if not has_begun:
                raise
            link.broke(str(failure))
        except Refused as refusal:
            if has_begun and refusal.status == GONE:
                return _forgotten(batch_id)
            now = _step(service, batch_id) if refusal.status == BEING_WORKED_ON else None
            if now is None:
                raise
            has_begun = True
            link.came()
            step = _wait(display, step, now)


def _wait(display: Display, step: str, now: str) -> str:
    """Tell what is done *now* if that is another step, and let some time pass; return it."""
    if now != step:
        display.tell(f"Still {now} ...")
    time.sleep(LOOK_S)  # noqa: TID251 - a program of its own, without an event loop
    return now


def _step(service: Service, batch_id: str) -> str | None:
    """Return how far the service is with abandoning a batch; None if it is not at it."""
    try:
        document = service.progress(batch_id)
    except NoAnswer:  # asked again, the service tells
        return BEING_ABANDONED
    except Refused as refusal:
        if refusal.status == GONE:
            return BEING_ABANDONED
        raise
    step = str(document["current_step"])
    has_stopped = document["status"] == "abandoning" and document["failure_reason"]
    return step if step.startswith(BEING_ABANDONED) and not has_stopped else None


def _forgotten(batch_id: str) -> Json:
    message = "The batch is forgotten, and its hospitals are deleted in the directory."
    return {"message": message, "batch_id": batch_id, "deleted_hospitals": None}
