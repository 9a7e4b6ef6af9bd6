"""The commands, as they are typed."""

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import httpx
import typer

from cli import loading, outcome, taking_back
from cli.client import KEY_VARIABLE, CallFailed, Json, Refused, Service, UnusableKey
from cli.display import (
    DEFAULT_URL,
    URL_VARIABLE,
    Display,
    batches_table,
    differences_table,
    errors_table,
    rows_table,
)
from cli.interruption import Interrupted

NOT_DONE, NO_SERVICE = 1, 3
PAGE = 100
FULL_ID_CHARS = 36

EXIT_STATUSES = """\b
Exit status:
  0    the batch is completed; the file is valid; what was asked for is done
  1    the batch is not completed; the file has errors; the service refused
  2    wrong usage, or no batch has an id of that start (a whole id: 1)
  3    the service cannot be reached, or failed
  130  ended by Ctrl-C; a batch that was followed goes on (143: by SIGTERM)
  141  whoever read the output went away
"""

app = typer.Typer(
    help="Load CSV files of hospitals into the directory, and see to batches that stopped. "
    "A batch's id may be shortened to its first characters. A service that asks for a key gets "
    f"the one that the environment has as {KEY_VARIABLE}.",
    epilog=EXIT_STATUSES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Status(StrEnum):
    """The statuses that a batch can have."""

    INITIALIZING = "initializing"
    PROCESSING = "processing"
    ACTIVATING = "activating"
    COMPLETED = "completed"
    RESUMABLE = "resumable"
    FAILED = "failed"
    ABANDONING = "abandoning"


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"{url!r}: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise typer.BadParameter(f"{url!r} is not of the form http://host:port")
    return url


def _checked_id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F-]{1,36}", text):
        raise typer.BadParameter(f"{text!r} is not a batch's id, nor the start of one")
    return text.lower()


def _checked_name(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"[!-~]([ -~]{0,253}[!-~])?", name):
        raise typer.BadParameter("up to 255 ASCII characters, the first and the last no blanks")
    return name


Url = Annotated[
    str,
    typer.Option("--url", envvar=URL_VARIABLE, callback=_checked_url, help="Where the service is."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Write the service's JSON document to stdout, nothing else.")
]
BatchId = Annotated[str, typer.Argument(metavar="BATCH_ID", callback=_checked_id)]
CsvFile = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)
]


@app.command()
def upload(
    file: CsvFile,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Load the sound rows of a file with errors.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not follow the batch once it is accepted.")
    ] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key",
            metavar="NAME",
            callback=_checked_name,
            help="What this upload is called. Given again with the same file, the batch is the one "
            "that it became; without a name, each upload is another.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Load FILE, and follow its batch until it has ended."""
    with _session(url, as_json) as (service, display):
        accepted = loading.send(
            service, display, file, skip_invalid=skip_invalid, name=idempotency_key
        )
        if detach:
            display.result(accepted, f"Batch {accepted['batch_id']} is accepted.")
            display.advise(("follow it:", f"watch {accepted['batch_id']}"))
            return
        _follow_to_end(service, display, accepted["batch_id"])


