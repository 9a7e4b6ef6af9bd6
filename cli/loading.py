"""Sends a file and follows its batch, with what a person is told meanwhile."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from cli.client import Json, NoAnswer, Refused, Service
from cli.display import MINUTE_S, Display, span
from cli.follow import PATIENCE_S, Link, LostTouch, follow
from cli.interruption import Interrupted

T = TypeVar("T")

QUICKLY_LOADED_BYTES = 8 * 1024  # some 100 rows: not worth sending it twice
NOT_SENT = "The file was checked for how long it takes; it was not loaded."
NOT_KNOWN = "Whether the file was taken is not known."
NOT_NOW = (401, 403, 429)  # tells nothing of what was sent before


def send(
    service: Service,
    display: Display,
    file: Path,
    *,
    skip_invalid: bool = False,
    name: str | None = None,
    patience_s: float = PATIENCE_S,
) -> Json:
    """Upload a file, and again when no answer came; return the progress of its one batch.

    Args:
        name: What the upload is called: of one name there is one batch. None: as no other.
        patience_s: How long to try in vain, once it may have arrived.

    Raises:
        NoAnswer: It never arrived.
        Refused: There is no batch of it.
        LostTouch, Interrupted: Nobody knows; how to find out has been said.
    """
    if file.stat().st_size > QUICKLY_LOADED_BYTES:
        check = partial(service.validate, file)
        findings = _answered(check, Link(display.tell, patience_s, NOT_SENT))
        if findings["is_valid"] or skip_invalid:  # else it is refused, and how is told then
            tell_time(display, findings)
    name = name or str(uuid4())
    command = f"upload {shlex.quote(str(file))}"
    skipping = f"{command} --skip-invalid"
    try:
        upload = partial(service.upload, file, name, skip_invalid=skip_invalid)
        accepted = _answered(upload, Link(display.tell, patience_s, NOT_KNOWN))
    except Refused as refusal:
        if refusal.is_of_rows and not skip_invalid:
            refusal.advice.append(("load the sound rows:", skipping))
        raise
    except (Interrupted, LostTouch) as reason:
        if isinstance(reason, Interrupted):
            display.tell(NOT_KNOWN)
        again = f"{skipping if skip_invalid else command} --idempotency-key {shlex.quote(name)}"
        display.advise(("find out, or load it:", again))
        raise
    batch_id = accepted.progress["batch_id"]
    if accepted.is_replay:
        display.tell(f"This upload was accepted before: its batch is {batch_id}.")
    return accepted.progress


def tell_time(display: Display, findings: Json) -> None:
    """Tell how long the sound rows of a checked file take, if that is worth telling."""
    seconds = findings["estimated_seconds"]
    if seconds > MINUTE_S:
        display.tell(
            f"Loading {findings['valid_rows']:,} rows takes about {span(seconds)}, longer if "
            "others are loaded meanwhile."
        )


def _answered(send: Callable[[], T], link: Link) -> T:
    """Send a file until there is an answer that holds for each time it was sent."""
    is_in_doubt = False
    while True:
        try:
            answer = send()
        except NoAnswer as failure:
            is_in_doubt = is_in_doubt or failure.may_have_arrived
            if not is_in_doubt:
                raise
            link.broke(str(failure))
        except Refused as refusal:
            if is_in_doubt and refusal.status in NOT_NOW:
                raise LostTouch(f"{refusal} {link.given_up}") from refusal
            if not is_in_doubt or refusal.status < 500:
                raise
            link.broke(str(refusal), refusal.wait_s or 0.0)
        else:
            link.came()
            return answer


def followed(service: Service, display: Display, batch_id: str) -> Json:
    """Show a batch until it has ended; return its last progress.

    Refused if it is gone or not ours; LostTouch, or Interrupted, after saying how to come back.
    """
    document: Json = {}
    try:
        with display.following() as show:
            for document in follow(service, batch_id, display.tell):
                show(document)
    except Refused as refusal:
        if refusal.status in NOT_NOW:
            refusal.advice.append(("come back:", f"watch {batch_id}"))
        raise
    except (Interrupted, LostTouch) as reason:
        if isinstance(reason, Interrupted):
            display.tell("The batch goes on without this command.")
        display.advise(("come back:", f"watch {batch_id}"), ("stop it:", f"cancel {batch_id}"))
        raise
    return document
