"""Every line that the process logs has one form: an event, its keys, and what it belongs to.

Our own loggers and those of libraries meet in the standard library's root logger, whose one handler
gives them their form. What belongs together is bound to the context: `request_id` for the time of a
request, `batch_id` for all work on a batch. Content of files is logged at DEBUG only.
"""

import logging
import sys
from contextvars import Context
from typing import Literal, cast
from uuid import UUID

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor

CHATTY = ("httpx", "httpcore")  # a line for each request, at INFO
EVENT_WIDTH = 32
LEVEL_WIDTH = 9
_MORE_LINES = frozenset({"exception", "stack"})
_SETS_APART = frozenset(" \t\r\n='\"")


def get_logger(name: str) -> BoundLogger:
    """Return the logger of a module; it works before `configure`, and without."""
    processors: list[Processor] = [
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        ProcessorFormatter.wrap_for_formatter,
    ]
    lazy = structlog.wrap_logger(
        logging.getLogger(name), processors=processors, wrapper_class=BoundLogger
    )
    return cast("BoundLogger", lazy.bind())


def context_of(batch_id: UUID) -> Context:
    """Return a context for work on a batch that nobody in particular asked for."""
    context = Context()
    context.run(structlog.contextvars.bind_contextvars, batch_id=str(batch_id))
    return context


def configure(level: str, form: Literal["console", "json"]) -> None:
    """Have every line written to stderr in one form; may be called again.

    Whoever has given the root logger a handler before keeps it, and gets all lines.

    Args:
        level: The least that is written, as the standard library names it.
        form: `console`: a line to read, in colours on a terminal; `json`: one object a line.
    """
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.setLevel(level)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    _take_over_server(level)
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_formatter(form))
        root.addHandler(handler)


def is_served() -> bool:
    """Return whether a server has set up its own logging in this process, and goes on to log."""
    return bool(logging.getLogger("uvicorn").handlers)


def _take_over_server(level: str) -> None:
    """Have uvicorn's lines go the way of all others, but for a second line for each request."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(level)
        logger.propagate = name != "uvicorn.access"  # ours has the request's id


def _formatter(form: Literal["console", "json"]) -> ProcessorFormatter:
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        ProcessorFormatter.remove_processors_meta,
        _in_order,
    ]
    last: list[Processor]
    if form == "json":
        last = [structlog.processors.JSONRenderer()]
    else:
        last = [_unforgeable, console(colours=sys.stderr.isatty())]
    return ProcessorFormatter(
        foreign_pre_chain=[structlog.contextvars.merge_contextvars], processors=[*shared, *last]
    )


def console(*, colours: bool) -> Processor:
    """Return what writes a line to be read, as structlog does.

    Every request is a line, and structlog takes five times as long for one without colours.
    """
    render = structlog.dev.ConsoleRenderer(
        colors=colours,
        pad_event_to=EVENT_WIDTH,
        exception_formatter=structlog.dev.plain_traceback,  # the others show values of variables
        sort_keys=False,
    )

    def write(logger: object, name: str, event: EventDict) -> str:
        if colours or not _MORE_LINES.isdisjoint(event):
            return render(logger, name, event)
        return _one_line(**event)

    return write


def _one_line(timestamp: str, level: str, logger: str, event: object, **keys: object) -> str:
    head = f"{timestamp} [{level:<{LEVEL_WIDTH}}] {event!s:<{EVENT_WIDTH}} [{logger}]"
    return " ".join([head, *(f"{key}={_shown(value)}" for key, value in keys.items())])


def _shown(value: object) -> str:
    """Return a value as Python writes it, but a single word as it is."""
    is_word = isinstance(value, str) and _SETS_APART.isdisjoint(value)
    return str(value) if is_word else repr(value)


def _in_order(_: object, __: str, event: EventDict) -> EventDict:
    """Put what every line has before what this one has."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "logger", "event")}
    return {**head, **event}


def _unforgeable(_: object, __: str, event: EventDict) -> EventDict:
    """Let nothing that a client or a library says look like a line of its own, or like colours."""
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
