"""Every line that the process logs has one form: an event, its keys, and what it belongs to.

Our own loggers and those of libraries meet in the standard library's root logger, whose one handler
gives them their form. What belongs together is bound to the context: `request_id` for the time of a
request, `batch_id` for all work on a batch. Content of files is logged at DEBUG only.
"""

import logging
import sys
from contextvars import Context
from typing import Any, Literal
from uuid import UUID

from structlog.contextvars import bind_contextvars, merge_contextvars

from services.log_lines import EventRecord, LineFormatter, as_json, console

CHATTY = ("httpx", "httpcore")  # a line for each request, at INFO


class EventLogger:
    """Tells events, with their keys and what is bound to the context, to a standard logger.

    structlog's own takes 10 us longer, to find out among others from which line of its own it
    calls the standard one.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **keys: Any) -> None:
        self._tell(logging.DEBUG, event, keys)

    def info(self, event: str, **keys: Any) -> None:
        self._tell(logging.INFO, event, keys)

    def warning(self, event: str, **keys: Any) -> None:
        self._tell(logging.WARNING, event, keys)

    def error(self, event: str, **keys: Any) -> None:
        self._tell(logging.ERROR, event, keys)

    def exception(self, event: str, **keys: Any) -> None:
        """Tell an error together with the exception that is being handled."""
        self._tell(logging.ERROR, event, {"exc_info": True, **keys})

    def _tell(self, level: int, event: str, keys: dict[str, Any]) -> None:
        logger = self._logger
        if logger.isEnabledFor(level):
            told = merge_contextvars(None, "", {**keys, "event": event})
            logger.handle(EventRecord(logger.name, level, dict(told)))


def get_logger(name: str) -> EventLogger:
    """Return the logger of a module; it works before `configure`, and without."""
    return EventLogger(name)


def context_of(batch_id: UUID) -> Context:
    """Return a context for work on a batch that nobody in particular asked for."""
    context = Context()
    context.run(bind_contextvars, batch_id=str(batch_id))
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
        write = as_json if form == "json" else console(colours=sys.stderr.isatty())
        handler.setFormatter(LineFormatter(write))
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
