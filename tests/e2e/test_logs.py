"""What the service writes to its log, as whoever collects or reads it gets it."""

import json
import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.processes import ROOT, Server, clean_environment, free_port, start_service
from tests.e2e.conftest import QUICK, World, http, upload, wait_until
from tests.e2e.echoing_directory import EchoingDirectory
from tests.e2e.scripted_service import in_a_thread
from tests.harness import csv_file

JSON: dict[str, Any] = {"log_format": "json"}
ASYNC = {"Prefer": "respond-async"}
FORMS = ("json", "console")
CONSOLE_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[(\w+) *\] ")
SECRET = "a-secret-that-nobody-may-read"


def lines(service: Server) -> list[dict[str, Any]]:
    """Return what was written so far; each line must be an object."""
    output = service.output()
    whole = output[: output.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


def told(service: Server, event: str, **keys: Any) -> list[dict[str, Any]]:
    """Return the lines of an event."""
    return [
        line for line in lines(service) if line["event"] == event and keys.items() <= line.items()
    ]


def test_every_line_is_one_object_of_the_same_form_also_the_servers(world: World):
    service = world.service(log_level="DEBUG", **JSON)
    upload(service, csv_file(2))
    service.stop()

    every = lines(service)
    for line in every:
        assert {"timestamp", "level", "logger", "event"} <= line.keys()
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)
        assert line["level"] in ("debug", "info", "warning", "error")
    events = [line["event"] for line in every]
    assert events[0].startswith("Started server process")
    assert "Waiting for application startup." in events
    assert "batch accepted" in events
    assert events[-1].startswith("Finished server process")


def test_every_line_of_a_run_has_the_ids_of_its_batch_and_of_the_request_that_began_it(
    world: World,
):
    service = world.service(log_level="DEBUG", **JSON)
    answer = upload(service, csv_file(2), **{"X-Request-ID": "mine"})
    batch_id = answer.json()["batch_id"]

    assert answer.headers["X-Request-ID"] == "mine"
    own = [line for line in lines(service) if line["logger"].startswith("services.")]
    assert {line.get("batch_id") for line in own} == {batch_id}
    assert {line.get("request_id") for line in own} == {"mine"}
    assert [line["event"] for line in own if line["level"] != "debug"] == [
        "batch accepted",
        "waiting for the directory",
        "the directory is awake",
        "activating",
        "batch ended",
    ]
    [ended] = told(service, "batch ended")
    assert (ended["status"], ended["created"], ended["rows"]) == ("completed", 2, 2)
    assert ended["seconds"] > 0.2


def test_each_attempt_of_a_row_is_told_at_debug_with_what_follows_from_it(world: World):
    service = world.service(log_level="DEBUG", **JSON)
    world.fault(
        {"endpoint": "create", "kind": "refuse", "times": 1, "name": "Hospital 1"},
        {"endpoint": "create", "kind": "error_before", "times": 1, "name": "Hospital 2"},
        {"endpoint": "create", "kind": "reject", "name": "Hospital 3"},
    )
    batch_id = upload(service, csv_file(3)).json()["batch_id"]

    attempts = told(service, "row sent")
    assert all(line["level"] == "debug" and line["seconds"] >= 0 for line in attempts)
    assert {line["directory_batch_id"] for line in attempts} == {batch_id}
    of_row = {
        number: [
            (line["attempt"], line["outcome"], line["decision"])
            for line in attempts
            if line["row"] == number
        ]
        for number in (1, 2, 3)
    }
    assert of_row == {
        1: [(1, "RateLimited", "waits for the rate window"), (1, "Created", "created")],
        2: [
            (1, "Unknown", "looked up before anything is sent again"),
            (2, "Created", "created"),
        ],
        3: [(1, "Refused", "refused: not sent again")],
    }
    holds = ("the directory refuses requests for their rate", "the directory takes requests again")
    assert [len(told(service, hold, lane="create", level="info")) for hold in holds] == [1, 1]


def test_batches_that_go_on_together_after_a_kill_keep_their_ids_apart(world: World):
    first = world.service(**JSON)
    batch_ids = {
        upload(first, csv_file(3, start=start), **ASYNC).json()["batch_id"] for start in (1, 10, 20)
    }
    first.kill()

    second = world.service(log_level="DEBUG", **JSON)
    wait_until(lambda: len(told(second, "batch ended")) == 3)

    assert {line["batch_id"] for line in told(second, "batch goes on after an interruption")} == (
        batch_ids
    )
    assert {line["batch_id"] for line in told(second, "batch ended")} == batch_ids
    for event in ("row sent", "activating"):
        assert all(line["batch_id"] == line["directory_batch_id"] for line in told(second, event))
    own = [line for line in lines(second) if "batch_id" in line]
    assert not any("request_id" in line for line in own), "nobody asked for it"


