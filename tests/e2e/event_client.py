"""Server-sent events, read as the HTML standard says (9.2.6), and what a client makes of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream; *data* is its Progress document."""

    kind: str
    id: str
    data: dict[str, Any]


def parse(stream: bytes) -> list[Event]:
    """Return the events of a stream or a part of it; one that is not complete is left out."""
    *blocks, _ = stream.decode().split("\n\n")
    found = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    return [
        Event(fields["event"], fields["id"], json.loads(fields["data"]))
        for fields in found
        if "data" in fields
    ]


def merged(events: Iterable[Event]) -> dict[str, Any]:
    """Return what a client knows after *events*: fields are replaced, and rows by number."""
    view: dict[str, Any] = {}
    rows: dict[int, Any] = {}
    for event in events:
        if event.kind != "rows":
            rows.clear()
        view = dict(event.data)
        rows |= {row["row"]: row for row in event.data["hospitals"]}
    return view | {"hospitals": [rows[number] for number in sorted(rows)]}
