"""The terminal client as it is typed, against the real service and the local directory."""

import csv
import io
import json
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from models.batch import BatchStatus
from scripts.processes import ROOT, Server
from tests.e2e.conftest import (
    World,
    assert_exactly_once,
    http,
    progress,
    upload,
    wait_until,
)
from tests.e2e.terminal import COMMAND, Running, run, run_on_a_terminal, users_environment
from tests.harness import csv_file

COLOUR = re.compile(r"\x1b\[(\d+;)*(3[0-7]|9[0-7]|38)[;m]")
REFUSES = {"endpoint": "create", "kind": "reject", "name": "Hospital 2"}
# Something before the directory answers for it, which ends the run.
CUTS_OFF = {"endpoint": "create", "kind": "gateway", "name": "Hospital 2"}
HANGS = {"endpoint": "create", "kind": "hang"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    return write(tmp_path, csv_file(4))


@pytest.fixture
def slow(world: World) -> Server:
    """A service whose creates hang until the directory restarts."""
    world.fault(HANGS)
    return world.service(http_timeout_seconds=3600)


def write(folder: Path, content: str) -> str:
    path = folder / "hospitals.csv"
    path.write_text(content)
    return str(path)


def release(world: World) -> None:
    """Let creates that hang end, and others pass."""
    world.fault()
    http.post(f"{world.directory.url}/_directory/restart", json={}).raise_for_status()


def at(service: Server) -> tuple[str, str]:
    return "--url", service.url


def one_batch(service: Server) -> dict[str, Any]:
    [batch] = http.get(f"{service.url}/hospitals/batches").json()["batches"]
    return dict(batch)


def advised(said: str, purpose: str) -> list[str]:
    """Return the arguments of the command that was advised for a purpose."""
    [command] = re.findall(rf"{purpose}: +python -m cli (.*)", said)
    return shlex.split(command)


def test_an_upload_is_followed_to_its_end_and_its_rows_are_shown(world: World, file: str):
    service = world.service()

    ended = run("upload", file, *at(service))

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("created_and_activated") == 4
    assert "Hospital 3" in ended.stdout
    assert "completed: every row is in the directory, once, active" in ended.stdout
    assert "0 of 4 created" in ended.stderr
    assert_exactly_once(world, service, one_batch(service)["batch_id"], 4)


def test_nothing_written_to_files_controls_a_terminal(world: World, file: str):
    ended = run("upload", file, *at(world.service()), TERM="xterm-256color")

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ended.stdout + ended.stderr)


def test_on_a_terminal_a_bar_is_redrawn_in_its_place(world: World, file: str):
    status, written = run_on_a_terminal("upload", file, *at(world.service()))

    assert status == 0
    assert "\x1b[2K" in written, "a line is cleared and written again"
    assert "4 of 4 created" in written
    assert written.rstrip().endswith("s.")
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor is shown again"
    assert COLOUR.search(written)


def test_no_color_is_honoured(world: World, file: str):
    status, written = run_on_a_terminal("upload", file, *at(world.service()), NO_COLOR="1")

    assert status == 0
    assert not COLOUR.search(written)


def test_json_is_the_only_thing_on_stdout(world: World, file: str):
    service = world.service()

    ended = run("upload", file, "--json", *at(service))

    document = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert document == progress(service, document["batch_id"])
    assert document["status"] == "completed"
    assert "created" in ended.stderr


def test_the_errors_of_a_file_are_listed_and_nothing_is_sent(world: World, tmp_path: Path):
    faulty = 'name,address,phone\nA,"1 Alder Lane, Leeds",\nBeacon House,"2 Beacon Hill",n/a\n'
    service = world.service()

    ended = run("upload", write(tmp_path, faulty), *at(service))

    assert ended.returncode == 1
    assert "The file has 2 errors" in ended.stderr
    assert re.search(r"2 +3 +phone +n/a +Write the phone as", ended.stderr)
    assert http.get(f"{service.url}/hospitals/batches").json()["batches"] == []


