"""A database that goes away, is not ready, or is not there; and a service without any."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.postgres import PostgresServer
from scripts.processes import ROOT, Process, Server, clean_environment, free_port
from services.storage.postgres import LEASE_S
from tests.e2e.conftest import (
    UNPACED,
    World,
    accepted,
    assert_exactly_once,
    at_once,
    http,
    progress,
    upload,
    wait_until,
)
from tests.e2e.tap import LostAnswer, Pipe, open_pipes
from tests.harness import csv_file
from wiring.on_database import HANGING_S

SOON_S = 8.0  # in which whoever asks gets an answer, whatever the database does
NOBODY = "postgresql://postgres:the-password@127.0.0.1:1/hospitals"
GRACE_S = 1.0
EXCHANGE_S = 0.16  # with a database that is 80 ms away


@pytest.fixture
def company(shared: World) -> list[Process]:
    """Two processes that serve, of which one runs batches, and one that only runs them."""
    return at_once(
        lambda: shared.web(**UNPACED),
        lambda: shared.web(**UNPACED, run_batches="true", max_concurrent_requests=4),
        lambda: shared.worker(**UNPACED, max_concurrent_requests=4),
    )


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, to be taken away: whoever comes next finds it in its place."""
    yield postgres
    postgres.stop()
    postgres.start()


def test_batches_go_on_by_themselves_when_the_database_is_back(
    shared: World, company: list[Process], database: PostgresServer
):
    services = [one for one in company if isinstance(one, Server)]
    batches = {accepted(service, rows): rows for service in services for rows in (5, 10, 20)}
    wait_until(lambda: shared.creates_under_way() > 3)

    database.kill()
    health = [http.get(f"{service.url}/health").status_code for service in services]
    refused, *ready = at_once(
        lambda: upload(services[0], csv_file(2)),
        *[lambda s=s: http.get(f"{s.url}/health/ready") for s in services],
    )
    database.start()

    assert health == [200, 200]
    for answer in ready:
        assert answer.status_code == 503
        assert answer.json()["failing"] == ["storage"]
    assert refused.status_code == 503
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Retry-After"]
    wait_until(shared.creates_under_way)
    database.restart()
    for batch_id, rows in batches.items():
        assert_exactly_once(shared, services[0], batch_id, rows)
    assert all(one.process.poll() is None for one in company)
    assert len(all_held(shared)) == sum(batches.values())
    later_id = accepted(services[1], 3)
    assert_exactly_once(shared, services[0], later_id, 3)


def test_a_database_that_hangs_is_told_of_and_holds_up_no_answer(
    shared: World, company: list[Process], database: PostgresServer
):
    services = [one for one in company if isinstance(one, Server)]
    batch_id = accepted(services[0], 20)
    wait_until(lambda: shared.creates_under_way() > 3)
    for service in services:
        progress(service, batch_id)  # it knows the batch by now

    database.freeze()
    try:
        for service in services:
            told = wait_until(partial(of_a_silent_database, service, batch_id), seconds=15)
            assert told["eta_seconds"] is None
        for service in services:
            ready = http.get(f"{service.url}/health/ready", timeout=SOON_S)
            assert (ready.status_code, ready.json()["failing"]) == (503, ["storage"])
    finally:
        database.thaw()

    assert_exactly_once(shared, services[0], batch_id, 20)


def of_a_silent_database(service: Server, batch_id: str) -> dict[str, Any] | None:
    """Return a batch's progress, which comes soon, if it says that the database is silent."""
    answer = http.get(f"{service.url}/hospitals/progress/{batch_id}", timeout=SOON_S)
    told: dict[str, Any] = answer.json()
    return told if told["current_step"].startswith("the database does not answer") else None


def test_an_upload_that_was_stored_but_refused_is_not_loaded(
    shared: World, postgres: PostgresServer
):
    """The connection breaks after its batch was stored, before the database could say so."""
    pipe = LostAnswer("127.0.0.1", postgres.port, b"INSERT INTO hospital_bulk.batches")
    assert shared.database is not None
    with open_pipes(pipe):
        through = shared.database.replace(str(postgres.port), str(pipe.port))
        service = shared.web(**UNPACED, database_url=through)

        refused = upload(service, csv_file(2))

        assert refused.status_code == 503
        assert http.get(f"{service.url}/hospitals/batches").json()["batches"] == []
        shared.worker(**UNPACED)
        again = upload(service, csv_file(2))
        assert_exactly_once(shared, service, again.json()["batch_id"], 2)
        assert len(all_held(shared)) == 2


def test_a_process_that_is_told_to_stop_ends_though_the_database_hangs(
    shared: World, postgres: PostgresServer
):
    """Busy or not; and whoever remains finishes its batches when the database goes on."""
    grace = UNPACED | {"shutdown_grace_seconds": GRACE_S}
    slow = grace | {"max_concurrent_requests": 2}
    remaining, *leaving = at_once(
        lambda: shared.web(**UNPACED),
        lambda: shared.web(**grace),
        lambda: shared.web(**slow, run_batches="true"),
        lambda: shared.worker(**slow),
    )
    assert isinstance(remaining, Server)
    batches = {accepted(remaining, rows): rows for rows in (20, 21)}
    wait_until(lambda: shared.creates_under_way() > 3)

    postgres.freeze()
    try:
        told_s = time.monotonic()
        at_once(*[lambda one=one: one.stop(GRACE_S + HANGING_S + 4) for one in leaving])
        took_s = time.monotonic() - told_s
    finally:
        postgres.thaw()

    assert took_s < GRACE_S + HANGING_S + 1
    shared.worker(**UNPACED)
    for batch_id, rows in batches.items():
        done = assert_exactly_once(shared, remaining, batch_id, rows)
        assert done["resume_count"] == 1
    assert len(all_held(shared)) == sum(batches.values())


