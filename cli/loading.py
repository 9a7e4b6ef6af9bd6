"""Sends a file and follows its batch, with what a person is told meanwhile."""

import shlex
from pathlib import Path

from cli.client import Json, NoAnswer, Refused, Service
from cli.display import Display
from cli.follow import LostTouch, follow
from cli.interruption import Interrupted


def send(service: Service, display: Display, file: Path, *, skip_invalid: bool = False) -> Json:
    """Upload a file once, and once only; return the progress of the batch that was accepted.

    Refused or NoAnswer if none was, or if nobody knows: that is said, and not tried again.
    """
    look = (
        "The batch may have been accepted all the same: before you upload the file again, look "
        f"with {display.command('list')}"
    )
    try:
        return service.upload(file, skip_invalid=skip_invalid)
    except Refused as refusal:
        if refusal.is_of_rows and not skip_invalid:
            upload = f"upload {shlex.quote(str(file))} --skip-invalid"
            refusal.advice.append(("load the sound rows:", upload))
        raise
    except NoAnswer as failure:
        if not failure.may_have_arrived:
            raise
        raise NoAnswer(f"{failure} {look}") from failure
    except Interrupted:
        display.tell(look)
        raise


def followed(service: Service, display: Display, batch_id: str) -> Json:
    """Show a batch until it has ended; return its last progress.

    Refused if it is gone; LostTouch, or Interrupted, after saying how to come back.
    """
    document: Json = {}
    try:
        with display.following() as show:
            for document in follow(service, batch_id, display.tell):
                show(document)
    except (Interrupted, LostTouch) as reason:
        if isinstance(reason, Interrupted):
            display.tell("The batch goes on without this command.")
        display.advise(("come back:", f"watch {batch_id}"), ("stop it:", f"cancel {batch_id}"))
        raise
    return document