def test_a_refusal_in_json_is_the_problem_document(world: World, tmp_path: Path):
    ended = run("upload", write(tmp_path, "name\n"), "--json", *at(world.service()))

    assert ended.returncode == 1
    assert json.loads(ended.stdout)["type"] == "urn:hospital-bulk:problem:file-rejected"


def test_the_sound_rows_of_a_faulty_file_are_loaded_if_that_is_asked(world: World, tmp_path: Path):
    service = world.service()

    ended = run(
        "upload", write(tmp_path, csv_file(3) + "X,too short,\n"), "--skip-invalid", *at(service)
    )

    assert ended.returncode == 0, ended.stderr
    assert re.search(r"4 +X +failed +Write the name", ended.stdout)
    assert "get the failed rows:" in ended.stderr
    assert len(world.hospitals(one_batch(service)["batch_id"])) == 3


def test_how_to_load_the_sound_rows_of_a_faulty_file_is_told_and_that_works(
    world: World, tmp_path: Path
):
    service = world.service()
    folder = tmp_path / "my files"
    folder.mkdir()

    refused = run("upload", write(folder, csv_file(3) + "X,too short,\n"), *at(service))
    loaded = run(*advised(refused.stderr, "load the sound rows"))

    assert refused.returncode == 1
    assert loaded.returncode == 0, loaded.stderr
    assert len(world.hospitals(one_batch(service)["batch_id"])) == 3


@pytest.mark.parametrize(
    "content",
    ["name\n", csv_file(3) + 'Moor House,"1 Moor Lane, Leeds,\n'],
    ids=["no address", "an open quote"],
)
def test_a_file_that_is_faulty_as_a_whole_cannot_be_loaded_in_part(
    world: World, tmp_path: Path, content: str
):
    ended = run("upload", write(tmp_path, content), *at(world.service()))

    assert ended.returncode == 1
    assert "--skip-invalid" not in ended.stderr


def test_a_file_can_be_checked_without_loading_it(world: World, file: str, tmp_path: Path):
    service = world.service()

    valid = run("validate", file, *at(service))
    faulty = run("validate", write(tmp_path, "name,address\nA,1 Alder Lane\n"), *at(service))

    assert (valid.returncode, faulty.returncode) == (0, 1)
    assert "hospitals.csv is valid: 4 of 4 rows are sound." in valid.stdout
    assert "Write the name in full" in faulty.stdout
    assert "hospitals.csv has errors: 0 of 1 rows are sound." in faulty.stdout


def test_rows_are_not_counted_in_a_file_that_is_faulty_as_a_whole(world: World, tmp_path: Path):
    ended = run("validate", write(tmp_path, ""), *at(world.service()))

    assert ended.returncode == 1
    assert "hospitals.csv has errors.\n" in ended.stdout


def test_a_batch_that_stopped_says_why_and_what_to_type_and_that_works(world: World, file: str):
    service = world.service()
    world.fault(CUTS_OFF)

    stopped = run("upload", file, *at(service))

    assert stopped.returncode == 1
    assert "The directory was not reached" in stopped.stderr
    world.fault()
    resumed = run(*advised(stopped.stderr, "go on"))
    assert resumed.returncode == 0, resumed.stderr
    assert_exactly_once(world, service, one_batch(service)["batch_id"], 4)