def test_a_request_has_one_line_and_probes_have_none(world: World):
    service = world.service(**JSON)
    answer = http.get(f"{service.url}/hospitals/resumable?name=Alder")
    for path in ("/health", "/health/ready"):
        http.get(f"{service.url}{path}")
    http.get(f"{service.url}/nothing")

    wait_until(lambda: told(service, "request", path="/nothing"))
    requests = told(service, "request")
    assert [(line["path"], line["status"]) for line in requests] == [
        ("/hospitals/resumable", 200),
        ("/nothing", 404),
    ]
    assert requests[0]["request_id"] == answer.headers["X-Request-ID"]
    assert requests[0]["client"] == "127.0.0.1"
    assert "Alder" not in service.output()
    assert "/health" not in service.output()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "path", ["/forged%0d%0a%1b%5b31mforged%00", "/forged%1b%5b31mforged", "/forged%e2%80%a8forged"]
)
def test_no_path_of_a_request_looks_like_a_line_of_its_own(world: World, path: str, form: str):
    service = world.service(log_format=form)

    http.get(f"{service.url}{path}")
    wait_until(lambda: "forged" in service.output())
    service.stop()

    [line] = [line for line in service.output().splitlines() if "forged" in line]
    assert not set(line) & {"\r", "\x1b", "\0", "\u2028"}
    assert line.count("forged") == 2


def test_a_watcher_that_leaves_is_told_of_when_it_does(world: World):
    service = world.service(**JSON)
    world.fault({"endpoint": "create", "kind": "slow", "seconds": 60})
    batch_id = upload(service, csv_file(1), **ASYNC).json()["batch_id"]
    path = f"/hospitals/progress/{batch_id}/events"

    with httpx.stream("GET", f"{service.url}{path}", timeout=20) as answer:
        pieces = answer.iter_bytes()  # kept: it closes the connection when it is dropped
        next(pieces)
        assert answer.headers["X-Request-ID"]
        assert told(service, "request", path=path) == []

    [line] = wait_until(lambda: told(service, "request", path=path))
    assert (line["status"], line["client_left"]) == (200, True)


def test_a_client_that_leaves_in_the_middle_of_an_upload_got_no_status(world: World):
    service = world.service(**JSON)
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /hospitals/bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )

    [line] = wait_until(lambda: told(service, "request"))
    assert (line["status"], line["client_left"]) == (None, True)


@pytest.fixture(params=FORMS)
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A service with something unforeseen in it, and the form of its log."""
    port = free_port()
    environment = {
        "BATCH_STORAGE_DIR": str(tmp_path / "batch_storage"),
        "LOG_FORMAT": request.param,
    }
    arguments = ["uvicorn", "tests.e2e.failing_service:app", "--port", str(port)]
    service = Server(arguments, port, "/health", environment, tmp_path / "service.log")
    yield service, request.param
    service.kill()


def test_what_is_unforeseen_is_told_once_with_the_id_of_its_request(failing: tuple[Server, str]):
    service, form = failing

    answer = http.get(f"{service.url}/unforeseen", headers={"X-Request-ID": "mine"})

    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == "mine"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert service.output().count("Traceback") == 1
    if form == "json":
        [line] = told(service, "unforeseen error")
        assert line["request_id"] == "mine"
        assert line["exception"].startswith("Traceback")
        assert "RuntimeError: unforeseen" in line["exception"]
        [request] = wait_until(lambda: told(service, "request"))
        assert request["status"] == 500
    else:
        output = [line for line in service.output().splitlines() if "forged" in line]
        assert all(line.startswith("    ") for line in output)
        assert not any(CONSOLE_LINE.match(line) for line in output)


def test_the_console_form_has_no_colours_where_there_is_no_terminal(world: World):
    service = world.service(log_level="DEBUG")
    upload(service, csv_file(1))
    service.stop()

    written = service.output().splitlines()
    assert all(CONSOLE_LINE.match(line) for line in written)
    assert "\x1b" not in service.output()
    assert any("batch ended" in line and "status=completed" in line for line in written)


@pytest.mark.parametrize("form", FORMS)
def test_no_value_of_a_file_and_no_key_is_told_above_debug(tmp_path: Path, form: str):
    """The directory repeats what it is sent, and so do the client's addresses and headers."""
    values = ["Zephyr Clinic", "7 Quince Row, Ystad", "0771 555 0199", "zephyr-file"]
    settings: dict[str, Any] = QUICK | {
        "settle_seconds": 0.05,
        "log_level": "DEBUG",
        "log_format": form,
        "api_keys": f"clinic:{SECRET}",
    }
    with in_a_thread(EchoingDirectory(), free_port()) as directory:
        service = start_service(tmp_path, directory, **settings)
        try:
            _provoke(service)
        finally:
            service.kill()

    written = service.output().splitlines()
    if form == "json":
        quiet = [line for line in written if json.loads(line)["level"] == "debug"]
        assert {json.loads(line)["event"] for line in quiet} >= {"row sent"}
    else:
        quiet = [line for line in written if "[debug" in line]
    loud = "\n".join(line for line in written if line not in quiet)
    assert "batch ended" in loud
    assert "row corrected" in loud
    assert "Zephyr Clinic" in "\n".join(quiet), "the refusals do repeat it"
    for value in values:
        assert value not in loud
    for secret in (SECRET, "wrong-" + SECRET, "Bearer", "clinic:"):
        assert secret not in service.output()


