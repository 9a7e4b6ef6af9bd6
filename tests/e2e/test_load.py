"""Many clients at once: nothing is lost, nobody is starved, and nothing is left over.

The directory is quick (a create takes 0.02 s) and unlimited, so that the service is what is loaded.
"""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import uvicorn

from benchmarks.crowd import Crowd, Load, Seen, differences, until
from benchmarks.footprint import Footprint
from benchmarks.rig import csv_file
from benchmarks.stage import HASTE, KEPT_ALIVE, QUICK_DIRECTORY, UNPACED, Round, Stage
from config import Settings
from main import create_app
from models.batch import Batch
from models.hospital import HospitalRow
from models.row import Row
from scripts.processes import Server, free_port, start_directory
from tests.e2e.conftest import World, http, progress, upload, wait_until

SETTINGS: dict[str, Any] = UNPACED | {"wake_timeout_seconds": 60, "http_timeout_seconds": 20}
CROWD = Load(uploads=200, rows=2, followers=100)
AGAIN = Load(uploads=40, rows=2, followers=20)
MAX_GROWTH_MIB = 1.5  # of the load again, twice; 0.1 was measured
ASYNC = {"Prefer": "respond-async"}


@dataclass(frozen=True, slots=True)
class Played:
    """Rounds on one service: a great crowd, then twice the same smaller one."""

    before: Footprint
    rounds: list[Round]


@pytest.fixture(scope="module")
def quick_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = start_directory(tmp_path_factory.mktemp("quick"), *QUICK_DIRECTORY)
    yield directory
    directory.kill()


@pytest.fixture
def quick(tmp_path: Path, quick_directory: Server) -> Iterator[World]:
    """The world of the other tests, with the quick directory."""
    world = World(tmp_path, quick_directory)
    yield world
    world.end()


