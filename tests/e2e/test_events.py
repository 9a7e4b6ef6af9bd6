"""Watching batches over real sockets: streams that end as they should, whoever breaks off."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from config import Settings
from main import create_app
from scripts.processes import Server, free_port, start_directory
from services.uploads import Upload
from tests.e2e.conftest import (
    HANGING,
    INSTANT,
    QUICK,
    World,
    both_stores,
    http,
    progress,
    upload,
    wait_until,
)
from tests.e2e.event_client import Event, merged, parse
from tests.e2e.test_api_fuzz import UNFORESEEN
from tests.harness import csv_file

ASYNC = {"Prefer": "respond-async"}
SLOW_CREATES = {"endpoint": "create", "kind": "slow", "seconds": 60}
LARGE = 200
# A document of it has 80 KB: more than the server takes before it waits for the client (64 KiB).
LONG_FILE = "name,address\n" + "".join(f"{n} {'N' * 240},1 Main Street\n" for n in range(LARGE))


class Stream:
    """One open stream, read by a thread of its own until it ends; *pieces* are timed."""

    def __init__(self, service: Server, batch_id: str, last_event_id: str | None = None) -> None:
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        self._request = ("GET", events_url(service, batch_id), headers)
        self._received = b""
        self.at_s: list[float] = []
        self.status = 0
        self.was_cut = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.status)

    @property
    def events(self) -> list[Event]:
        return parse(self._received)

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> list[Event]:
        """Return all events when the stream has ended."""
        wait_until(lambda: self.has_ended)
        return self.events

    def _read(self) -> None:
        method, url, headers = self._request
        try:
            with httpx.stream(method, url, headers=headers, timeout=60) as answer:
                self.status = answer.status_code
                for piece in answer.iter_raw():
                    self.at_s += [time.monotonic()] * piece.count(b"\n\n")
                    self._received += piece
        except httpx.TransportError:
            self.was_cut = True


def events_url(service: Server, batch_id: str) -> str:
    return f"{service.url}/hospitals/progress/{batch_id}/events"


def accepted(service: Server, rows: int) -> str:
    """Upload a file and return its batch's id at once."""
    batch_id: str = upload(service, csv_file(rows), **ASYNC).json()["batch_id"]
    return batch_id