@app.command()
def validate(file: CsvFile, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Say everything that is wrong with FILE; nothing is loaded."""
    with _session(url, as_json) as (service, display):
        findings = service.validate(file)
        verdict = "is valid" if findings["is_valid"] else "has errors"
        rows = f": {findings['valid_rows']} of {findings['total_rows']} rows are sound"
        if any(not error["row"] for error in findings["errors"]):
            rows = ""  # the file as a whole was not read
        display.result(findings, f"{file.name} {verdict}{rows}.", errors_table(findings["errors"]))
        for warning in findings["warnings"]:
            display.tell(f"Warning: {warning}")
        loading.tell_time(display, findings)
        _done_if(findings["is_valid"])


@app.command()
def watch(batch_id: BatchId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Follow a batch until it has ended."""
    with _session(url, as_json) as (service, display):
        batch_id = _full_id(service, batch_id)
        service.progress(batch_id)  # a service that is not there is told at once
        _follow_to_end(service, display, batch_id)


@app.command()
def resume(batch_id: BatchId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Go on with a batch that stopped, and follow it until it has ended."""
    with _session(url, as_json) as (service, display):
        batch_id = service.resume(_full_id(service, batch_id))["batch_id"]
        _follow_to_end(service, display, batch_id)


@app.command()
def cancel(batch_id: BatchId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Stop a batch: no further row is sent, and rows under way finish."""
    with _session(url, as_json) as (service, display):
        progress = service.cancel(_full_id(service, batch_id))
        display.result(
            progress, f"Batch {progress['batch_id']} stops as soon as the rows under way are done."
        )
        display.advise(
            ("see it stop:", f"watch {progress['batch_id']}"),
            ("go on:", f"resume {progress['batch_id']}"),
            ("take it back:", f"abandon {progress['batch_id']}"),
        )


@app.command()
def abandon(
    batch_id: BatchId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Take a stopped batch back: its hospitals are deleted in the directory, then its state."""
    with _session(url, as_json) as (service, display):
        batch_id = _full_id(service, batch_id)
        progress = service.progress(batch_id)
        # Of a batch that runs it is asked as well: it may stop meanwhile.
        if not yes and progress["status"] != "completed":
            _ask(display, progress)
        if progress["status"] in outcome.TAKEN_BACK:
            time = "many minutes" if outcome.is_large(progress) else "a minute"
            display.tell(f"Abandoning the batch; this can take {time} ...")
        abandoned = taking_back.take_back(service, display, batch_id)
        display.result(abandoned, abandoned["message"])


@app.command()
def report(
    batch_id: BatchId,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Only the rows that failed.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Instead of stdout."),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Write what became of each row as CSV."""
    with _session(url, as_json=False) as (service, display):
        content = service.report(_full_id(service, batch_id), only_failed=only_failed)
        if output is None:
            display.file(content)
            return
        try:
            output.write_bytes(content)
        except OSError as error:
            raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from error
        display.tell(f"Written to {output}.")


@app.command(name="list")
def list_batches(
    status: Annotated[
        list[Status] | None,
        typer.Option("--status", help="Only batches of this status; can be given several times."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=PAGE, help="How many.")] = 20,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on where an earlier list ended.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""
    with _session(url, as_json) as (service, display):
        page = service.batches([one.value for one in status or []], limit, cursor)
        batches = page["batches"]
        message = f"Batches: {len(batches)}." if batches else "There is no such batch."
        display.result(page, message, batches_table(batches))
        if page["next_cursor"]:
            display.tell(f"There are more: --cursor {page['next_cursor']}")


@app.command()
def verify(batch_id: BatchId, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Compare the directory with a batch's file now; nothing is changed."""
    with _session(url, as_json) as (service, display):
        batch_id = _full_id(service, batch_id)
        if outcome.is_large(service.progress(batch_id)):
            display.tell("Comparing each part of the batch; this can take many minutes ...")
        verdict = service.verify(batch_id)
        said = "has the file's rows, each once, active" if verdict["matches"] else "differs"
        display.result(verdict, f"The directory {said}.", differences_table(verdict))
        if not verdict["matches"]:
            outcome.tell_why(display, verdict, service.progress(batch_id))
        _done_if(verdict["matches"])


@app.command()
def correct(
    batch_id: BatchId,
    row: Annotated[int, typer.Argument(metavar="ROW", min=1)],
    name: Annotated[str | None, typer.Option("--name")] = None,
    address: Annotated[str | None, typer.Option("--address")] = None,
    phone: Annotated[str | None, typer.Option("--phone", help="'' empties it.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Correct a row that the directory refused, or that was skipped; then resume.

    What is left out stays as it is.
    """
    given = {"name": name, "address": address, "phone": phone}
    values = {column: value for column, value in given.items() if value is not None}
    if not values:
        raise typer.BadParameter("Say what to correct: --name, --address, --phone.")
    with _session(url, as_json) as (service, display):
        batch_id = _full_id(service, batch_id)
        corrected = service.correct(batch_id, row, values)
        display.result(corrected, f"Row {row} is corrected.", rows_table([corrected]))
        display.advise(("go on:", f"resume {batch_id}"))


@contextmanager
def _session(url: str, as_json: bool) -> Iterator[tuple[Service, Display]]:
    """Open the service and the outputs; turn what can go wrong into a sentence and a status."""
    display = Display(url, as_json=as_json)
    try:
        service = Service(url, display.tell)
    except UnusableKey as error:
        raise typer.BadParameter(str(error)) from None
    try:
        yield service, display
        sys.stdout.flush()
    except Refused as refusal:
        display.refused(refusal)
        raise typer.Exit(NOT_DONE if refusal.status < 500 else NO_SERVICE) from refusal
    except CallFailed as failure:
        display.tell(str(failure))
        raise typer.Exit(NO_SERVICE) from failure
    except BrokenPipeError as error:
        raise Interrupted(signal.SIGPIPE) from error
    finally:
        service.close()


def _follow_to_end(service: Service, display: Display, batch_id: str) -> None:
    """Show a batch until it has ended, and how it ended."""
    _done_if(outcome.tell(service, display, loading.followed(service, display, batch_id)))


def _full_id(service: Service, start: str) -> str:
    """Return the one batch id that begins with *start*."""
    if len(start) == FULL_ID_CHARS:
        return start
    found, cursor = [], None
    while True:
        page = service.batches([], PAGE, cursor)
        found += [b["batch_id"] for b in page["batches"] if b["batch_id"].startswith(start)]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    if len(found) != 1:
        said = "more than one batch's id begins" if found else "no batch's id begins"
        raise typer.BadParameter(f"{said} with {start!r}")
    return str(found[0])


def _ask(display: Display, progress: Json) -> None:
    """Go on only if somebody says yes."""
    created, total = progress["processed_hospitals"], progress["total_hospitals"]
    counts = f"{created:,} of {total:,} rows created"
    display.tell(f"Batch {progress['batch_id']}, {progress['file_name']}: {counts}.")
    try:
        is_wanted = typer.confirm("Delete them in the directory, and forget the batch?", err=True)
    except typer.Abort:  # nobody is there, or goes
        typer.echo(err=True)
        display.tell("Nothing was done; --yes does not ask.")
        raise typer.Exit(NOT_DONE) from None
    if not is_wanted:
        display.tell("Nothing was done.")
        raise typer.Exit(NOT_DONE)


def _done_if(it_is: bool) -> None:
    if not it_is:
        raise typer.Exit(NOT_DONE)
