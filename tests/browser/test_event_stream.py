"""The page's reader of `text/event-stream`, on streams that come in pieces."""

from typing import Any

import pytest
from playwright.sync_api import Page

READ = """async ({ bytes, cuts }) => {
    const { eventsOf } = await import("/dashboard/events.js");
    const all = Uint8Array.from(bytes);
    const bounds = [0, ...cuts, all.length];
    const body = new ReadableStream({
        start(controller) {
            bounds.slice(1).forEach((end, i) => controller.enqueue(all.slice(bounds[i], end)));
            controller.close();
        },
    });
    const events = [];
    for await (const event of eventsOf(body)) events.push(event);
    return events;
}"""

STREAM = (
    ": a comment\n\n"
    'id: 7\nevent: rows\ndata: {"name": "Hôpital Sainte-Élodie"}\n\n'
    "data: two\ndata:lines\nunknown: x\nretry\n\n"
    "event: empty\n\n"
    'event: done\nid: 8\ndata: {"a": ": b"}\n\n'
    "data: cut off"
)
EVENTS = [
    {"name": "rows", "id": "7", "data": '{"name": "Hôpital Sainte-Élodie"}'},
    {"name": "message", "id": None, "data": "two\nlines"},
    {"name": "done", "id": "8", "data": '{"a": ": b"}'},
]


def read(page: Page, stream: str, *cuts: int) -> Any:
    return page.evaluate(READ, {"bytes": list(stream.encode()), "cuts": cuts})


@pytest.fixture
def page_open(page: Page) -> Page:
    page.goto("/dashboard")
    return page


def test_events_are_read_wherever_the_stream_is_cut(page_open: Page):
    size = len(STREAM.encode())

    assert read(page_open, STREAM) == EVENTS
    assert read(page_open, STREAM, *range(1, size)) == EVENTS
    for cut in range(1, size, 3):
        assert read(page_open, STREAM, cut) == EVENTS


def test_lines_may_end_as_on_windows(page_open: Page):
    assert read(page_open, STREAM.replace("\n", "\r\n")) == EVENTS