@contextmanager
def deaf_client(service: Server, batch_id: str) -> Iterator[socket.socket]:
    """Open a stream with the smallest buffers, and read nothing of it."""
    address = httpx.URL(service.url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.connect((address.host, address.port))
        path = httpx.URL(events_url(service, batch_id)).path
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


def connections(service: Server) -> int:
    """Return how many clients are connected."""
    port = httpx.URL(service.url).port
    connected = psutil.Process(service.process.pid).net_connections("tcp")
    return sum(c.status == psutil.CONN_ESTABLISHED and c.laddr.port == port for c in connected)


def assert_nothing_ugly(service: Server) -> None:
    assert not UNFORESEEN.findall(service.output()), service.output()
    warnings = re.findall(r"^\S+ \[warning.*", service.output(), re.M)
    assert [line for line in warnings if "open: anybody may call" not in line] == []


@both_stores
def test_a_whole_upload_is_told_from_the_first_state_to_the_last(world: World):
    service = world.service(max_concurrent_requests=5)
    batch_id = accepted(service, 20)
    stream = Stream(service, batch_id)

    first, *changes, done = stream.wait()

    assert first.kind == "progress"
    assert len(first.data["hospitals"]) == 20
    assert {event.kind for event in changes} == {"rows"}
    assert done.kind == "done"
    assert done.data == progress(service, batch_id)
    assert done.data["status"] == "completed"
    assert merged([first, *changes]) == done.data
    statuses = [
        row["status"] for event in changes for row in event.data["hospitals"] if row["row"] == 20
    ]
    assert statuses[0] == "processing"
    assert statuses[-1] == "created_and_activated"
    counts = [event.data["processed_hospitals"] for event in stream.events]
    assert counts == sorted(counts)
    assert counts[-1] == 20
    assert_nothing_ugly(service)


@both_stores
def test_the_answer_is_one_that_proxies_pass_on_as_it_comes(world: World):
    service = world.service()
    batch_id = upload(service, csv_file(1)).json()["batch_id"]

    answer = http.get(events_url(service, batch_id))

    assert answer.headers["Content-Type"].partition(";")[0] == "text/event-stream"
    assert answer.headers["Cache-Control"] in ("no-cache", "no-store")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert [event.kind for event in parse(answer.content)] == ["progress", "done"]


@pytest.mark.parametrize("batch_id", ["0b6a9c1e-6a3f-4c5e-9d56-0f0f6f1c2a11", "no-id"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_batch_that_does_not_exist_is_a_problem_and_no_stream(
    world: World, batch_id: str, method: str
):
    service = world.service()

    answer = http.request(method, events_url(service, batch_id))

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_changes_are_told_before_the_next_poll_can_see_them(world: World):
    """Polling every 0.1 s sees nothing on average earlier than the stream tells it."""
    service = world.service(max_concurrent_requests=1)
    batch_id = accepted(service, 8)
    stream = Stream(service, batch_id)
    polled_s: dict[int, float] = {}
    while not stream.has_ended:
        polled_s.setdefault(progress(service, batch_id)["processed_hospitals"], time.monotonic())
        time.sleep(0.1)  # noqa: TID251 - the pause of the poller

    told_s: dict[int, float] = {}
    for event, at_s in zip(stream.events, stream.at_s, strict=True):
        told_s.setdefault(event.data["processed_hospitals"], at_s)

    late_s = sorted(told_s[count] - polled_s[count] for count in range(1, 8))
    assert late_s[len(late_s) // 2] < 0.05


@both_stores
def test_who_reconnects_in_the_middle_begins_with_everything(world: World):
    service = world.service(max_concurrent_requests=5)
    batch_id = accepted(service, 20)
    first = Stream(service, batch_id)
    wait_until(lambda: len(first.events) > 2)

    again = Stream(service, batch_id, last_event_id=first.events[1].id)

    assert again.wait()[0].kind == "progress"
    assert merged(again.events) == merged(first.wait()) == progress(service, batch_id)


@both_stores
def test_after_done_there_is_nothing_more_until_the_batch_changes(world: World):
    service = world.service()
    world.fault({"endpoint": "create", "kind": "gateway", "times": 1})
    batch_id = upload(service, csv_file(3)).json()["batch_id"]
    stopped = Stream(service, batch_id).wait()[-1]
    assert (stopped.kind, stopped.data["status"]) == ("done", "resumable")
    headers = {"Last-Event-ID": stopped.id}

    nothing = http.get(events_url(service, batch_id), headers=headers)
    anything = http.get(events_url(service, batch_id), headers={"Last-Event-ID": "of another"})
    http.post(f"{service.url}/hospitals/resume/{batch_id}").raise_for_status()
    resumed = Stream(service, batch_id, stopped.id).wait()

    assert (nothing.status_code, nothing.content) == (204, b"")
    assert [event.kind for event in parse(anything.content)] == ["progress", "done"]
    assert resumed[-1].kind == "done"
    assert resumed[-1].data["status"] == "completed"
    again = http.get(events_url(service, batch_id), headers={"Last-Event-ID": resumed[-1].id})
    assert again.status_code == 204


def test_ids_are_good_after_a_crash(world: World):
    service = world.service()
    done_id = upload(service, csv_file(2)).json()["batch_id"]
    done = Stream(service, done_id).wait()[-1]
    world.fault({"endpoint": "create", "kind": "hang", "times": 1})
    running_id = accepted(service, 5)
    broken = Stream(service, running_id)
    wait_until(lambda: len(broken.events) > 1)

    service.kill()
    wait_until(lambda: broken.has_ended)
    again = world.service()

    nothing = http.get(events_url(again, done_id), headers={"Last-Event-ID": done.id})
    resumed = Stream(again, running_id, broken.events[-1].id).wait()
    assert broken.was_cut
    assert nothing.status_code == 204
    assert resumed[0].kind == "progress"
    assert merged(resumed) == progress(again, running_id)
    assert resumed[-1].data["status"] == "completed"


def test_head_is_answered_at_once_while_the_stream_would_go_on(world: World):
    service = world.service(http_timeout_seconds=60)
    world.fault(SLOW_CREATES)
    batch_id = accepted(service, 2)

    with httpx.Client(timeout=5) as client:
        head = client.head(events_url(service, batch_id))
        after = client.get(f"{service.url}/health")  # on the same connection

    assert after.status_code == head.status_code == 200
    assert head.headers["Content-Type"].partition(";")[0] == "text/event-stream"
    service.stop()
    assert_nothing_ugly(service)


def test_head_says_204_where_get_does(world: World):
    service = world.service()
    batch_id = upload(service, csv_file(1)).json()["batch_id"]
    done = Stream(service, batch_id).wait()[-1]

    head = http.head(events_url(service, batch_id), headers={"Last-Event-ID": done.id})

    assert head.status_code == 204


def test_clients_that_go_away_leave_nothing_behind(world: World):
    service = world.service()
    world.fault(SLOW_CREATES)
    batch_id = accepted(service, 2)
    wait_until(lambda: progress(service, batch_id)["current_step"] == "creating hospitals")
    before = connections(service)

    for _ in range(20):
        with httpx.stream("GET", events_url(service, batch_id)) as answer:
            next(answer.iter_raw())

    wait_until(lambda: connections(service) <= before)
    assert_nothing_ugly(service)


async def test_a_client_that_goes_away_is_noticed_while_nothing_changes(
    instant_directory: Server, tmp_path: Path
):
    """By the whole application, as a server calls it: nothing before the stream hides it."""
    settings = INSTANT | {"batch_storage_dir": tmp_path, "shutdown_grace_seconds": 0}
    url = instant_directory.url
    app = create_app(Settings(_env_file=None, hospital_api_base_url=url, **settings))
    gone = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> Any:
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app):
        file = BytesIO(f'name,address\n{HANGING},"12 Alder Lane, Leeds"\n'.encode())
        batch = (await app.state.service.submit(Upload(file))).batch
        path = f"/hospitals/progress/{batch.id}/events"
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
        }
        scope |= {"headers": [], "query_string": b"", "root_path": "", "scheme": "http"}
        stream = asyncio.create_task(app(scope, receive, send))
        async with asyncio.timeout(10):
            while len(sent) < 2:  # noqa: ASYNC110 - the other end has no event for it
                await asyncio.sleep(0.01)
            gone.set()
            await stream

    assert sent[0]["status"] == 200


def test_open_streams_end_at_once_when_the_service_is_told_to_stop(world: World):
    """Also those of a batch whose rows under way keep the process for a while."""
    service = world.service()
    world.fault(SLOW_CREATES)
    batch_id = accepted(service, 2)
    wait_until(world.creates_under_way)
    with ThreadPoolExecutor(50) as pool:
        streams = list(pool.map(lambda _: Stream(service, batch_id), range(50)))

    service.process.terminate()
    wait_until(lambda: all(stream.has_ended for stream in streams), seconds=1.5)

    assert service.process.poll() is None
    assert not any(stream.was_cut for stream in streams), "an end in good order, no broken line"
    assert not any(event.kind == "done" for stream in streams for event in stream.events)
    assert service.stop() == -15  # as uvicorn ends without streams
    assert_nothing_ugly(service)


def test_a_stream_that_is_open_does_not_delay_the_end_of_a_process_without_work(world: World):
    service = world.service(shutdown_grace_seconds=20)
    batch_id = stays_abandoning(world, service)
    streams = [Stream(service, batch_id) for _ in range(5)]

    assert service.stop(timeout_s=5) == -15

    assert not any(stream.was_cut for stream in streams)
    assert_nothing_ugly(service)


def stays_abandoning(world: World, service: Server) -> str:
    """Return a batch that has not ended, though nobody works on it."""
    world.fault({"endpoint": "create", "kind": "gateway", "times": 1, "skip": 1})
    batch_id: str = upload(service, csv_file(2)).json()["batch_id"]
    world.fault({"endpoint": "delete_batch", "kind": "gateway", "status": 403})
    http.delete(f"{service.url}/hospitals/batch/{batch_id}/abandon")
    assert progress(service, batch_id)["status"] == "abandoning"
    return batch_id


@pytest.fixture
def without_buffers(tmp_path: Path) -> Iterator[Server]:
    """A service of which nothing is kept that its clients do not read; it takes large files."""
    instant = ("--create-seconds", "0.05", "--create-limit", "0", "--lookup-limit", "0")
    directory = start_directory(tmp_path, *instant, "--batch-limit", "0")
    port = free_port()
    settings = INSTANT | {
        "hospital_api_base_url": directory.url,
        "batch_storage_dir": tmp_path / "batch_storage",
        "max_csv_size": LARGE,
        "directory_batch_limit": LARGE,
    }
    environment = {name.upper(): str(value) for name, value in settings.items()}
    arguments = ["tests.e2e.small_buffers", str(port)]
    service = Server(arguments, port, "/health", environment, tmp_path / "service.log")
    yield service
    service.kill()
    directory.kill()


def test_a_client_that_reads_nothing_holds_up_neither_the_batch_nor_others(
    without_buffers: Server,
):
    service = without_buffers
    batch_id = upload(service, LONG_FILE, **ASYNC).json()["batch_id"]

    with deaf_client(service, batch_id), deaf_client(service, batch_id) as late:
        ended = Stream(service, batch_id).wait()
        assert ended[-1].data["status"] == "completed"
        assert len(ended) > 5

        told = read_to_the_end(late)

    assert parse(told)[-1] == ended[-1]
    assert merged(parse(told)) == merged(ended)
    kinds = [event.kind for event in parse(told)]
    assert kinds[-2:] == ["progress", "done"], "what it slept through is not kept for it"
    assert len(kinds) < len(ended)
    assert_nothing_ugly(service)


def test_a_client_that_reads_nothing_does_not_keep_the_service_from_stopping(
    without_buffers: Server,
):
    service = without_buffers
    batch_id = upload(service, LONG_FILE, **ASYNC).json()["batch_id"]

    with deaf_client(service, batch_id):
        Stream(service, batch_id).wait()
        status = service.stop(timeout_s=QUICK["shutdown_grace_seconds"] + 5)

    assert status == -15
    assert_nothing_ugly(service)


def read_to_the_end(client: socket.socket) -> bytes:
    """Return the body of an answer in chunks, which ends with an empty one."""
    client.settimeout(20)
    answer = b""
    while not answer.endswith(b"\r\n0\r\n\r\n"):
        answer += client.recv(65536)
    chunks = answer.partition(b"\r\n\r\n")[2]
    return re.sub(rb"(?:^|\r\n)[0-9a-f]+\r\n", b"", chunks)
