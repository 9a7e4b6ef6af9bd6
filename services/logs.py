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
from structlog.stdlib import BoundLogger
from structlog.typing import Processor

from services.log_lines import LineFormatter, as_json, console, with_keys

CHATTY = ("httpx", "httpcore")  # a line for each request, at INFO


def get_logger(name: str) -> BoundLogger:
    """Return the logger of a module; it works before `configure`, and without."""
    processors: list[Processor] = [
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        with_keys,
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
