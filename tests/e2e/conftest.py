"""Real processes for end-to-end tests: the service on uvicorn, the local directory."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import cycle
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import pytest

from config import Settings
from main import create_app
from scripts.postgres import PostgresServer
from scripts.processes import Process, Server, Worker, start_directory, start_service, start_worker
from services.storage.schema import migrate
from tests.contract import Contract
from tests.harness import csv_file

# The real proportions, twenty times as fast: a create 0.25 s, a window 3 s, settling 0.75 s.
QUICK_DIRECTORY = ("--create-seconds", "0.25", "--period", "3")
QUICK: dict[str, float] = {
    "rate_limit_period_seconds": 3,
    "rate_limit_margin_seconds": 0.1,
    "settle_seconds": 0.75,
    "wake_timeout_seconds": 4.5,
    "shutdown_grace_seconds": 2,
    "http_timeout_seconds": 2,
    "max_requests_per_second": 0,
}

# For a directory without limits, and files that are not sent in parts.
UNPACED: dict[str, Any] = {
    "create_rate_limit": 0,
    "max_csv_size": 100,
    "directory_batch_limit": 100,
}
ASYNC = {"Prefer": "respond-async"}
T = TypeVar("T")

# The directory that is instant goes by the names of hospitals.
REFUSED, CUT_OFF, HANGING = "Refused Hospital", "Cut Off Hospital", "Hanging Hospital"
BY_NAME: list[dict[str, Any]] = [
    {"endpoint": "create", "kind": "reject", "name": REFUSED},
    {"endpoint": "create", "kind": "gateway", "name": CUT_OFF},
    {"endpoint": "create", "kind": "hang", "name": HANGING},
]
INSTANT: dict[str, Any] = QUICK | {
    "create_rate_limit": 0,
    "settle_seconds": 0.05,
    "http_timeout_seconds": 3600,  # what hangs, runs
}


@cache
def _contract() -> Contract:
    keys = "north:the-secret-of-north"  # with keys the document has everything
    return Contract(create_app(Settings(_env_file=None, api_keys=keys)).openapi())


def _is_as_documented(answer: httpx.Response) -> None:
    """Check every answer of the service that any test gets; the directory's have other paths."""
    method, path = answer.request.method, answer.request.url.path
    if _contract().operation(method, path) is not None:
        kind = answer.headers.get("Content-Type", "")
        body = b"" if kind.startswith("text/event-stream") else answer.read()
        _contract().check(method, path, answer.status_code, kind, body)


# One client for all: each new one would read all certificates again.
http = httpx.Client(timeout=60, event_hooks={"response": [_is_as_documented]})

MIGRATED = "migrated"  # the database that others are copies of
STORES = ("files", "database")
# For tests of what users see: it is the same wherever batches are kept, and whichever process of
# several is asked.
both_stores = pytest.mark.parametrize("world", STORES, indirect=True)


class Pair(Server):
    """Two services on one database: each request goes to the other one in turn."""

    def __init__(self, one: Server, other: Server) -> None:
        self._both = (one, other)
        self._turns = cycle(self._both)

    @property
    def url(self) -> str:
        return next(self._turns).url

    def output(self) -> str:
        return "".join(service.output() for service in self._both)

    def kill(self) -> int:
        return max(service.kill() for service in self._both)


def start_on(store: str | None, folder: Path, directory_url: str, **settings: Any) -> Server:
    """Start a service on a folder of its own, or two on the database of the URL *store*."""
    if store is None:
        return start_service(folder, directory_url, **settings)
    settings["database_url"] = store
    started: list[Server] = []

    def start() -> None:
        started.append(start_service(folder, directory_url, **settings))

    try:
        at_once(start, start)
    except BaseException:
        for service in started:
            service.kill()
        raise
    return Pair(*started)


class World:
    """One local directory, and services that come and go.

    Args:
        folder: For what they leave.
        directory: The directory.
        database: The URL of the database that the services share; None: they keep files.
    """

    def __init__(self, folder: Path, directory: Server, database: str | None = None) -> None:
        self.folder = folder
        self.directory = directory
        self.database = database
        self._services: list[Process] = []
        http.delete(f"{directory.url}/_directory/faults")
        http.post(f"{directory.url}/_directory/restart", json={})

    def service(self, **settings: Any) -> Server:
        """Start a service on the storage that all of this world's services share."""
        settings = QUICK | settings
        service = start_on(self.database, self.folder, self.directory.url, **settings)
        self._services.append(service)
        return service

    def web(self, **settings: Any) -> Server:
        """Start one process on the database that serves HTTP; it runs no batches by default."""
        settings = QUICK | {"run_batches": "false", "database_url": self.database} | settings
        service = start_service(self.folder, self.directory.url, **settings)
        self._services.append(service)
        return service

    def worker(self, **settings: Any) -> Worker:
        """Start a process on the database that only runs batches."""
        settings = QUICK | {"database_url": self.database} | settings
        worker = start_worker(self.folder, self.directory.url, **settings)
        self._services.append(worker)
        return worker

    def fault(self, *rules: dict[str, Any]) -> None:
        """Have the directory misbehave, and in no other way."""
        answer = http.put(f"{self.directory.url}/_directory/faults", json=list(rules))
        answer.raise_for_status()

    def hospitals(self, batch_id: str) -> list[dict[str, Any]]:
        """Return what the directory holds of a batch."""
        held = http.get(f"{self.directory.url}/_directory/hospitals").json()
        return [hospital for hospital in held if hospital["creation_batch_id"] == batch_id]

    def creates_under_way(self) -> int:
        """Return how many creates the directory is working on."""
        stats = http.get(f"{self.directory.url}/_directory/stats").json()
        return int(stats["creates_in_flight"])

    def restart_directory(self) -> None:
        """Kill the directory's process and start another on its port: it forgets everything."""
        port = int(self.directory.url.rpartition(":")[2])
        self.directory.kill()
        self.directory = start_directory(self.folder, *QUICK_DIRECTORY, port=port)

    def end(self) -> None:
        for server in self._services:
            server.kill()