class Distant(Pipe):
    """A way to a database that is far away: an exchange takes EXCHANGE_S."""

    def loses_answer(self, request: bytes) -> bool:
        time.sleep(EXCHANGE_S)  # noqa: TID251 - what is tested: a thread of the way
        return False


def test_rows_leave_together_and_stay_with_their_process_though_the_database_is_slow(
    shared: World, postgres: PostgresServer
):
    pipes = [Distant("127.0.0.1", postgres.port) for _ in range(3)]
    assert shared.database is not None
    ways = [shared.database.replace(str(postgres.port), str(pipe.port)) for pipe in pipes]
    with open_pipes(*pipes):
        web, *_ = at_once(
            lambda: shared.web(database_url=ways[0]),
            *[lambda w=w: shared.worker(database_url=w, http_timeout_seconds=30) for w in ways[1:]],
        )
        assert isinstance(web, Server)
        last = {"endpoint": "create", "kind": "slow", "name": "Hospital 20", "seconds": LEASE_S - 1}
        shared.fault(last)
        http.delete(f"{shared.directory.url}/_directory/stats")

        batch_id = accepted(web, 20)

        done = assert_exactly_once(shared, web, batch_id, 20)
        assert done["resume_count"] == 0, "whoever runs it lives"
        assert done["processing_time_seconds"] > LEASE_S
        sent_s = http.get(f"{shared.directory.url}/_directory/stats").json()["create_times"]
        assert len(sent_s) == len(all_held(shared)) == 20
        assert sent_s[-1] - sent_s[0] < EXCHANGE_S


def all_held(world: World) -> list[object]:
    return list(http.get(f"{world.directory.url}/_directory/hospitals").json())


SERVICE = ("uvicorn", "main:app", "--app-dir", str(ROOT), "--port")


def why_not_started(folder: Path, *arguments: str, **environment: str) -> str:
    """Return the one sentence that says why `python -m` with *arguments* did not start."""
    failed = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert failed.returncode != 0
    assert "Traceback" not in failed.stderr
    told = [line for line in failed.stderr.splitlines() if "[error" in line or "Cannot" in line]
    [sentence] = [line for line in told if "Application startup failed" not in line]
    return sentence


def why_neither_started(folder: Path, **environment: str) -> list[str]:
    """Return the sentence of a service and that of a worker."""
    return at_once(
        lambda: why_not_started(folder, *SERVICE, str(free_port()), **environment),
        lambda: why_not_started(folder, "worker", **environment),
    )


def test_a_database_without_its_tables_stops_the_start(tmp_path: Path, postgres: PostgresServer):
    for sentence in why_neither_started(tmp_path, DATABASE_URL=postgres.url()):
        assert "run `python -m database migrate` once" in sentence


def test_a_database_that_cannot_be_reached_stops_the_start(tmp_path: Path):
    for sentence in why_neither_started(tmp_path, DATABASE_URL=NOBODY):
        assert "DATABASE_URL cannot be reached" in sentence
        assert "the-password" not in sentence


def test_without_its_packages_a_database_is_of_no_use(tmp_path: Path):
    blocked = tmp_path / "psycopg.py"
    blocked.write_text("raise ModuleNotFoundError(name='psycopg')\n")
    environment = {"DATABASE_URL": NOBODY, "PYTHONPATH": f"{tmp_path}:{ROOT}"}

    for sentence in why_neither_started(tmp_path, **environment):
        assert "psycopg is not installed: pip install -r requirements-postgres.txt" in sentence


def test_a_worker_without_work_does_not_start(tmp_path: Path):
    for environment in ({}, {"DATABASE_URL": NOBODY, "RUN_BATCHES": "false"}):
        sentence = why_not_started(tmp_path, "worker", **environment)
        assert "a worker needs DATABASE_URL" in sentence


def test_a_worker_whose_port_for_metrics_is_taken_says_so(tmp_path: Path):
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        environment = {"DATABASE_URL": NOBODY, "WORKER_METRICS_PORT": port}
        sentence = why_not_started(tmp_path, "worker", **environment)

    assert f"WORKER_METRICS_PORT {port} cannot be used (Address already in use)" in sentence


def test_a_service_on_files_needs_nothing_of_a_database(tmp_path: Path):
    """Its packages may be missing: nothing of them is imported, by a whole life of it."""
    code = (
        "import asyncio, sys\n"
        "from main import app\n"
        "async def live():\n"
        "    async with app.router.lifespan_context(app):\n"
        "        pass\n"
        "asyncio.run(live())\n"
        "print(*sys.modules)\n"
    )
    environment = clean_environment() | {"BATCH_STORAGE_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    imported = set(ended.stdout.splitlines()[-1].split())
    assert "fastapi" in imported
    assert not imported & {"psycopg", "psycopg_pool", "procrastinate", "wiring.on_database"}