def test_a_refused_row_can_be_corrected_and_the_batch_resumed(world: World, file: str):
    service = world.service()
    world.fault(REFUSES)

    refused = run("upload", file, *at(service))

    assert refused.returncode == 1
    batch_id = one_batch(service)["batch_id"]
    assert f"Batch {batch_id}: failed. It took" in refused.stdout
    assert "The directory refused row 2" in refused.stderr
    advice = advised(refused.stderr, "correct a row")
    assert advice[:3] == ["correct", batch_id, "2"]
    assert {"--name", "--address", "--phone"} < set(advice), "whichever was refused"
    assert "get the failed rows" not in refused.stderr, "uploaded too, they would be there twice"
    bad = run("correct", batch_id, "2", "--name", "X", *at(service))
    assert bad.returncode == 1
    assert "Write the name in full" in bad.stderr
    good = run("correct", batch_id, "2", "--name", "St. Hospital", "--phone", "", *at(service))
    assert good.returncode == 0, good.stderr
    assert run(*advised(good.stderr, "go on")).returncode == 0
    held = world.hospitals(batch_id)
    assert ("St. Hospital", None) in {(h["name"], h["phone"]) for h in held}


def test_a_batch_can_be_cancelled_and_taken_back(world: World, slow: Server, file: str):
    batch_id = upload_only(slow, file)
    wait_until(world.creates_under_way)

    cancelled = run("cancel", batch_id[:8], *at(slow))
    release(world)
    stopped = run("watch", batch_id, *at(slow))
    abandoned = run("abandon", batch_id, "--yes", *at(slow))

    assert cancelled.returncode == 0, cancelled.stderr
    assert stopped.returncode == 1
    assert "cancelled" in stopped.stderr
    assert abandoned.returncode == 0, abandoned.stderr
    assert "The batch is forgotten" in abandoned.stdout
    assert world.hospitals(batch_id) == []
    gone = run("watch", batch_id, *at(slow))
    assert gone.returncode == 1
    assert "cleaned up or abandoned" in gone.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [("", "Nothing was done; --yes does not ask."), ("n\n", "Nothing was done.")],
    ids=["nobody is there", "no"],
)
def test_nothing_is_abandoned_unless_somebody_says_yes(
    world: World, file: str, typed: str, said: str
):
    service = world.service()
    world.fault(CUTS_OFF)
    batch_id = json.loads(run("upload", file, "--json", *at(service)).stdout)["batch_id"]

    ended = run("abandon", batch_id, *at(service), typed=typed)

    assert ended.returncode == 1
    assert "3 of 4 rows created" in ended.stderr
    assert ended.stderr.rstrip().endswith(said)
    assert "Abort" not in ended.stderr
    assert progress(service, batch_id)["status"] == "resumable"


def test_an_abandon_of_a_completed_batch_is_refused_without_asking(world: World, file: str):
    service = world.service()
    batch_id = json.loads(run("upload", file, "--json", *at(service)).stdout)["batch_id"]

    asked = run("abandon", batch_id, *at(service), typed="y\n")
    unasked = run("abandon", batch_id, "--yes", *at(service))

    assert (asked.returncode, unasked.returncode) == (1, 1)
    assert asked.stderr == unasked.stderr
    assert len(asked.stderr.splitlines()) == 1
    assert "completed" in asked.stderr


def test_the_rows_that_a_completed_batch_left_out_can_be_written_mended_and_uploaded(
    world: World, tmp_path: Path
):
    service = world.service()
    faulty = write(tmp_path, csv_file(3) + "X,too short,\n")
    completed = run("upload", faulty, "--skip-invalid", *at(service))
    report = tmp_path / "failed.csv"

    *arguments, _, _, _ = advised(completed.stderr, "get the failed rows")
    written = run(*arguments, str(report), *at(service))
    [left_out] = csv.DictReader(io.StringIO(report.read_text()))
    report.write_text(report.read_text().replace("X,too short", 'Moor House,"1 Moor Lane, Leeds"'))
    again = run("upload", str(report), *at(service))

    assert written.returncode == 0, written.stderr
    assert (left_out["name"], left_out["address"]) == ("X", "too short")
    assert again.returncode == 0, again.stderr
    assert "1 of 1 created" in again.stderr


