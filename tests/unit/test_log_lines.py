"""Lines of the log have the form that structlog gives them, whoever tells what."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import bound_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback

from models.row import RowStatus
from services.log_lines import LineFormatter, as_json, console
from services.logs import get_logger
from tests.unit.strategies import law

NAME = f"tests.{uuid4().hex}"
HEAD = {"timestamp": "2026-11-28T08:00:00Z", "level": "info", "logger": "routers.request_id"}
LIBRARYS = {
    colours: ConsoleRenderer(
        colors=colours, pad_event_to=32, exception_formatter=plain_traceback, sort_keys=False
    )
    for colours in (True, False)
}

a_value = st.one_of(
    st.text(),
    st.text(alphabet="ab =\"'-/é"),
    st.sampled_from(RowStatus),
    st.none() | st.booleans() | st.integers() | st.floats(),
    st.lists(st.text(), max_size=2),
)
keys = st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), a_value, max_size=6).filter(
    lambda drawn: drawn.keys().isdisjoint({*HEAD, "event", "stack", "exception", "exc_info"})
)


def is_printable(line: dict[str, Any]) -> bool:
    return all(value.isprintable() for value in line.values() if isinstance(value, str))


@law
@given(st.text(), st.sampled_from(["info", "warning", "level 15"]), keys, st.booleans())
def test_what_can_be_printed_is_written_as_the_library_does(
    event: str, level: str, keys: dict[str, Any], colours: bool
):
    line = HEAD | {"level": level, "event": event} | keys
    written = console(colours=colours)({**line})

    if is_printable(line):
        assert written == LIBRARYS[colours](None, "", {**line})
    elif not colours:
        assert written.isprintable()
        assert written.startswith("2026-11-28T08:00:00Z [")


@pytest.mark.parametrize("value", ["", "a", "a b", "a=b", "'", '"', "\\", "é", "é b", "a\x1b[31mb"])
def test_a_value_is_set_apart_when_it_is_not_one_word(value: str):
    written = console(colours=False)(HEAD | {"event": "e", "key": value})

    shown = written.partition("key=")[2]
    escaped = value.replace("\x1b", "\\x1b")
    assert shown == (repr(escaped) if set(value) & {" ", "=", "'", '"'} else escaped)


@pytest.fixture(params=["json", "console"])
def log(request: pytest.FixtureRequest) -> Iterator[tuple[logging.Logger, StringIO, str]]:
    """A logger of the standard library, what it writes, and in which form."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        LineFormatter(as_json if request.param == "json" else console(colours=False))
    )
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, written, request.param
    logger.removeHandler(handler)


Log = tuple[logging.Logger, StringIO, str]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_ours_and_those_of_libraries_have_one_form(log: Log, level: str):
    library, written, form = log

    with bound_contextvars(request_id="mine"):
        getattr(get_logger(NAME), level)("told", rows=2)
        getattr(library, level)("told %s", "two")

    ours, theirs = written.getvalue().splitlines()
    if form == "json":
        assert [*json.loads(ours)][:4] == ["timestamp", "level", "logger", "event"]
        told = [{**json.loads(line)} for line in (ours, theirs)]
        assert {line.pop("timestamp")[-1] for line in told} == {"Z"}
        head = {"level": level, "logger": NAME, "request_id": "mine"}
        assert told == [head | {"event": "told", "rows": 2}, head | {"event": "told two"}]
    else:
        assert ours.endswith(f"Z [{level:<9}] {'told':<32} [{NAME}] rows=2 request_id=mine")
        assert theirs.endswith(f"Z [{level:<9}] {'told two':<32} [{NAME}] request_id=mine")


def test_what_is_below_the_level_of_its_logger_is_not_told(log: Log):
    library, written, _ = log
    library.setLevel(logging.WARNING)

    get_logger(NAME).info("told")
    get_logger(NAME).warning("heard")

    assert "told" not in written.getvalue()
    assert "heard" in written.getvalue()


def test_a_line_has_the_time_at_which_it_was_told(log: Log):
    library, written, _ = log
    record = logging.makeLogRecord({"name": NAME, "msg": "told", "levelno": 20})
    record.created = datetime(2026, 11, 28, 8, 0, 0, 250_000, tzinfo=UTC).timestamp()

    library.handle(record)

    assert "2026-11-28T08:00:00.250000Z" in written.getvalue()


@pytest.mark.parametrize("by", ["ours", "library"])
def test_an_error_is_told_with_its_traceback_once(log: Log, by: str):
    library, written, form = log
    try:
        raise RuntimeError("unforeseen\nforged")
    except RuntimeError:
        (get_logger(NAME) if by == "ours" else library).exception("failed")

    assert written.getvalue().count("Traceback (most recent call last)") == 1
    if form == "json":
        [line] = written.getvalue().splitlines()
        assert json.loads(line)["level"] == "error"
        assert json.loads(line)["exception"].endswith("RuntimeError: unforeseen\nforged")
    else:
        first, *others = written.getvalue().splitlines()
        assert first.endswith(f"[error    ] {'failed':<32} [{NAME}]")
        assert all(line.startswith("    ") for line in others)
        assert others[-1] == "    forged"


def test_a_library_may_tell_a_mapping(log: Log):
    library, written, _ = log

    library.info({"event": 1})

    assert "{'event': 1}" in written.getvalue()


def test_another_handler_gets_what_was_told(log: Log, caplog: pytest.LogCaptureFixture):
    library, written, _ = log
    library.addHandler(caplog.handler)
    get_logger(NAME).info("told", rows=2)
    library.removeHandler(caplog.handler)

    assert [record.msg for record in caplog.records] == [{"event": "told", "rows": 2}]
    assert written.getvalue()
