"""Files of many parts with real processes: the service is killed, the directory misbehaves."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.processes import Server, start_directory
from services.csv_processor import read_csv
from tests.e2e.conftest import QUICK, World, http, progress, upload, wait_until
from tests.harness import csv_file

REGISTRY = Path(__file__).parents[2].parent / "shared" / "data"
LARGE: dict[str, Any] = QUICK | {
    "create_rate_limit": 0,
    "max_csv_size": 10_000,
    "settle_seconds": 0.3,
}
ASYNC = {"Prefer": "respond-async"}
TROUBLE = [
    {"endpoint": "create", "kind": "drop_after", "probability": 0.003},
    {"endpoint": "create", "kind": "error_before", "probability": 0.003},
    {"endpoint": "create", "kind": "late", "probability": 0.002, "seconds": 0.25},
    {"endpoint": "list_batch", "kind": "garbled", "probability": 0.02},
    {"endpoint": "activate", "kind": "drop_after", "probability": 0.03},
    {"endpoint": "activate", "kind": "partial", "probability": 0.02},
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A directory without limits, which takes 20 ms for a create."""
    limits = ("--create-limit", "0", "--lookup-limit", "0", "--root-limit", "0")
    directory = start_directory(tmp_path, "--create-seconds", "0.02", *limits)
    world = World(tmp_path, directory)
    yield world
    world.end()
    directory.kill()


def summary(service: Server, batch_id: str) -> dict[str, Any]:
    """Return the batch's progress with one row: a thousand take the test 0.1 s at each look."""
    answer = http.get(f"{service.url}/hospitals/progress/{batch_id}?limit=1")
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


def ended(service: Server, batch_id: str) -> dict[str, Any]:
    """Return the batch's progress when it is completed; stopped, it is resumed."""

    def is_completed() -> bool:
        now = summary(service, batch_id)
        if now["status"] == "resumable":
            http.post(f"{service.url}/hospitals/resume/{batch_id}", headers=ASYNC)
        return bool(now["status"] == "completed")

    wait_until(is_completed, seconds=90)
    return progress(service, batch_id)


def until_created(service: Server, batch_id: str, rows: float) -> None:
    """Return when more than *rows* rows are created."""
    wait_until(lambda: summary(service, batch_id)["processed_hospitals"] > rows, seconds=60)


def held(world: World) -> Counter[tuple[str, str, str]]:
    """Return what the directory has, all of it active."""
    hospitals = http.get(f"{world.directory.url}/_directory/hospitals").json()
    assert all(hospital["active"] for hospital in hospitals)
    return Counter((h["name"], h["address"], h["phone"] or "") for h in hospitals)


def rows_of(path: Path) -> Counter[tuple[str, str, str]]:
    with path.open("rb") as file:
        return Counter(row.content for row in read_csv(file, max_rows=10_000).rows)


@pytest.mark.skipif(not REGISTRY.is_dir(), reason="the registry files are not here")
def test_a_registry_survives_kills_and_faults(world: World):
    file = REGISTRY / "us_5000.csv"
    world.fault(*TROUBLE)
    service = world.service(**LARGE)
    batch_id = upload(service, file.read_text(), **ASYNC).json()["batch_id"]
    for share in (0.2, 0.6, 0.999):
        until_created(service, batch_id, share * 5320)
        service.kill()
        service = world.service(**LARGE)

    done = ended(service, batch_id)

    assert done["processed_hospitals"] == 5320
    assert done["batch_activated"]
    assert held(world) == rows_of(file)


@pytest.mark.skipif(not REGISTRY.is_dir(), reason="the registry files are not here")
def test_the_sound_rows_of_a_registry_are_loaded_and_two_are_reported(world: World):
    file = REGISTRY / "uk_nhs.csv"
    service = world.service(**LARGE)
    refusal = upload(service, file.read_text()).json()
    assert [error["row"] for error in refusal["errors"]] == [605, 714]

    answer = http.post(
        f"{service.url}/hospitals/bulk?skip_invalid=true",
        files={"file": ("uk_nhs.csv", file.read_bytes(), "text/csv")},
    )

    result = answer.json()
    assert (result["status"], result["processed_hospitals"]) == ("completed", 1232)
    failed = [row["row"] for row in result["hospitals"] if row["status"] == "failed"]
    assert failed == [605, 714]
    assert held(world) == rows_of(file)


def test_a_small_file_is_loaded_while_a_large_one_runs(world: World):
    service = world.service(**LARGE)
    large = upload(service, csv_file(4000), **ASYNC).json()["batch_id"]
    until_created(service, large, 100)

    small = upload(service, csv_file(5, start=9001)).json()

    assert small["status"] == "completed"
    assert summary(service, large)["processed_hospitals"] < 4000
    http.post(f"{service.url}/hospitals/batch/{large}/cancel")


def test_a_large_file_that_was_cancelled_leaves_nothing_when_it_is_abandoned(world: World):
    service = world.service(**LARGE)
    batch_id = upload(service, csv_file(2000), **ASYNC).json()["batch_id"]
    until_created(service, batch_id, 300)
    http.post(f"{service.url}/hospitals/batch/{batch_id}/cancel")
    created = wait_until(lambda: _stopped(summary(service, batch_id)))["processed_hospitals"]

    answer = http.delete(f"{service.url}/hospitals/batch/{batch_id}/abandon")

    assert answer.json()["deleted_hospitals"] == created
    assert not held(world)


def _stopped(now: dict[str, Any]) -> dict[str, Any] | None:
    return now if now["status"] == "resumable" else None
