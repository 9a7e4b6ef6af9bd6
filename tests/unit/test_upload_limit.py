"""What the middleware does about bodies that come slowly, on a virtual clock."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from models.errors import ShuttingDown, UploadStalled, UploadTooSlow
from routers.problem import UploadCutOff
from routers.upload_limit import ORDINARY_BYTES, UploadLimit
from tests.virtual_time import run_virtual

STALL_S = 30.0
TIMEOUT_S = 300.0


class Sender:
    """Sends pieces of a body, each after a pause, then nothing more."""

    def __init__(self, *pieces: tuple[float, bytes, bool]) -> None:
        self._pieces = list(pieces)

    async def receive(self) -> Message:
        if not self._pieces:
            await asyncio.Event().wait()
        pause_s, body, more = self._pieces.pop(0)
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": body, "more_body": more}


class Service:
    def __init__(self) -> None:
        self.stopping = asyncio.Event()

    async def wait_until_stopping(self) -> None:
        await self.stopping.wait()


def serve(
    app: Callable[[Receive], Awaitable[None]],
    *senders: Sender,
    stop_s: float = 1e6,
    version: str = "1.1",
    headers: Sequence[tuple[bytes, bytes]] = ((b"transfer-encoding", b"chunked"),),
    timeout_s: float = TIMEOUT_S,
) -> list[BaseException | None]:
    """Have *app* read the bodies of all *senders* at once; return how that ended for each."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        await app(receive)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    async def main() -> list[Any]:
        service = Service()
        asyncio.get_running_loop().call_later(stop_s, service.stopping.set)
        state = SimpleNamespace(state=SimpleNamespace(service=service))
        scope = {
            "type": "http",
            "http_version": version,
            "headers": headers,
            "path": "/",
            "app": state,
        }
        limit = UploadLimit(asgi, 10_000_000, STALL_S, timeout_s)
        calls = [limit(scope, sender.receive, send) for sender in senders]
        return await asyncio.gather(*calls, return_exceptions=True)

    return run_virtual(main())


async def read_all(receive: Receive) -> None:
    while (await receive())["more_body"]:
        pass


def test_a_stopping_service_takes_no_more_of_senders_that_always_have_more_ready():
    pieces = [(0.0, b"a" * ORDINARY_BYTES * 2, True), *[(0.001, b"a", True)] * 5000]

    ends = serve(read_all, *(Sender(*pieces) for _ in range(5)), stop_s=1.0)

    assert [type(end.error) for end in ends if isinstance(end, UploadCutOff)] == [ShuttingDown] * 5


def test_a_sender_that_falls_silent_is_given_up():
    (end,) = serve(read_all, Sender((STALL_S - 1, b"a", True)))

    assert isinstance(end, UploadCutOff)
    assert isinstance(end.error, UploadStalled)
    assert end.headers == {"Connection": "close"}


def test_a_sender_that_pauses_and_ends_in_time_is_not_given_up():
    assert serve(read_all, Sender(*[(STALL_S - 1, b"a", n < 9) for n in range(10)])) == [None]


def test_a_sender_that_trickles_is_given_up_when_its_time_is_over():
    seconds: list[float] = []

    async def timed(receive: Receive) -> None:
        started_s = asyncio.get_running_loop().time()
        try:
            await read_all(receive)
        finally:
            seconds.append(asyncio.get_running_loop().time() - started_s)

    (end,) = serve(timed, Sender(*[(STALL_S - 1, b"a", True)] * 100))

    assert isinstance(end, UploadCutOff)
    assert isinstance(end.error, UploadTooSlow)
    assert end.headers == {"Connection": "close"}
    assert seconds == [pytest.approx(TIMEOUT_S)]


def test_rests_and_turns_are_not_counted_as_time_that_a_sender_took():
    """Each of these senders always has the next piece ready, but all together take too long."""
    pieces = [(0.0, b"a" * ORDINARY_BYTES, n < 99) for n in range(100)]
    senders = [Sender(*pieces) for _ in range(20)]  # 6 s of rests

    ends = serve(read_all, *senders, timeout_s=1.0)

    assert ends == [None] * len(senders)


def test_a_sender_is_given_up_as_soon_as_the_service_stops():
    ended_s: list[float] = []

    async def timed(receive: Receive) -> None:
        started_s = asyncio.get_running_loop().time()
        try:
            await read_all(receive)
        finally:
            ended_s.append(asyncio.get_running_loop().time() - started_s)

    (end,) = serve(timed, Sender((5.0, b"a", True)), stop_s=10.0)

    assert isinstance(end, UploadCutOff)
    assert isinstance(end.error, ShuttingDown)
    assert ended_s == [pytest.approx(10.0)]


def test_after_the_body_a_client_may_be_silent_for_as_long_as_it_likes():
    """An endpoint that waits for its client to go away is no stalled upload."""
    silent_s = 100 * STALL_S

    async def read_on(receive: Receive) -> None:
        await read_all(receive)
        await receive()

    assert serve(read_on, Sender((0.0, b"a", False), (silent_s, b"", False))) == [None]


async def test_of_a_request_without_a_body_it_can_be_asked_whether_its_client_is_gone():
    """That is asked without waiting, so nothing may stand between."""
    told: list[bool] = []
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        told.extend([await request.is_disconnected() for _ in range(3)])
        messages.append({"type": "http.disconnect"})
        told.append(await request.is_disconnected())

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope: Scope = {"type": "http", "http_version": "1.1", "headers": [], "path": "/"}
    await UploadLimit(app, 10_000_000, STALL_S, TIMEOUT_S)(scope, receive, send)

    assert told == [False, False, False, True]


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("1.1", [(b"content-length", b"5")]),
        ("1.1", [(b"transfer-encoding", b"chunked")]),
        ("2", []),
    ],
)
def test_every_body_is_bounded_however_it_is_announced(
    version: str, headers: list[tuple[bytes, bytes]]
):
    (end,) = serve(read_all, Sender((STALL_S + 1, b"a", False)), version=version, headers=headers)

    assert isinstance(end, UploadCutOff)


def test_only_large_bodies_rest():
    seconds: list[float] = []

    async def timed(receive: Receive) -> None:
        started_s = asyncio.get_running_loop().time()
        await read_all(receive)
        seconds.append(asyncio.get_running_loop().time() - started_s)

    serve(timed, Sender((0.0, b"a" * ORDINARY_BYTES, False)))
    large = [Sender(*[(0.0, b"a" * ORDINARY_BYTES, n < 99) for n in range(100)]) for _ in range(3)]
    serve(timed, *large)

    ordinary, *others = seconds
    assert ordinary == 0
    assert max(others) > 2.5 * 99 * 0.003  # in turns: three together take three times as long