def _provoke(service: Server) -> None:
    """Have values of files and keys come by wherever they can."""
    key = {"Authorization": f"Bearer {SECRET}"}
    rows = b'name,address,phone\nZephyr Clinic,"7 Quince Row, Ystad",0771 555 0199\n'
    rows += b'Zephyr Clinic Two,"7 Quince Row, Ystad",0771 555 0199\n'
    bulk = f"{service.url}/hospitals/bulk?name=Zephyr%20Clinic"
    for headers in (key, {"X-API-Key": "wrong-" + SECRET}):
        http.post(bulk, files={"file": ("zephyr-file.csv", rows, "text/csv")}, headers=headers)
    faulty = {"file": ("zephyr-file.csv", rows + b"Zephyr Clinic\n", "text/csv")}
    assert http.post(bulk, files=faulty, headers=key).status_code == 400
    [batch] = http.get(f"{service.url}/hospitals/batches", headers=key).json()["batches"]
    assert batch["status"] == "failed"
    row = f"{service.url}/hospitals/batch/{batch['batch_id']}/rows/1"
    http.patch(row, json={"name": "Zephyr Clinic Three"}, headers=key).raise_for_status()
    http.patch(row, json={"name": "Zephyr Clinic\n"}, headers=key)
    resume = f"{service.url}/hospitals/resume/{batch['batch_id']}"
    http.post(resume, headers=key).raise_for_status()


@pytest.mark.parametrize(
    ("keys", "level", "event"),
    [
        ("", "warning", "open: anybody may call; set API_KEYS"),
        (f"a:{SECRET}1,a:{SECRET}2,b:{SECRET}3", "info", "whoever calls needs a key"),
    ],
)
def test_one_line_at_the_start_says_whether_the_service_is_open(
    world: World, keys: str, level: str, event: str
):
    service = world.service(api_keys=keys, **JSON)

    [line] = [one for one in lines(service) if "open" in one["event"] or "key" in one["event"]]
    assert (line["event"], line["level"]) == (event, level)
    assert line.get("names") == (2 if keys else None)
    assert SECRET not in service.output()


def test_less_than_the_level_is_not_written_by_the_server_either(world: World):
    service = world.service(log_level="ERROR", **JSON)
    upload(service, csv_file(1))
    service.stop()

    assert service.output() == ""


def test_a_start_that_fails_says_why_in_the_form_of_all_lines(world: World):
    world.service(**JSON)
    port = free_port()
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), "--app-dir", str(ROOT)],
        cwd=world.folder,
        env=clean_environment()
        | {
            "BATCH_STORAGE_DIR": str(world.folder / "batch_storage"),
            "SHUTDOWN_GRACE_SECONDS": "0",
            "LOG_FORMAT": "json",
        },
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert ended.returncode != 0
    assert ended.stdout == ""
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    [reason] = [line for line in events if "Another process uses" in line["event"]]
    assert reason["level"] == "error"
    assert "Traceback" not in ended.stderr


def test_a_setting_that_cannot_be_right_is_told_in_one_sentence_in_every_form(tmp_path: Path):
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "main:app", "--port", str(free_port())],
        cwd=ROOT,
        env=os.environ | {"LOG_FORMAT": "xml", "BATCH_STORAGE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert ended.returncode != 0
    [line] = ended.stderr.strip().splitlines()
    assert line.startswith("Cannot start: LOG_FORMAT ")