@pytest.fixture(scope="module")
def played(quick_directory: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    world = World(tmp_path_factory.mktemp("load"), quick_directory)
    try:
        service = world.service(**SETTINGS)
        stage = Stage(service, quick_directory, world.folder / "batch_storage")
        before = stage.rest()
        loads = {"Crowd": CROWD, "Again": AGAIN, "Once more": AGAIN}
        yield Played(before, [stage.play(load, name) for name, load in loads.items()])
    finally:
        world.end()


def test_200_uploads_at_once_are_all_loaded_exactly_once_while_100_clients_poll(played: Played):
    for round_ in played.rounds:
        assert set(round_.seen.statuses) == {"completed"}
        assert len(set(round_.seen.batch_ids)) == round_.load.uploads
        assert differences(round_.seen.names, round_.held) == []
        assert len(round_.seen.polls_s) >= round_.load.followers


def test_no_upload_is_refused_while_there_is_room(played: Played):
    assert not any(round_.seen.refusals for round_ in played.rounds)


def test_a_cleanup_forgets_every_batch_also_those_whose_clients_broke_off(played: Played):
    for round_ in played.rounds:
        assert round_.cleaned == round_.load.uploads
        assert round_.stored == set()


def test_the_same_load_again_takes_no_more_memory(played: Played):
    first, *again = [round_.left.memory_mib for round_ in played.rounds]

    assert max(again) <= first + MAX_GROWTH_MIB


def test_no_handle_and_no_connection_is_left_after_the_load(played: Played):
    for round_ in played.rounds:
        assert round_.left.handles == played.before.handles
        assert round_.left.upstream <= KEPT_ALIVE


def test_uploads_above_the_limit_are_refused_and_get_in_when_they_come_back_as_told(
    quick: World,
):
    """Nothing ends while the directory sleeps, so that it is certain who finds room."""
    service = quick.service(**SETTINGS | {"max_queued_batches": 50})
    crowd = Crowd(service.url, quick.folder / "batch_storage", haste=HASTE)
    names = [f"Guest {n}" for n in range(100)]
    _fall_asleep(quick)

    seen = asyncio.run(_upload_and_wake(quick, crowd, names))

    first = seen.refusals[0]
    assert first.status_code == 503
    assert first.headers["content-type"] == "application/problem+json"
    assert int(first.headers["Retry-After"]) > 0
    assert first.json()["type"] == "urn:hospital-bulk:problem:queue-full"
    assert first.json()["instance"] == "/hospitals/bulk"
    assert {answer.text for answer in seen.refusals} == {first.text}
    assert len(set(seen.batch_ids)) == len(names)
    wait_until(lambda: _all_completed(service, seen.batch_ids), seconds=60)
    assert differences([f"{name} 0" for name in names], _held(quick)) == []


async def _upload_and_wake(world: World, crowd: Crowd, names: list[str]) -> Seen:
    """Upload all at once; wake the directory when 50 are in and the others were refused."""
    seen = Seen()

    async def guest(name: str) -> None:
        answer = await crowd.upload(csv_file(1, name), wait=False, seen=seen)
        seen.batch_ids.append(answer["batch_id"])

    async with asyncio.timeout(60), asyncio.TaskGroup() as guests:
        for name in names:
            guests.create_task(guest(name))
        await until(lambda: len(seen.refusals) >= len(names) - 50 and len(seen.batch_ids) >= 50)
        assert len(seen.batch_ids) == len(crowd.stored()) == 50
        _awake(world)
    return seen


def test_a_small_file_behind_a_long_queue_gets_its_turn(quick: World):
    """100 files of 20 rows wait, then a file of one row comes: told as an order, not as a time."""
    service = quick.service(**SETTINGS)
    _fall_asleep(quick)
    large = [_accepted(service, csv_file(20, f"Large {n}")) for n in range(100)]
    small = _accepted(service, csv_file(1, "Small"))

    _awake(quick)

    ended = wait_until(lambda: (p := progress(service, small))["is_completed"] and p)
    waiting = [progress(service, batch_id) for batch_id in large]
    assert ended["status"] == "completed"
    assert sum(batch["is_completed"] for batch in waiting) <= 10
    # The directory numbers hospitals as they are created. Before this one came the rows that found
    # free permits at first, one row of each other file, and those under way with it: about 120.
    assert ended["hospitals"][0]["hospital_id"] <= 100 * 20 / 10


async def test_no_task_and_nothing_of_a_batch_is_left_in_the_process_after_a_cleanup(
    quick: World, caplog: pytest.LogCaptureFixture
):
    """The real server, in the test's own event loop, where tasks and objects can be counted."""
    storage = quick.folder / "batch_storage"
    settings = Settings(
        _env_file=None,
        hospital_api_base_url=quick.directory.url,
        batch_storage_dir=storage,
        max_queued_batches=15,
        log_level="WARNING",
        **SETTINGS,
    )
    async with _serving(settings) as url:
        crowd = Crowd(url, storage, haste=HASTE)
        at_rest = _alive()

        seen = await crowd.play(Load(uploads=30, rows=3, followers=20), "Guest")
        assert len(seen.refusals) > 0
        assert _alive()["Row"] >= 30 * 3
        assert await crowd.cleanup() == 30

        caplog.clear()  # a record of a batch would keep its id
        with suppress(TimeoutError):
            async with asyncio.timeout(10):
                await until(lambda: _alive() == at_rest)
        assert _alive() == at_rest


@asynccontextmanager
async def _serving(settings: Settings) -> AsyncIterator[str]:
    """Serve on a real socket with a real server, in this event loop."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


def _alive() -> Counter[str]:
    """Count the tasks that are not done, and what is kept of batches, wherever it is kept."""
    gc.collect()
    kinds = (Batch, Row, HospitalRow, UUID, asyncio.Lock)
    alive = Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in kinds)
    alive["Task"] = len(asyncio.all_tasks())
    return alive


def _held(world: World) -> list[dict[str, Any]]:
    held: list[dict[str, Any]] = http.get(f"{world.directory.url}/_directory/hospitals").json()
    return held


def _accepted(service: Server, content: bytes) -> str:
    return str(upload(service, content.decode(), **ASYNC).json()["batch_id"])


def _all_completed(service: Server, batch_ids: list[str]) -> bool:
    return all(progress(service, batch_id)["status"] == "completed" for batch_id in batch_ids)


def _fall_asleep(world: World) -> None:
    """Have the directory let everything wait until `_awake`."""
    http.post(f"{world.directory.url}/_directory/sleep", json={"wake_seconds": 600})


def _awake(world: World) -> None:
    http.post(f"{world.directory.url}/_directory/restart", json={})


async def test_nothing_of_an_abandoned_batch_is_left_in_the_process(
    quick: World, caplog: pytest.LogCaptureFixture
):
    settings = Settings(
        _env_file=None,
        hospital_api_base_url=quick.directory.url,
        batch_storage_dir=quick.folder / "batch_storage",
        log_level="WARNING",
        **SETTINGS | {"settle_seconds": 0.2, "rate_limit_period_seconds": 3},
    )
    async with _serving(settings) as url:
        crowd = Crowd(url, quick.folder / "batch_storage")
        at_rest = _alive()
        quick.fault({"endpoint": "create", "kind": "gateway", "times": 1})

        stopped = await crowd.upload(csv_file(20, "Stopped"), wait=True)
        assert stopped["status"] == "resumable"
        async with crowd.client() as client:
            answer = await client.delete(f"/hospitals/batch/{stopped['batch_id']}/abandon")
            assert answer.status_code == 200
        del stopped, answer

        caplog.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await until(lambda: _alive() == at_rest)
        assert _alive() == at_rest
