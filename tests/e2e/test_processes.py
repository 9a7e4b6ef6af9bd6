"""The real service and the real local directory: killed, stopped, started again."""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from scripts.processes import ROOT, DidNotStart, free_port
from tests.e2e.conftest import World, assert_exactly_once, http, progress, upload, wait_until
from tests.harness import csv_file

ASYNC = {"Prefer": "respond-async"}


def test_a_file_is_loaded_and_active_when_the_upload_answers(world: World):
    service = world.service()

    answer = upload(service, csv_file(20))

    result = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Location"] == f"/hospitals/progress/{result['batch_id']}"
    assert result["status"] == "completed"
    assert result["batch_activated"]
    assert result["processed_hospitals"] == result["total_hospitals"] == 20
    assert {row["status"] for row in result["hospitals"]} == {"created_and_activated"}
    assert_exactly_once(world, service, result["batch_id"], 20)


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_a_random_moment_ends_exactly_once_after_a_plain_restart(world: World, seed: int):
    service = world.service()
    world.fault(
        {"endpoint": "create", "kind": "drop_after", "times": 2},
        {"endpoint": "create", "kind": "hang", "times": 1},
    )
    batch_id = upload(service, csv_file(20), **ASYNC).json()["batch_id"]
    time.sleep(random.Random(seed).uniform(0, 2))  # noqa: TID251 - the moment is the test
    service.kill()

    again = world.service()

    ended = assert_exactly_once(world, again, batch_id, 20)
    assert ended["resume_count"] <= 1


def test_kills_and_directory_restarts_in_a_row_end_exactly_once(world: World):
    service = world.service()
    batch_id = upload(service, csv_file(20), **ASYNC).json()["batch_id"]
    for _ in range(2):
        wait_until(world.creates_under_way)
        service.kill()
        world.restart_directory()
        service = world.service()

    assert_exactly_once(world, service, batch_id, 20)


def test_a_directory_that_is_down_leaves_the_batch_resumable_and_a_resume_finishes_it(
    world: World,
):
    service = world.service()
    world.directory.kill()
    started = time.monotonic()

    result = upload(service, csv_file(5)).json()

    assert result["status"] == "resumable"
    assert "could not be reached" in result["failure_reason"]
    assert time.monotonic() - started < 4.5 + 1
    [resumable] = http.get(f"{service.url}/hospitals/resumable").json()
    assert resumable["batch_id"] == result["batch_id"]
    assert resumable["resume_from_row"] == 1
    world.restart_directory()
    resumed = http.post(f"{service.url}/hospitals/resume/{result['batch_id']}")
    assert resumed.json()["status"] == "completed"
    assert_exactly_once(world, service, result["batch_id"], 5)


def test_a_waiting_client_gets_202_when_the_service_stops_and_the_batch_goes_on(world: World):
    service = world.service(max_concurrent_requests=5)
    answers: list[httpx.Response] = []
    client = threading.Thread(target=lambda: answers.append(upload(service, csv_file(20))))
    client.start()
    wait_until(world.creates_under_way)

    service.stop(timeout_s=5)
    client.join()

    [answer] = answers
    assert answer.status_code == 202
    assert answer.headers["Location"].startswith("/hospitals/progress/")
    again = world.service()
    assert_exactly_once(world, again, answer.json()["batch_id"], 20)


def test_a_stalled_upload_does_not_keep_the_service_from_stopping(world: World):
    service = world.service()
    with socket.create_connection(("127.0.0.1", httpx.URL(service.url).port or 0)) as stalled:
        stalled.sendall(
            b"POST /hospitals/bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        wait_until(lambda: http.get(f"{service.url}/health").is_success)

        service.stop(timeout_s=5)

        assert stalled.recv(1000).startswith(b"HTTP/1.1 503 ")


def test_the_batch_goes_on_when_the_client_goes_away(world: World):
    service = world.service()
    with pytest.raises(httpx.ReadTimeout):
        http.post(
            f"{service.url}/hospitals/bulk",
            files={"file": ("hospitals.csv", csv_file(20).encode(), "text/csv")},
            timeout=0.1,
        )

    [path] = wait_until(lambda: list((world.folder / "batch_storage").glob("*.json")))

    assert_exactly_once(world, service, path.stem, 20)


def test_a_second_process_on_the_same_storage_stops_with_a_sentence_that_helps(world: World):
    world.service()

    with pytest.raises(DidNotStart) as failure:
        world.service()

    assert "Another process uses BATCH_STORAGE_DIR" in str(failure.value)
    assert "Traceback" not in str(failure.value)


def test_a_successor_waits_for_its_predecessor_to_shut_down(world: World):
    first = world.service()
    world.fault({"endpoint": "create", "kind": "hang", "times": 1})
    batch_id = upload(first, csv_file(3), **ASYNC).json()["batch_id"]
    first.process.terminate()

    successor = world.service()

    assert_exactly_once(world, successor, batch_id, 3)


def test_unreadable_checkpoints_are_set_aside_and_hide_no_other(world: World):
    first = world.service()
    batch_id = upload(first, csv_file(2)).json()["batch_id"]
    first.stop()
    storage = world.folder / "batch_storage"
    (storage / f"{batch_id[:-4]}0000.json").write_text('{"version": 1, "batch_id": "')

    second = world.service()

    assert progress(second, batch_id)["status"] == "completed"
    assert (storage / f"{batch_id[:-4]}0000.json.set-aside").exists()
    assert "checkpoint cannot be read" in second.output()
    assert f"{batch_id[:-4]}0000.json" in second.output()


def test_storage_that_cannot_be_used_answers_503_and_sends_nothing(world: World, tmp_path: Path):
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    service = world.service(batch_storage_dir=blocked / "below")

    answer = upload(service, csv_file(2))

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert http.get(f"{service.url}/health/ready").json()["failing"] == ["storage"]
    assert http.get(f"{world.directory.url}/_directory/hospitals").json() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CREATE_RATE_LIMIT", "-1"),
        ("HOSPITAL_API_BASE_URL", "http://"),
        ("MAX_ATTEMPTS", "many"),
        ("SETTLE_SECONDS", "nan"),
        ("MAX_CSV_SIZE", "10001"),
    ],
)
def test_a_setting_that_cannot_be_right_stops_the_start_with_one_line(
    tmp_path: Path, name: str, value: str
):
    ended = subprocess.run(
        [sys.executable, "-m", "uvicorn", "main:app", "--port", str(free_port())],
        cwd=ROOT,
        env=os.environ | {name: value, "BATCH_STORAGE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert ended.returncode != 0
    [line] = ended.stderr.strip().splitlines()
    assert line.startswith(f"Cannot start: {name} ")


def test_no_value_of_the_file_is_logged(world: World):
    service = world.service()
    world.fault({"endpoint": "create", "kind": "error_before", "times": 3})

    upload(service, csv_file(5))
    upload(service, "name,address\nX,Nowhere\n")

    assert "completed" in service.output()
    for content in ("Main Street", "555-01", "Nowhere", "Hospital 1"):
        assert content not in service.output()