def test_the_report_on_stdout_is_the_csv_and_nothing_else(world: World, file: str):
    service = world.service()
    batch_id = json.loads(run("upload", file, "--json", *at(service)).stdout)["batch_id"]

    ended = run("report", batch_id, *at(service))

    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert [row["status"] for row in rows] == ["created_and_activated"] * 4
    assert ended.stderr == ""


def test_batches_are_listed_by_status(world: World, file: str):
    service = world.service()
    run("upload", file, *at(service))
    world.fault(CUTS_OFF)
    run("upload", file, *at(service))

    everything = run("list", *at(service))
    stopped = run("list", "--status", "resumable", "--json", *at(service))

    assert re.search(r"resumable +3/4 +0 .*The directory was not reached", everything.stdout)
    assert re.search(r"hospitals.csv +completed +4/4 +0", everything.stdout)
    assert [b["status"] for b in json.loads(stopped.stdout)["batches"]] == ["resumable"]


def test_the_start_of_an_id_is_enough_unless_it_fits_several(world: World, file: str):
    service = world.service()
    batch_id = upload_only(service, file)

    assert run("watch", batch_id[:6].upper(), *at(service)).returncode == 0
    other = upload_only(service, file)
    while other[0] != batch_id[0]:
        other = upload_only(service, file)
    ambiguous = run("watch", batch_id[0], *at(service))
    unknown = run("watch", "0123456789", *at(service))

    assert (ambiguous.returncode, unknown.returncode) == (2, 2)
    assert "more than one" in ambiguous.stderr
    assert "no batch" in unknown.stderr


def test_verify_tells_whether_the_directory_has_the_files_rows(world: World, file: str):
    service = world.service()
    batch_id = json.loads(run("upload", file, "--json", *at(service)).stdout)["batch_id"]

    same = run("verify", batch_id, *at(service))
    [first, *_] = world.hospitals(batch_id)
    http.delete(f"{world.directory.url}/hospitals/{first['id']}").raise_for_status()
    differs = run("verify", batch_id, *at(service))

    assert (same.returncode, differs.returncode) == (0, 1), same.stderr + differs.stderr
    assert "each once, active" in same.stdout
    assert re.search(rf"missing +\d +{first['name']}", differs.stdout)
    assert "again" not in differs.stderr, "the others would be there twice"


def test_what_a_directory_that_restarted_has_forgotten_can_be_loaded_again(
    world: World, tmp_path: Path
):
    service = world.service()
    file = write(tmp_path, csv_file(3) + "X,too short,\n")
    uploaded = run("upload", file, "--skip-invalid", "--json", *at(service))
    batch_id = json.loads(uploaded.stdout)["batch_id"]
    for hospital in world.hospitals(batch_id):
        http.delete(f"{world.directory.url}/hospitals/{hospital['id']}").raise_for_status()
    again = str(tmp_path / "again.csv")

    differs = run("verify", batch_id, *at(service))
    report, load = (
        advised(differs.stderr, "get the rows"),
        advised(differs.stderr, "load them again"),
    )
    written = run(*[again if a == "again.csv" else a for a in report])
    loaded = run(*[again if a == "again.csv" else a for a in load], "--json")

    assert (differs.returncode, written.returncode) == (1, 0), written.stderr
    assert loaded.returncode == 0, loaded.stderr
    assert len(world.hospitals(json.loads(loaded.stdout)["batch_id"])) == 3


def test_that_rows_are_inactive_until_their_batch_is_completed_is_told(world: World, file: str):
    service = world.service()
    world.fault(CUTS_OFF)
    batch_id = json.loads(run("upload", file, "--json", *at(service)).stdout)["batch_id"]

    differs = run("verify", batch_id, *at(service))

    assert differs.returncode == 1
    assert "inactive until the batch is completed" in differs.stderr
    assert advised(differs.stderr, "go on")[:2] == ["resume", batch_id]


