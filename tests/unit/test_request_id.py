"""The id of a request, and the line about it, whatever becomes of the request."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from starlette.types import Message, Receive, Scope, Send

from models.caller import Caller
from routers.request_id import RequestId

App = Callable[[Scope, Receive, Send], Awaitable[None]]


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "routers.request_id")


async def call(
    app: App,
    path: str = "/hospitals/resumable",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    received: tuple[Message, ...] = (),
) -> list[Message]:
    """Call *app* behind the middleware; return what was sent."""
    sent: list[Message] = []
    messages = iter(received)

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"name=Alder",
        "headers": headers,
        "client": ("192.0.2.7", 50000),
    }
    await RequestId(app)(scope, receive, send)
    return sent


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def given_id(sent: list[Message]) -> str:
    [start] = [message for message in sent if message["type"] == "http.response.start"]
    [value] = [value for name, value in start["headers"] if name == b"x-request-id"]
    assert isinstance(value, bytes)
    return value.decode()


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines about requests."""
    told = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [line for line in told if line["event"] == "request"]


@pytest.mark.parametrize("sound", ["a", "7f3.A-b_9", "x" * 128])
async def test_a_sound_id_is_kept(sound: str, caplog: pytest.LogCaptureFixture):
    sent = await call(answering, headers=((b"x-request-id", sound.encode()),))

    assert given_id(sent) == sound
    assert [line["request_id"] for line in lines(caplog)] == [sound]


@pytest.mark.parametrize(
    "unsound",
    [b"", b"x" * 129, b"a b", b"a\nb", b"a\n", b"\x1b[31m", b"a,b", b'a"b', "é".encode(), b"\xff"],
)
async def test_any_other_id_is_replaced(unsound: bytes, caplog: pytest.LogCaptureFixture):
    sent = await call(answering, headers=((b"x-request-id", unsound),))

    assert len(given_id(sent)) == 32
    assert int(given_id(sent), 16)
    assert [line["request_id"] for line in lines(caplog)] == [given_id(sent)]


async def test_requests_without_an_id_get_different_ones():
    assert given_id(await call(answering)) != given_id(await call(answering))


async def test_one_line_says_what_was_asked_and_what_came_of_it(caplog: pytest.LogCaptureFixture):
    await call(answering)

    [line] = lines(caplog)
    assert line["method"] == "GET"
    assert line["path"] == "/hospitals/resumable"
    assert line["status"] == 200
    assert 0 <= line["seconds"] < 60
    assert line["client"] == "192.0.2.7"
    assert "Alder" not in str(line)
    assert "caller" not in line
    assert "client_left" not in line
    assert [record.levelno for record in caplog.records] == [logging.INFO]


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_probes_are_told_at_debug_only(path: str, caplog: pytest.LogCaptureFixture):
    await call(answering, path)

    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


async def test_the_line_names_the_key_of_the_caller(caplog: pytest.LogCaptureFixture):
    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["caller"] = Caller("clinic", sees_all=False)
        await answering({**scope}, receive, send)

    await call(known)

    assert [line["caller"] for line in lines(caplog)] == ["clinic"]


async def test_a_stream_has_its_id_from_the_start_and_its_line_at_the_end(
    caplog: pytest.LogCaptureFixture,
):
    told: list[int] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"event", "more_body": True})
            told.append(len(lines(caplog)))
        await send({"type": "http.response.body", "body": b""})

    sent = await call(stream)

    assert given_id(sent)
    assert sent[0]["type"] == "http.response.start"
    assert told == [0, 0, 0]
    assert [line["status"] for line in lines(caplog)] == [200]


async def test_what_is_unforeseen_is_told_once_and_answered_with_its_id(
    caplog: pytest.LogCaptureFixture,
):
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("unforeseen")

    sent = await call(fails, headers=((b"x-request-id", b"mine"),))

    assert sent[0]["status"] == 500
    assert given_id(sent) == "mine"
    assert dict(sent[0]["headers"])[b"content-type"] == b"application/problem+json"
    assert [line["status"] for line in lines(caplog)] == [500]
    [error] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert isinstance(error.msg, dict)
    assert error.msg["request_id"] == "mine"
    assert error.msg["exc_info"]


async def test_an_answer_that_breaks_off_is_not_begun_again(caplog: pytest.LogCaptureFixture):
    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("unforeseen")

    sent = await call(breaks_off)

    assert [message["type"] for message in sent] == ["http.response.start"]
    assert [line["status"] for line in lines(caplog)] == [200]
    assert logging.ERROR in {record.levelno for record in caplog.records}


async def test_a_client_that_left_before_an_answer_leaves_no_status(
    caplog: pytest.LogCaptureFixture,
):
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await answering(scope, receive, send)

    await call(reads, received=({"type": "http.disconnect"},))

    [line] = lines(caplog)
    assert line["status"] is None
    assert line["client_left"] is True


async def test_a_client_that_left_during_the_answer_is_told_of(caplog: pytest.LogCaptureFixture):
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    await call(stream, received=({"type": "http.disconnect"},))

    [line] = lines(caplog)
    assert (line["status"], line["client_left"]) == (200, True)


async def test_a_client_that_closes_after_its_answer_has_not_left(
    caplog: pytest.LogCaptureFixture,
):
    async def answers_and_listens(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(scope, receive, send)
        await receive()

    await call(answers_and_listens, received=({"type": "http.disconnect"},))

    assert "client_left" not in lines(caplog)[0]


async def test_nothing_bound_in_one_request_is_left_in_the_next_or_after_it():
    seen: list[dict[str, Any]] = []

    async def binds(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(structlog.contextvars.get_contextvars())
        structlog.contextvars.bind_contextvars(batch_id="another's")
        await answering(scope, receive, send)

    ids = [given_id(await call(binds)) for _ in range(2)]

    assert seen == [{"request_id": request_id} for request_id in ids]
    assert structlog.contextvars.get_contextvars() == {}


async def test_a_request_that_begins_in_the_context_of_another_has_nothing_of_it():
    """A server may start a pipelined request while the one before it still sends."""
    seen: list[dict[str, Any]] = []

    async def looks(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(structlog.contextvars.get_contextvars())
        await answering(scope, receive, send)

    with structlog.contextvars.bound_contextvars(batch_id="another's", request_id="another"):
        sent = await call(looks)

    assert seen == [{"request_id": given_id(sent)}]


async def test_what_is_no_request_passes_through():
    passed: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    async def nothing(*_: object) -> Any:
        raise AssertionError

    await RequestId(app)({"type": "lifespan"}, nothing, nothing)

    assert passed == [{"type": "lifespan"}]
