"""Cancel, correction and skipped rows over HTTP, with a real service, directory and kill."""

from typing import Any

import httpx
import pytest

from scripts.processes import Server
from tests.e2e.conftest import (
    World,
    assert_exactly_once,
    both_stores,
    http,
    progress,
    upload,
    wait_until,
)
from tests.harness import csv_file

ASYNC = {"Prefer": "respond-async"}
MIXED = "name,address,phone\nHospital 1,1 Main Street,\nX,2 Main Street,n/a\n"


def rows_url(service: Server, batch_id: str, row: int) -> str:
    return f"{service.url}/hospitals/batch/{batch_id}/rows/{row}"


def skipping(service: Server, content: str) -> httpx.Response:
    files = {"file": ("mixed.csv", content.encode(), "text/csv")}
    return http.post(f"{service.url}/hospitals/bulk?skip_invalid=true", files=files)


def refused_batch(world: World, service: Server) -> dict[str, Any]:
    """Load a file of which the directory refuses the second row once."""
    world.fault({"endpoint": "create", "kind": "reject", "times": 1, "name": "Hospital 2"})
    batch: dict[str, Any] = upload(service, csv_file(3)).json()
    assert batch["status"] == "failed"
    return batch


def test_a_cancel_holds_over_a_kill_and_a_resume_finishes_the_batch(world: World):
    world.fault({"endpoint": "create", "kind": "slow", "seconds": 3})
    service = world.service(max_concurrent_requests=2)
    batch_id = upload(service, csv_file(10), **ASYNC).json()["batch_id"]
    wait_until(lambda: world.creates_under_way() > 0)

    answer = http.post(f"{service.url}/hospitals/batch/{batch_id}/cancel")
    service.kill()

    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/hospitals/progress/{batch_id}"
    assert "cancelled" in answer.json()["current_step"]
    world.fault()
    again = world.service()
    stopped = progress(again, batch_id)
    assert (stopped["status"], stopped["is_completed"]) == ("resumable", True)
    assert "cancelled" in stopped["failure_reason"]
    http.post(f"{again.url}/hospitals/resume/{batch_id}", headers=ASYNC)
    assert_exactly_once(world, again, batch_id, 10)
    refused = http.post(f"{again.url}/hospitals/batch/{batch_id}/cancel")
    assert refused.status_code == 409
    assert "completed" in refused.json()["detail"]


@both_stores
def test_a_refused_row_is_corrected_and_the_batch_completed(world: World):
    service = world.service()
    batch = refused_batch(world, service)
    values = batch["hospitals"][1]["to_correct"]
    assert values == {
        "name": "Hospital 2",
        "address": "2 Main Street Springfield",
        "phone": "555-0100002",
    }
    assert [row["to_correct"] for row in batch["hospitals"][::2]] == [None, None]

    answer = http.patch(
        rows_url(service, batch["batch_id"], 2), json={"name": "Second Hospital", "phone": None}
    )

    assert answer.status_code == 200
    assert (answer.json()["row"], answer.json()["name"]) == (2, "Second Hospital")
    assert answer.json()["status"] == "pending"
    assert progress(service, batch["batch_id"])["status"] == "resumable"
    resumed = http.post(f"{service.url}/hospitals/resume/{batch['batch_id']}").json()
    assert [row["name"] for row in resumed["hospitals"]] == ["Second Hospital"]
    assert_exactly_once(world, service, batch["batch_id"], 3)


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        ({"json": {"phone": "n/a"}}, 422, "still has errors"),
        ({"json": {"name": None}}, 422, "still has errors"),
        ({"json": {}}, 422, "at least one of name, address and phone"),
        ({"json": {"fax": "1"}}, 422, "fax"),
        ({"json": {"name": 7}}, 422, "name"),
        ({"json": ["name"]}, 422, "body"),
        ({"content": b"{"}, 422, "body"),
        ({"content": b'{"name": "No\\ud800rd"}'}, 422, "still has errors"),
        ({}, 422, "body"),
        ({"content": b'{"name": "\xff"}'}, 422, "UTF-8"),
    ],
)
def test_a_correction_that_cannot_be_right_says_why_and_changes_nothing(
    world: World, content: dict[str, Any], status: int, words: str
):
    service = world.service()
    batch = refused_batch(world, service)
    headers = {"Content-Type": "application/json"} if "content" in content else {}

    answer = http.patch(rows_url(service, batch["batch_id"], 2), headers=headers, **content)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert progress(service, batch["batch_id"])["status"] == "failed"


def test_a_column_with_an_endless_name_is_not_told_in_whole(world: World):
    service = world.service()
    batch = refused_batch(world, service)

    answer = http.patch(rows_url(service, batch["batch_id"], 2), json={"k" * 100_000: "1"})

    assert answer.status_code == 422
    assert len(answer.content) < 1000


def test_the_errors_of_a_corrected_row_are_those_of_a_file(world: World):
    service = world.service()
    batch = refused_batch(world, service)

    answer = http.patch(
        rows_url(service, batch["batch_id"], 2), json={"name": "X", "phone": "n/a"}
    ).json()

    assert [(e["row"], e["column"], e["error_type"]) for e in answer["errors"]] == [
        (2, "name", "too_short"),
        (2, "phone", "invalid_phone"),
    ]


@both_stores
def test_rows_that_cannot_be_corrected(world: World):
    service = world.service()
    batch_id = refused_batch(world, service)["batch_id"]

    for row, status in {0: 404, 4: 404, 10**20: 404, 1: 409}.items():
        answer = http.patch(rows_url(service, batch_id, row), json={"name": "Other Hospital"})
        assert answer.status_code == status
        assert answer.json()["detail"]


@both_stores
def test_the_sound_rows_of_a_file_are_loaded(world: World):
    service = world.service()

    batch = skipping(service, MIXED).json()

    assert (batch["status"], batch["batch_activated"]) == ("completed", True)
    assert (batch["processed_hospitals"], batch["failed_hospitals"]) == (1, 1)
    assert "phone" in batch["hospitals"][1]["error_message"]
    told = progress(service, batch["batch_id"])
    assert told["file_name"] == "mixed.csv"
    assert told["current_step"] == (
        "completed: 1 of 2 rows are in the directory, once, active; 1 were skipped"
    )
    [held] = world.hospitals(batch["batch_id"])
    assert (held["name"], held["active"]) == ("Hospital 1", True)


def test_without_skip_invalid_and_without_a_sound_row_the_file_is_refused(world: World):
    service = world.service()

    assert upload(service, MIXED).status_code == 400
    assert skipping(service, "name,address\nX,\n").status_code == 400


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("C:\\\\files\\\\north.csv", "north.csv"),
        ("../../etc/north.csv", "north.csv"),
        ("n\u00f8rd \u202e.csv", "n\u00f8rd .csv"),
        ("x" * 400 + ".csv", "x" * 255),
    ],
)
def test_a_files_name_is_shown_without_folders_and_odd_characters(
    world: World, sent: str, shown: str
):
    service = world.service()
    files = {"file": (sent, csv_file(1).encode(), "text/csv")}

    answer = http.post(f"{service.url}/hospitals/bulk", files=files, headers=ASYNC)

    assert answer.json()["file_name"] == shown