@pytest.fixture(scope="session", autouse=True)
def closed_client() -> Iterator[None]:
    yield
    http.close()


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """The directory that tests share, for as long as none of them kills it."""
    directories = [start_directory(tmp_path_factory.mktemp("directory"), *QUICK_DIRECTORY)]
    yield directories
    for directory in directories:
        directory.kill()


@pytest.fixture(scope="session", autouse=True)
def _connections() -> Iterator[None]:
    yield
    http.close()


@pytest.fixture(scope="module")
def instant_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A directory without waits and limits, with the faults of BY_NAME."""
    limits = ("--create-limit", "0", "--lookup-limit", "0", "--root-limit", "0")
    folder = tmp_path_factory.mktemp("instant")
    directory = start_directory(folder, "--create-seconds", "0", *limits)
    http.put(f"{directory.url}/_directory/faults", json=BY_NAME).raise_for_status()
    yield directory
    directory.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A database server for the tests that need one."""
    with PostgresServer(durable=False) as server:
        migrate(server.create_database(MIGRATED))
        yield server


def new_database(postgres: PostgresServer) -> str:
    """Return the URL of a database that is migrated and empty."""
    return postgres.create_database(f"of-{uuid4()}", template=MIGRATED)


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> str | None:
    """Where a module's services keep batches, one after the other; see `start_on`."""
    return store_of(request)


def store_of(request: pytest.FixtureRequest) -> str | None:
    if getattr(request, "param", "files") == "files":
        return None
    return new_database(request.getfixturevalue("postgres"))


@pytest.fixture(scope="module")
def roomy_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A directory without limits; creates take their time."""
    options = ["--create-seconds", "0.25", "--batch-limit", "0"]
    options += ["--create-limit", "0", "--lookup-limit", "0", "--root-limit", "0"]
    directory = start_directory(tmp_path_factory.mktemp("roomy"), *options)
    yield directory
    directory.kill()


@pytest.fixture
def shared(tmp_path: Path, roomy_directory: Server, postgres: PostgresServer) -> Iterator[World]:
    """A world of which the services share a database."""
    world = World(tmp_path, roomy_directory, new_database(postgres))
    yield world
    world.end()


@pytest.fixture
def world(
    tmp_path: Path, directories: list[Server], request: pytest.FixtureRequest
) -> Iterator[World]:
    world = World(tmp_path, directories[-1], store_of(request))
    yield world
    world.end()
    world.fault()  # what comes next may be no world
    if world.directory is not directories[-1]:
        directories.append(world.directory)


def upload(service: Server, content: str, **headers: str) -> httpx.Response:
    """Upload a file and return the answer, however long it takes."""
    files = {"file": ("hospitals.csv", content.encode(), "text/csv")}
    url = f"{service.url}/hospitals/bulk"
    return http.post(url, files=files, headers=headers)


def accepted(service: Server, rows: int) -> str:
    """Upload a file and return its batch's id at once."""
    answer = upload(service, csv_file(rows), **ASYNC)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["batch_id"])


def progress(service: Server, batch_id: str) -> dict[str, Any]:
    answer = http.get(f"{service.url}/hospitals/progress/{batch_id}")
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


def ended(service: Server, batch_id: str) -> dict[str, Any]:
    """Return a batch's progress when it has ended."""
    return dict(
        wait_until(lambda: (p := progress(service, batch_id))["is_completed"] and p, seconds=60)
    )


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Return what each returns; they are called at the same time."""
    together = Barrier(len(calls))

    def called(call: Callable[[], T]) -> T:
        together.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(called, calls))


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return what *condition* returns as soon as that is true; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.02)  # noqa: TID251 - a test's own thread
    raise AssertionError(f"not within {seconds} s: {condition}")


def assert_exactly_once(world: World, service: Server, batch_id: str, rows: int) -> dict[str, Any]:
    """Wait for the batch's end, and compare the directory with the file."""
    done = ended(service, batch_id)
    held = world.hospitals(batch_id)

    assert done["status"] == "completed", done["failure_reason"]
    assert sorted(h["name"] for h in held) == sorted(h["name"] for h in done["hospitals"])
    assert len(held) == rows
    assert all(h["active"] for h in held)
    assert {h["id"] for h in held} == {h["hospital_id"] for h in done["hospitals"]}
    return done
