"""Clients that send slowly, in part, or nothing: by raw sockets, against the real server."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.processes import Server, free_port, start_service
from tests.e2e.conftest import INSTANT, http, upload, wait_until
from tests.e2e.test_events import connections

HEAD_S = 1.5
BODY_S = 1.5
PACE_S = 0.1
FORM = (
    b"POST /hospitals/validate HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; "
    b"boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
)
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module", params=["httptools", "h11"])
def service(
    request: pytest.FixtureRequest,
    instant_directory: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The service on each of uvicorn's two parsers, which it may be started with."""
    settings: dict[str, Any] = INSTANT | {
        "header_timeout_seconds": HEAD_S,
        "body_stall_seconds": 10,
        "body_timeout_seconds": BODY_S,
        "uvicorn_http": request.param,
    }
    folder = tmp_path_factory.mktemp("slow")
    service = start_service(folder, instant_directory.url, **settings)
    yield service
    service.kill()


@contextlib.contextmanager
def connected(service: Server) -> Iterator[socket.socket]:
    port = int(service.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        yield sock


def trickle(sock: socket.socket, piece: bytes, until: Callable[[], bool]) -> None:
    """Send *piece* again and again; a broken connection ends it too."""
    with contextlib.suppress(ConnectionError):
        while not until():
            sock.sendall(piece)
            time.sleep(PACE_S)  # noqa: TID251 - a sender's pace


def has_ended(sock: socket.socket) -> bool:
    """Return whether the other side has closed; nothing was sent."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        sock.settimeout(30)


def answer(sock: socket.socket) -> bytes:
    """Return one answer, without the body if that has no length; nothing if it is closed."""
    received = b""
    while not _is_whole(received):
        try:
            piece = sock.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        received += piece
    return received


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(end) and (length is None or len(body) >= int(length[1]))


@pytest.mark.parametrize("head", [b"", b"GET /health HTTP/1.1\r\nX: y", b"GE"])
def test_who_does_not_complete_the_head_is_closed(service: Server, head: bytes):
    started = time.monotonic()
    with connected(service) as sock:
        sock.sendall(head)
        assert answer(sock) == b""

    assert HEAD_S <= time.monotonic() - started < HEAD_S + 5


@pytest.mark.parametrize("piece", [b"a: b\r\n" * 1000, b"x" * 5000])
def test_a_head_without_end_is_refused_before_it_costs_memory(service: Server, piece: bytes):
    before = psutil.Process(service.process.pid).memory_info().rss
    with connected(service) as sock:
        sent = 0
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\na: ")
            while sent < 20_000_000:
                sock.sendall(piece)
                sent += len(piece)
        assert answer(sock)[9:12] in (b"431", b"400", b"")

    assert sent < 10_000_000
    assert psutil.Process(service.process.pid).memory_info().rss < before + 20_000_000


def test_a_long_head_that_is_not_too_long_is_taken(service: Server):
    with connected(service) as sock:
        head = b"GET /health HTTP/1.1\r\nHost: x\r\na: " + b"x" * 10_000
        for n in range(0, len(head), 1000):
            sock.sendall(head[n : n + 1000])
        sock.sendall(b"\r\n\r\n" + GET)
        assert answer(sock).startswith(b"HTTP/1.1 200")


def test_who_trickles_the_head_is_closed(service: Server):
    started = time.monotonic()
    with connected(service) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        trickle(sock, b"X: y\r\n", lambda: has_ended(sock) or time.monotonic() > started + 20)

    assert HEAD_S <= time.monotonic() - started < HEAD_S + 5


def test_the_head_of_a_further_request_is_waited_for_no_longer(service: Server):
    """uvicorn's own timer of idle connections ends with the first byte."""
    with connected(service) as sock:
        for _ in range(2):
            sock.sendall(GET)
            assert answer(sock).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        sock.sendall(b"GET /health HT")
        wait_until(lambda: has_ended(sock), 20)

    assert HEAD_S <= time.monotonic() - started < HEAD_S + 5


def test_a_client_that_asks_again_and_again_is_never_closed(service: Server):
    """Between two looks it is always the head of another request that is awaited."""
    with connected(service) as sock:
        deadline = time.monotonic() + 3 * HEAD_S
        while time.monotonic() < deadline:
            sock.sendall(GET[:20])
            time.sleep(PACE_S)  # noqa: TID251 - a sender's pace
            sock.sendall(GET[20:])
            assert answer(sock).startswith(b"HTTP/1.1 200")


def test_a_pipelined_request_is_answered(service: Server):
    with connected(service) as sock:
        sock.sendall(GET * 3)
        received = b""
        while received.count(b'"healthy"') < 3:
            piece = sock.recv(65536)
            assert piece
            received += piece


def test_a_request_under_way_is_not_cut_off(service: Server):
    """Its file hangs in the directory for longer than any head may take."""
    with connected(service) as sock, connected(service) as stream:
        batch = upload(
            service, 'name,address\nHanging Hospital,"12 Alder Lane"\n', Prefer="respond-async"
        ).json()["batch_id"]
        path = f"/hospitals/progress/{batch}/events".encode()
        stream.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer(stream).startswith(b"HTTP/1.1 200")
        form = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.csv"\r\n\r\n'
            b'name,address\nHanging Hospital,"13 Alder Lane"\n\r\n--b--\r\n'
        )
        sock.sendall(
            b"POST /hospitals/bulk HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; "
            b"boundary=b\r\nContent-Length: %d\r\n\r\n" % len(form) + form
        )
        deadline = time.monotonic() + 3 * HEAD_S
        while time.monotonic() < deadline:
            assert not has_ended(sock)
            assert not has_ended(stream)
            time.sleep(PACE_S)  # noqa: TID251 - that nothing happens takes its time