def test_a_detached_upload_is_accepted_and_can_be_followed(world: World, file: str):
    service = world.service()

    accepted = run("upload", file, "--detach", *at(service))

    assert accepted.returncode == 0
    followed = run(*advised(accepted.stderr, "follow it"))
    assert followed.returncode == 0, followed.stderr


def test_watching_goes_on_over_a_crash_and_a_restart_of_the_service(
    world: World, slow: Server, file: str, tmp_path: Path
):
    batch_id = upload_only(slow, file)
    watch = Running(tmp_path, "watch", batch_id, *at(slow))
    wait_until(lambda: "of 4 created" in watch.err)

    slow.kill()
    wait_until(lambda: "Trying again" in watch.err)
    release(world)
    again = world.service(port=int(slow.url.rpartition(":")[2]))

    assert watch.end() == 0, watch.err
    assert "Connected again." in watch.err
    assert watch.out.count("created_and_activated") == 4
    assert_exactly_once(world, again, batch_id, 4)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_upload_goes_on_and_how_to_come_back_is_told(
    world: World, slow: Server, file: str, tmp_path: Path, number: int, status: int
):
    running = Running(tmp_path, "upload", file, *at(slow))
    wait_until(lambda: "of 4 created" in running.err)

    assert running.end(number) == status

    assert "goes on" in running.err
    assert "Traceback" not in running.err
    assert advised(running.err, "stop it")[0] == "cancel"
    release(world)
    assert run(*advised(running.err, "come back")).returncode == 0
    assert_exactly_once(world, slow, one_batch(slow)["batch_id"], 4)


@pytest.mark.parametrize("both", [False, True], ids=["stdout", "stdout and stderr"])
@pytest.mark.parametrize("command", ["upload", "report", "list"])
def test_a_reader_that_goes_away_is_no_crash(
    world: World, file: str, tmp_path: Path, command: str, both: bool
):
    service = world.service()
    batch_id = upload_only(service, file)
    wait_until(lambda: progress(service, batch_id)["is_completed"])
    arguments = {"upload": ["upload", file], "report": ["report", batch_id], "list": ["list"]}
    errors = tmp_path / "errors"

    with errors.open("wb") as file_:
        process = subprocess.Popen(
            [*COMMAND, *arguments[command], *at(service)],
            cwd=ROOT,
            env=users_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else file_,
        )
        assert process.stdout
        process.stdout.close()

    assert process.wait(60) == 141
    assert "Traceback" not in errors.read_text()
    assert "BrokenPipe" not in errors.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["upload", "no-such-file.csv"],
        ["watch", "../../health"],
        ["correct", "0b6a9c1e", "1"],
        ["list", "--url", "127.0.0.1:8000"],
        ["list", "--limit", "0"],
        ["list", "--status", "cheerful"],
        ["fly"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_sent(arguments: list[str]):
    ended = run(*arguments, HOSPITAL_BULK_URL="http://127.0.0.1:9")

    assert ended.returncode == 2
    assert "Error: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_statuses_that_can_be_listed_are_those_of_the_service():
    ended = run("list", "--status", "cheerful")

    listed = set(re.findall(r"'(\w+)'", ended.stderr)) - {"cheerful"}
    assert listed == set(BatchStatus) - {BatchStatus.VALIDATING}, "never entered"


def test_the_service_can_be_named_by_the_environment(world: World, file: str):
    service = world.service()
    world.fault(CUTS_OFF)

    ended = run("upload", file, HOSPITAL_BULK_URL=service.url)

    assert advised(ended.stderr, "go on")[-1] == one_batch(service)["batch_id"]


def test_a_client_without_its_packages_says_what_to_install(tmp_path: Path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(name='typer')")

    ended = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=users_environment() | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 2
    assert "pip install -r requirements-cli.txt" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def upload_only(service: Server, file: str) -> str:
    """Have a file accepted; return the batch's id."""
    answer = upload(service, Path(file).read_text(), Prefer="respond-async")
    return str(answer.json()["batch_id"])
