"""A line of the log that has no colours is written as structlog writes it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.dev import ConsoleRenderer, plain_traceback

from models.row import RowStatus
from services.logs import console
from tests.unit.strategies import law

HEAD = {"timestamp": "2026-11-28T08:00:00Z", "level": "info", "logger": "routers.request_id"}
write = console(colours=False)
structlogs = ConsoleRenderer(
    colors=False, pad_event_to=32, exception_formatter=plain_traceback, sort_keys=False
)

a_value = st.one_of(
    st.text(),
    st.text(alphabet="ab =\"'-/é\t\n"),
    st.sampled_from(RowStatus),
    st.none() | st.booleans() | st.integers() | st.floats(),
    st.lists(st.text(), max_size=2),
)
keys = st.dictionaries(st.from_regex("[a-z_]{1,9}", fullmatch=True), a_value, max_size=6).filter(
    lambda drawn: drawn.keys().isdisjoint({*HEAD, "event", "exc_info"})
)


@law
@given(st.text(), st.sampled_from(["info", "warning", "level 15"]), keys)
def test_a_line_is_written_as_the_library_does(event: str, level: str, keys: dict[str, Any]):
    line = HEAD | {"level": level, "event": event} | keys

    assert structlogs(None, "", {**line}) == write(None, "", {**line})


@pytest.mark.parametrize("key", ["exception", "stack"])
def test_what_takes_more_lines_comes_after_the_line(key: str):
    line = HEAD | {"event": "unforeseen error", key: "first\nsecond", "batch_id": "b"}

    written = write(None, "", {**line})

    assert structlogs(None, "", {**line}) == written
    assert str(written).endswith("first\nsecond")
