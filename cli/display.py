"""What a person sees: results on stdout; progress, messages and advice on stderr.

Nothing that came from a file or from the network is taken for markup or for control sequences.
"""

import json
import os
import shlex
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.client import Json, Refused

URL_VARIABLE = "HOSPITAL_BULK_URL"
DEFAULT_URL = "http://127.0.0.1:8000"

# Controls (escape sequences begin with one), invisible marks (which can turn text around),
# surrogates, and separators of lines.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = "\u200c\u200d"  # invisible too, but part of how Persian and Hindi are written
BAR_CHARS = 24
UNWRAPPED = 100_000  # columns: lines for files and other programs are not broken
SHOWN = 50  # lines of a long list; the rest is counted
MINUTE_S = 60
STYLES = {"failed": "red", "created_and_activated": "green"}


class Display:
    """The two outputs of one command.

    Args:
        url: Of the service, for the commands that are advised.
        as_json: stdout is for one JSON document, and for nothing else.
    """

    def __init__(self, url: str, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = _Output(sys.stdout)
        self._err = _Output(sys.stderr)
        is_default = url == os.environ.get(URL_VARIABLE, DEFAULT_URL)
        self._url_option = "" if is_default else f" --url {shlex.quote(url)}"

    def tell(self, message: str) -> None:
        """Tell a sentence on stderr."""
        self._err.print(shown(message))

    def command(self, arguments: str) -> str:
        """Return a command with these arguments that reaches the same service."""
        return f"python -m cli {arguments}{self._url_option}"

    def advise(self, *advice: tuple[str, str]) -> None:
        """Tell what can be typed next: pairs of a purpose and a command's arguments."""
        width = max(len(purpose) for purpose, _ in advice)
        for purpose, arguments in advice:
            line = f"  {purpose:<{width}}  {self.command(arguments)}"
            # Not broken by us, so that it can be copied from a narrow terminal too.
            self._err.print(shown(line), soft_wrap=True)

    def document(self, document: Json) -> None:
        """Write the one JSON document of `--json`."""
        sys.stdout.write(json.dumps(document) + "\n")  # ASCII alone: safe on every terminal

    def result(self, document: Json, message: str, table: Table | None = None) -> None:
        """Write a result: as JSON if that is wanted, else in words and in a table."""
        if self.as_json:
            self.document(document)
            return
        if table is not None and table.row_count:
            self._out.print(table)
        self._out.print(shown(message))

    def refused(self, refusal: Refused) -> None:
        """Tell what the service said against a call."""
        if self.as_json:
            self.document(refusal.problem)
        self.tell(str(refusal))
        if errors := refusal.problem.get("errors"):
            self._err.print(errors_table(errors))
        if refusal.advice:
            self.advise(*refusal.advice)

    def file(self, content: bytes) -> None:
        """Write a file to stdout: as it is, but made harmless for a terminal."""
        if sys.stdout.isatty():
            for line in content.decode(errors="replace").splitlines():
                self._out.print(shown(line))
            return
        sys.stdout.buffer.write(content)

    @contextmanager
    def following(self) -> Iterator[Callable[[Json], None]]:
        """Show each progress document that is handed over: in one place, or in lines."""
        if not self._err.is_interactive_terminal:
            yield _Lines(self._err).show
            return
        bar = _Bar()
        with Live(get_renderable=bar.render, console=self._err, refresh_per_second=8):
            yield bar.show


class _Output(Console):
    """A console without markup, that breaks no lines where no terminal does."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(
            file=file,
            width=None if file.isatty() else UNWRAPPED,
            markup=False,
            emoji=False,
            highlight=False,
        )

    @property
    def is_interactive_terminal(self) -> bool:
        return self.is_terminal and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        raise  # what is being handled: our caller knows what to do, and rich would exit with 1


class _Lines:
    """A line for each change."""

    def __init__(self, output: Console) -> None:
        self._output = output
        self._shown = ""

    def show(self, document: Json) -> None:
        """Write a line if it would say something new, be it not the time alone."""
        counts = _counts(document)
        step = document["current_step"]
        if (said := f"{counts} {step}") != self._shown:
            self._output.print(shown(f"{counts}, {_times(document)}: {step}"))
        self._shown = said


class _Bar:
    """A bar with the counts and the time that passes; below it what is being done."""

    def __init__(self) -> None:
        self._document: Json | None = None
        self._came_at_s = 0.0

    def show(self, document: Json) -> None:
        self._document, self._came_at_s = document, time.monotonic()

    def render(self) -> RenderableType:
        document = self._document
        if document is None:
            return Text("Connecting ...")
        since_s = 0.0 if document["is_completed"] else time.monotonic() - self._came_at_s
        done = document["processed_hospitals"] + document["failed_hospitals"]
        bar = ProgressBar(document["total_hospitals"], done, width=BAR_CHARS)
        counts = shown(f"{_counts(document)}, {_times(document, since_s)}")
        # Beside each other if the terminal is wide enough, else below; long lines are wrapped.
        return Group(Columns([bar, counts]), shown(document["current_step"]))


def shown(value: object, style: str = "") -> Text:
    """Return *value* as text, with everything visible that would do something to a terminal."""
    characters = (
        c if c in JOINERS or unicodedata.category(c) not in HIDDEN else ascii(c)[1:-1]
        for c in ("" if value is None else str(value))
    )
    return Text("".join(characters), style)


def taken(seconds: float) -> str:
    """Return how long something took."""
    return f"{seconds:.1f} s" if seconds < MINUTE_S else span(seconds)


def span(seconds: float) -> str:
    """Return how long something takes, as exactly as a person wants to know."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / MINUTE_S), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def rows_table(rows: list[Json], more: int = 0) -> Table:
    """Return what became of each row, and how many *more* there are."""
    has_errors = any(row["error_message"] for row in rows)
    table = _table("row>", "name", "id>", "status", "seconds>", *(["error"] * has_errors))
    for row in rows:
        seconds = row["processing_time"]
        cells = [shown(row["row"]), shown(row["name"]), shown(row["hospital_id"])]
        cells.append(shown(row["status"], STYLES.get(row["status"], "")))
        cells.append(shown(None if seconds is None else f"{seconds:.3f}"))
        table.add_row(*cells, *([shown(row["error_message"])] * has_errors))
    _count_rest(table, more)
    return table


def errors_table(errors: list[Json]) -> Table:
    """Return what is wrong with a file, or with the values of a row: the first of many errors."""
    table = _table("row>", "line>", "column", "value", "what to do")
    for error in errors[:SHOWN]:
        place = (error["row"] or None, error["line"] or None)  # 0 is the file as a whole
        _add(table, *place, error["column"], error["value"], error["message"])
    _count_rest(table, len(errors) - SHOWN)
    return table


def batches_table(batches: list[Json]) -> Table:
    """Return a line for each batch; the start of an id is enough for the other commands."""
    has_owners = any(batch.get("owner") for batch in batches)
    owner = ["owner"] * has_owners
    table = _table(
        "batch", "file", *owner, "status", "created>", "failed>", "started", "why it stopped"
    )
    for batch in batches:
        created = f"{batch['processed_hospitals']}/{batch['total_hospitals']}"
        started = batch["created_at"][:19].replace("T", " ") + " UTC"
        cells = [batch["batch_id"][:8], batch["file_name"], *([batch.get("owner")] * has_owners)]
        cells += [batch["status"], created, batch["failed_hospitals"], started]
        _add(table, *cells, batch["failure_reason"])
    return table


def differences_table(verdict: Json) -> Table:
    """Return where the directory is not as the file: the first of many differences."""
    table = _table("what", "row>", "id>", "name")
    kinds = ("missing", "surplus", "inactive")
    differences = [(kind, entry) for kind in kinds for entry in verdict[kind]]
    for kind, entry in differences[:SHOWN]:
        _add(table, kind, entry["row"], entry["hospital_id"], entry["name"])
    _count_rest(table, len(differences) - SHOWN)
    return table


def _table(*titles: str) -> Table:
    """Return an empty table; a title that ends in > is of a column of numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in titles:
        is_number = title.endswith(">")
        table.add_column(
            title.removesuffix(">"),
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
        )
    return table


def _add(table: Table, *cells: object) -> None:
    table.add_row(*(shown(cell) for cell in cells))


def _count_rest(table: Table, more: int) -> None:
    """Say below a table how many lines it leaves out, if it does."""
    if more > 0:
        table.caption, table.caption_justify = Text(f"... and {more:,} more"), "left"


def _counts(document: Json) -> str:
    created, total = document["processed_hospitals"], document["total_hospitals"]
    return f"{created:,} of {total:,} created, {document['failed_hospitals']:,} failed"


def _times(document: Json, since_s: float = 0.0) -> str:
    """Return how long it has taken and may take, *since_s* after the document was made."""
    times = taken(document["processing_time_seconds"] + since_s)
    eta_s = document["eta_seconds"]
    if eta_s is not None and not document["is_completed"]:
        times += f", about {span(max(eta_s - since_s, 0))} left"
    return times
