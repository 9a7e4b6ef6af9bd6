"""A service that does what a test wrote down, one request after the other: faults to the byte."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from scripts.processes import free_port

Json = dict[str, Any]
Send = Callable[[Any], Awaitable[None]]
Act = Callable[[Send], Awaitable[None]]

BATCH_ID = "0b6a9c1e-6a3f-4c5e-9d56-0f0f6f1c2a11"


class Dropped(Exception):
    """The connection breaks off here."""


@dataclass
class Scripted:
    """An ASGI app that plays its acts in order; what was asked is kept.

    Attributes:
        acts: What is left of them.
        asked: Method, path and `Last-Event-ID` of each request.
        headers: Of each request, by their names in lower case.
    """

    acts: list[Act]
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        headers = dict(scope["headers"])
        last_id = headers.get(b"last-event-id")
        self.headers.append({name.decode(): value.decode() for name, value in headers.items()})
        self.asked.append((scope["method"], scope["path"], last_id and last_id.decode()))
        while (await receive()).get("more_body"):
            pass
        await self.acts.pop(0)(send)


@contextmanager
def served(*acts: Act, port: int | None = None) -> Iterator[Scripted]:
    """Serve *acts* on a port of this machine."""
    app = Scripted(list(acts))
    with in_a_thread(app, port or free_port()) as app.url:
        yield app


@contextmanager
def in_a_thread(app: Any, port: int) -> Iterator[str]:
    """Serve an ASGI app on a port of this machine; the value is its address."""
    config = uvicorn.Config(
        app, port=port, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)  # noqa: TID251 - a test's own thread
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def answers(
    document: Any, status: int = 200, kind: str = "application/json", **headers: str
) -> Act:
    """Answer with a document, or with text as it is; `retry_after` is the header Retry-After."""
    body = document if isinstance(document, str) else json.dumps(document)
    fields = {"content-type": kind, "content-length": str(len(body))} | headers

    async def act(send: Send) -> None:
        headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body.encode()})

    return act


def streams(*chunks: str, then: str = "ends") -> Act:
    """Stream *chunks* of an event stream; then the stream `ends`, `breaks`, or is `silent`."""

    async def act(send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
        if then == "silent":
            await asyncio.sleep(3600)
        if then == "breaks":
            raise Dropped
        await send({"type": "http.response.body", "body": b""})

    return act


def event(kind: str, document: Json, event_id: str) -> str:
    return f"event: {kind}\ndata: {json.dumps(document)}\nid: {event_id}\n\n"


async def drops(send: Send) -> None:
    """Break the connection off before the first byte."""
    raise Dropped


async def nothing_new(send: Send) -> None:
    """Answer 204."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def refuses(status: int, detail: str = "Not now.", **headers: str) -> Act:
    """Answer with a problem document of the service."""
    problem = {"type": "about:blank", "title": "No", "status": status, "detail": detail}
    return answers(problem, status, "application/problem+json", **headers)


def gone() -> Act:
    """Answer as for a batch that was abandoned."""
    problem = {
        "type": "urn:hospital-bulk:problem:batch-not-found",
        "title": "No such batch",
        "status": 404,
        "detail": "There is no batch of that id: check it, or it was cleaned up or abandoned.",
        "instance": "/hospitals/progress",
    }
    return answers(problem, 404, "application/problem+json")


def progress(status: str = "processing", *rows: Json, **fields: Any) -> Json:
    """Return a progress document of two rows, with *rows* as its list."""
    created = sum(row["status"].startswith("created") for row in rows)
    return {
        "batch_id": BATCH_ID,
        "file_name": "two.csv",
        "status": status,
        "failure_reason": None,
        "total_hospitals": 2,
        "processed_hospitals": created,
        "failed_hospitals": 0,
        "progress_percentage": created * 50.0,
        "processing_time_seconds": 1.0,
        "current_step": status,
        "eta_seconds": None,
        "batch_activated": status == "completed",
        "is_completed": status in ("completed", "resumable", "failed"),
        "resume_count": 0,
        "created_at": "2026-11-24T08:00:00Z",
        "updated_at": "2026-11-24T08:00:02Z",
        "hospitals": list(rows),
    } | fields


def row(number: int, status: str = "pending", **fields: Any) -> Json:
    return {
        "row": number,
        "name": f"Hospital {number}",
        "status": status,
        "hospital_id": None if status == "pending" else 100 + number,
        "error_message": None,
        "processing_time": None if status == "pending" else 5.0,
        "to_correct": None,
    } | fields
