"""How a record of any logger becomes a line: its time, level, logger and event, then its keys.

structlog does all of it in the same form. But every request is a line, and its formatter takes
three times as long, for choices that nobody makes here.
"""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from structlog.contextvars import merge_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import JSONRenderer, StackInfoRenderer, format_exc_info
from structlog.typing import EventDict

EVENT_WIDTH = 32
LEVEL_WIDTH = 9

_MORE_LINES = frozenset({"exception", "stack"})
_ONE_WORD = re.compile(r"[!#-&(-<>-~]*")  # of ASCII: no blank, quote or =, nothing unprintable
_SET_APART = frozenset(" ='\"")

_add_stack = StackInfoRenderer()
_render_json = JSONRenderer()

Write: TypeAlias = Callable[[EventDict], str]


class EventRecord(logging.LogRecord):
    """A record whose message is an event and its keys. It does not know the line that made it."""

    def __init__(self, logger: str, level: int, told: EventDict) -> None:
        super().__init__(logger, level, pathname="", lineno=0, msg=told, args=None, exc_info=None)


class LineFormatter(logging.Formatter):
    """Gives records the form of all lines, written out by *write*: `as_json` or a `console`."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        made_at = datetime.fromtimestamp(record.created, UTC)
        told = format_exc_info(None, "", _add_stack(None, "", _told(record)))
        line = {
            "timestamp": made_at.isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": told.pop("event"),
        }
        return self._write({**line, **told})


def _told(record: logging.LogRecord) -> EventDict:
    """Return the event and its keys; a library's record has those of its context only."""
    if isinstance(record, EventRecord):
        return dict(record.msg)  # type: ignore[arg-type]  # a copy: other handlers want it too
    told: EventDict = {"event": record.getMessage()}
    if record.exc_info:
        told["exc_info"] = record.exc_info
    if record.stack_info:
        told["stack_info"] = record.stack_info
    return dict(merge_contextvars(None, "", told))


def as_json(line: EventDict) -> str:
    """Write a line as one JSON object."""
    return str(_render_json(None, "", line))


def console(*, colours: bool) -> Write:
    """Return what writes a line to be read.

    Nothing that a client or a library says looks like a line of its own, or like colours.
    """
    render = ConsoleRenderer(
        colors=colours,
        pad_event_to=EVENT_WIDTH,
        exception_formatter=plain_traceback,  # the others show the values of variables
        sort_keys=False,
    )

    def write(line: EventDict) -> str:
        if colours or not _MORE_LINES.isdisjoint(line):
            return render(None, "", _unforgeable(line))
        return _one_line(**line)

    return write


def _one_line(timestamp: str, level: str, logger: str, event: object, **keys: object) -> str:
    """Write what the library would, in a quarter of the time."""
    name = str(_printable(event))
    head = f"{timestamp} [{level:<{LEVEL_WIDTH}}] {name:<{EVENT_WIDTH}} [{_printable(logger)}]"
    return " ".join([head, *[f"{key}={_shown(value)}" for key, value in keys.items()]])


def _shown(value: object) -> str:
    """Return a value as Python writes it, but what is one word as it is."""
    if not isinstance(value, str):
        return repr(value)
    if _ONE_WORD.fullmatch(value):
        return value
    printable = str(_printable(value))
    return printable if _SET_APART.isdisjoint(printable) else repr(printable)


def _unforgeable(event: EventDict) -> EventDict:
    shown = {key: _printable(value) for key, value in event.items() if key != "exception"}
    if "exception" in event:
        lines = str(event["exception"]).split("\n")
        shown["exception"] = "\n".join(f"    {_printable(line)}" for line in lines)
    return shown


def _printable(value: object) -> object:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in value
    )
