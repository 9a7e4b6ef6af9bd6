"""`python -m database`: a database is prepared, and takes over the batches of a folder."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scripts.postgres import PostgresServer
from scripts.processes import Server, clean_environment
from tests.e2e.conftest import (
    UNPACED,
    World,
    accepted,
    assert_exactly_once,
    ended,
    http,
    new_database,
    progress,
    upload,
    wait_until,
)
from tests.harness import csv_file


@pytest.fixture
def files(tmp_path: Path, roomy_directory: Server) -> Iterator[World]:
    """A world of which the services keep files, until it is given a database."""
    world = World(tmp_path, roomy_directory)
    yield world
    world.end()


def command(world: World, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator would, who set what a service of this world has set."""
    settings = {
        "HOSPITAL_API_BASE_URL": world.directory.url,
        "BATCH_STORAGE_DIR": str(world.folder / "batch_storage"),
    }
    if world.database is not None:
        settings["DATABASE_URL"] = world.database
    return subprocess.run(
        [sys.executable, "-m", "database", *arguments],
        cwd=world.folder,
        env=clean_environment() | settings | environment,
        capture_output=True,
        text=True,
        timeout=30,
    )


def done(world: World, *arguments: str) -> str:
    """Run the command, which must work; return what it says."""
    result = command(world, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def not_done(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence in which the command says why it could not be done."""
    assert result.returncode == 1
    assert result.stdout == ""
    [line] = result.stderr.strip().splitlines()
    return line.removeprefix("Not done: ")


def leave_batches(world: World) -> dict[str, str]:
    """Have a service load files until it is killed; return name -> id of the batches it leaves."""
    service = world.service(**UNPACED, max_concurrent_requests=4)
    directory = "/hospitals/batch"
    left = {"completed": upload(service, csv_file(2)).json()["batch_id"]}
    world.fault({"endpoint": "create", "kind": "reject", "name": "Hospital 1"})
    left["failed"] = upload(service, csv_file(1)).json()["batch_id"]
    world.fault({"endpoint": "create", "kind": "gateway", "times": 1, "skip": 1})
    left["resumable"] = upload(service, csv_file(2)).json()["batch_id"]
    world.fault({"endpoint": "create", "kind": "gateway", "times": 1, "skip": 1})
    left["abandoning"] = upload(service, csv_file(2)).json()["batch_id"]
    world.fault({"endpoint": "delete_batch", "kind": "gateway", "status": 403})
    http.delete(f"{service.url}{directory}/{left['abandoning']}/abandon")
    world.fault()
    key = {"Idempotency-Key": "the file of the north"}
    answer = upload(service, csv_file(20), Prefer="respond-async", **key)
    left["processing"] = answer.json()["batch_id"]
    wait_until(lambda: progress(service, left["processing"])["processed_hospitals"] > 2)
    left["cancelled"] = accepted(service, 20)
    http.post(f"{service.url}{directory}/{left['cancelled']}/cancel")
    service.kill()
    return left


def test_every_batch_of_a_folder_goes_on_in_a_database_once(files: World, postgres: PostgresServer):
    left = leave_batches(files)
    files.database = postgres.create_database(f"new-{uuid4()}")
    assert "migrations" in not_done(command(files, "import"))

    assert done(files, "migrate").startswith("Migrations applied: ")
    assert done(files, "migrate") == "The database is up to date."
    assert done(files, "import") == f"Batches imported: {len(left)}."

    service = files.service(**UNPACED)
    assert done(files, "import") == "Batches imported: 0."
    stored = sorted((files.folder / "batch_storage").glob("*.json*"))
    assert [path.name for path in stored] == sorted(f"{id_}.json.imported" for id_ in left.values())
    for status in ("completed", "failed", "resumable"):
        assert progress(service, left[status])["status"] == status
    again = upload(service, csv_file(20), **{"Idempotency-Key": "the file of the north"})
    assert again.json()["batch_id"] == left["processing"]
    assert_exactly_once(files, service, left["processing"], 20)
    for status in ("resumable", "cancelled"):
        ended(service, left[status])
        http.post(f"{service.url}/hospitals/resume/{left[status]}").raise_for_status()
    assert_exactly_once(files, service, left["completed"], 2)
    assert_exactly_once(files, service, left["resumable"], 2)
    assert_exactly_once(files, service, left["cancelled"], 20)
    wait_until(lambda: files.hospitals(left["abandoning"]) == [])


def test_a_folder_in_use_is_left_alone(files: World, postgres: PostgresServer):
    service = files.service(**UNPACED)
    batch_id = upload(service, csv_file(1)).json()["batch_id"]
    folder = files.folder / "batch_storage"
    files.database = new_database(postgres)

    sentence = not_done(command(files, "import", str(folder)))

    assert sentence == f"A service uses {folder}: stop it first."
    assert (folder / f"{batch_id}.json").exists()


def test_a_document_that_cannot_be_read_is_set_aside_and_told(
    files: World, postgres: PostgresServer
):
    service = files.service(**UNPACED)
    batch_id = upload(service, csv_file(1)).json()["batch_id"]
    service.stop()
    folder = files.folder / "batch_storage"
    damaged = folder / f"{uuid4()}.json"
    damaged.write_text('{"version": 1, "batch_id": "')
    files.database = new_database(postgres)

    result = command(files, "import")

    assert result.returncode == 0
    assert "Batches imported: 1." in result.stdout
    assert damaged.name in result.stdout + result.stderr
    assert {path.name for path in folder.glob("*.json*")} == {
        f"{batch_id}.json.imported",
        f"{damaged.name}.set-aside",
    }


def test_what_cannot_be_done_is_told_in_a_sentence(files: World, tmp_path: Path):
    nowhere = "postgresql://postgres:the-password@127.0.0.1:1/hospitals"

    assert "Set DATABASE_URL" in not_done(command(files, "migrate"))
    for arguments in (("migrate",), ("import", str(tmp_path))):
        sentence = not_done(command(files, *arguments, DATABASE_URL=nowhere))
        assert "refused" in sentence
        assert "the-password" not in sentence
    missing = tmp_path / "missing"
    sentence = not_done(command(files, "import", str(missing), DATABASE_URL=nowhere))
    assert sentence == f"There is no folder {missing}."