def test_an_answer_that_is_read_slowly_is_read_to_its_end(service: Server):
    """Although the head of a further request is begun meanwhile, and never completed."""
    path = b"/docs/swagger-ui-bundle.js"
    size = len(http.get(service.url + path.decode()).content)
    with socket.socket() as sock:
        sock.settimeout(30)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        received = sock.recv(1)
        sock.sendall(b"GET /he")
        deadline = time.monotonic() + 3 * HEAD_S
        while time.monotonic() < deadline:
            received += sock.recv(4096)
            time.sleep(0.02)  # noqa: TID251 - a reader's pace
        while len(received.partition(b"\r\n\r\n")[2]) < size:
            piece = sock.recv(65536)
            assert piece
            received += piece


def test_a_client_that_takes_nothing_of_its_answer_is_closed(
    instant_directory: Server, tmp_path: Path
):
    """And one that takes a little now and then is not."""
    port = free_port()
    environment = {
        "HOSPITAL_API_BASE_URL": instant_directory.url,
        "BATCH_STORAGE_DIR": str(tmp_path / "batch_storage"),
        "BODY_TIMEOUT_SECONDS": str(BODY_S),
    }
    arguments = ["tests.e2e.small_buffers", str(port)]  # else the system takes it for the client
    service = Server(arguments, port, "/health", environment, tmp_path / "service.log")
    path = "/docs/swagger-ui-bundle.js"
    size = len(http.get(service.url + path).content)
    deaf, slow = (small_reader(service, path) for _ in range(2))
    try:
        with deaf, slow:
            taken = 0

            def only_the_slow_one_is_left() -> bool:
                nonlocal taken
                taken += len(slow.recv(4096))
                return connections(service) == 1

            wait_until(only_the_slow_one_is_left)
            while taken <= size and (piece := slow.recv(65536)):
                taken += len(piece)

            assert taken > size
            assert len(answer(deaf)) < size
    finally:
        service.kill()


def small_reader(service: Server, path: str) -> socket.socket:
    """Ask for *path* on a connection that holds little of what is not read."""
    sock = socket.socket()
    sock.settimeout(30)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return sock


def test_a_body_that_trickles_is_refused_in_time(service: Server):
    started = time.monotonic()
    with connected(service) as sock:
        sock.sendall(FORM + b"1a\r\n--b\r\nContent-Disposition: \r\n")
        seen = b""

        def answered() -> bool:
            nonlocal seen
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                seen += sock.recv(65536)
            sock.settimeout(30)
            return bool(seen) or time.monotonic() > started + 20

        trickle(sock, b"1\r\nx\r\n", answered)
        seen += answer(sock)

    assert seen.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in seen.lower()
    assert b"upload-too-slow" in seen
    assert BODY_S <= time.monotonic() - started < BODY_S + 5


def test_who_goes_on_sending_after_the_answer_is_closed(service: Server):
    """The answer came before the body, which nobody reads."""
    with connected(service) as sock:
        sock.sendall(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert answer(sock).startswith(b"HTTP/1.1 404")
        started = time.monotonic()
        trickle(sock, b"x", lambda: has_ended(sock) or time.monotonic() > started + 20)

    assert time.monotonic() - started < HEAD_S + 5


def test_many_idle_connections_are_closed_and_meanwhile_others_are_served(service: Server):
    before = connections(service)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connected(service))
        wait_until(lambda: connections(service) >= before + 200)
        assert http.get(f"{service.url}/health").status_code == 200
        wait_until(lambda: connections(service) <= before + 1)
