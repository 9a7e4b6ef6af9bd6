"""The list of batches, reports and comparisons, as a client sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.processes import Server
from tests.e2e.conftest import (
    CUT_OFF,
    HANGING,
    INSTANT,
    REFUSED,
    STORES,
    http,
    start_on,
    store_of,
    upload,
)
from tests.harness import csv_file

FINE = 'name,address,phone\nFine Hospital,"12 Alder Lane, Leeds",+44 113 496 0142\n'


@pytest.fixture(scope="module")
def service(
    store: str | None, instant_directory: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("reports")
    service = start_on(store, folder, instant_directory.url, **INSTANT)
    yield service
    service.kill()


@pytest.fixture(params=STORES)
def fresh(
    instant_directory: Server, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Server]:
    """A service without any batch."""
    service = start_on(store_of(request), tmp_path, instant_directory.url, **INSTANT)
    yield service
    service.kill()


def load(service: Server, content: str) -> dict[str, Any]:
    answer = upload(service, content)
    assert answer.status_code == 200
    return dict(answer.json())


def refused(answer: httpx.Response) -> str:
    """Check that a request was refused for what it asks; return the sentence."""
    assert answer.status_code == 422
    assert answer.json()["type"].endswith(":invalid-request")
    return str(answer.json()["detail"])


def test_batches_are_listed_newest_first_and_page_by_page(fresh: Server):
    ids = [load(fresh, FINE)["batch_id"] for _ in range(3)]
    failed = load(fresh, FINE.replace("Fine Hospital", REFUSED))
    url = f"{fresh.url}/hospitals/batches"

    first = http.get(url, params={"limit": 3}).json()
    second = http.get(url, params={"limit": 3, "cursor": first["next_cursor"]}).json()

    listed = [batch["batch_id"] for batch in first["batches"] + second["batches"]]
    assert listed == [failed["batch_id"], *reversed(ids)]
    assert second["next_cursor"] is None
    newest = first["batches"][0]
    assert newest.pop("created_at") < newest.pop("updated_at")
    assert newest == {
        "batch_id": failed["batch_id"],
        "file_name": "hospitals.csv",
        "owner": None,
        "status": "failed",
        "failure_reason": failed["failure_reason"],
        "total_hospitals": 1,
        "processed_hospitals": 0,
        "failed_hospitals": 1,
        "progress_percentage": 100.0,
        "batch_activated": False,
        "is_completed": True,
        "resume_count": 0,
    }


def test_the_list_shows_only_the_statuses_asked_for(fresh: Server):
    completed = load(fresh, FINE)["batch_id"]
    failed = load(fresh, FINE.replace("Fine Hospital", REFUSED))["batch_id"]
    url = f"{fresh.url}/hospitals/batches"

    def listed(*statuses: str) -> list[str]:
        found = http.get(url, params={"status": statuses}).json()["batches"]
        return [batch["batch_id"] for batch in found]

    assert listed("failed") == [failed]
    assert listed("completed", "failed") == listed() == [failed, completed]
    assert listed("resumable") == []
    assert http.head(url).status_code == 200


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limit=0", "greater than or equal to 1"),
        ("limit=101", "less than or equal to 100"),
        ("limit=ten", "limit"),
        ("status=done", "'resumable'"),
        ("status=failed&status=", "status"),
        ("cursor=x", "next_cursor"),
        ("cursor=" + "A" * 33, "next_cursor"),
        ("cursor=" + "A" * 31 + "%00", "next_cursor"),
    ],
)
def test_a_list_that_cannot_be_given_says_what_is_wrong(service: Server, query: str, told: str):
    assert told in refused(http.get(f"{service.url}/hospitals/batches?{query}"))


ODD = (
    'name,address,phone\n"=HYPERLINK(""x"")","-1, Sea Road\n+2","+44 113 496 0142"\n'
    "'@lice's,\"''=;\t|\",\nHôpital,1 rue de l'Église,(113) 496-0142\n"
)


def report_of(service: Server, batch: dict[str, Any], **query: str) -> httpx.Response:
    return http.get(f"{service.url}/hospitals/batch/{batch['batch_id']}/report.csv", params=query)


def preview(service: Server, content: bytes) -> list[dict[str, Any]]:
    """Return the rows that the service reads from a file."""
    files = {"file": ("report.csv", content)}
    checked = http.post(f"{service.url}/hospitals/validate", files=files).json()
    assert checked["errors"] == []
    return list(checked["preview_hospitals"])


def test_a_report_gives_the_file_back(service: Server):
    batch = load(service, ODD)

    answer = report_of(service, batch)

    name = f"hospitals-{batch['batch_id'][:8]}.csv"
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert answer.text.startswith("row,name,address,phone,status,hospital_id,error\r\n1,")
    assert answer.text.count("created_and_activated") == 3
    assert preview(service, answer.content) == preview(service, ODD.encode())
    again = load(service, answer.text)
    assert again["status"] == "completed"
    assert preview(service, report_of(service, again).content) == preview(service, ODD.encode())


def test_a_head_of_a_report_has_its_headers_and_no_body(service: Server):
    batch = load(service, ODD)

    answer = http.head(f"{service.url}/hospitals/batch/{batch['batch_id']}/report.csv")

    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.content == b""


def test_the_failed_rows_are_corrected_in_the_report_and_uploaded_as_they_are(service: Server):
    sound, refused_row = "Fine Hospital,1 Sea Road,\n", f"{REFUSED},+2 Sea Road,+12345678\n"
    batch = load(service, f"name,address,phone\n{sound}{refused_row}")

    answer = report_of(service, batch, only="failed")

    header, row, end = answer.text.split("\r\n")
    assert row.startswith(f"2,{REFUSED},'+2 Sea Road,'+12345678,failed,,refused by the directory")
    assert end == ""
    mended = load(service, f"{header}\r\n{row.replace(REFUSED, '=Mended')}\r\n")
    assert mended["status"] == "completed"
    assert mended["hospitals"][0]["name"] == "=Mended"


@pytest.mark.parametrize("name", ["Fine Hospital", REFUSED, CUT_OFF, HANGING])
def test_a_report_of_a_batch_in_any_state_can_be_had(service: Server, name: str):
    content = FINE.replace("Fine Hospital", name)
    batch = upload(service, content, Prefer="respond-async").json()

    assert preview(service, report_of(service, batch).content) == preview(service, content.encode())


@pytest.mark.parametrize("only", ["x", "", "FAILED", "created"])
def test_a_report_of_other_rows_than_failed_ones_is_refused(service: Server, only: str):
    batch = load(service, FINE)

    assert "'failed'" in refused(report_of(service, batch, only=only))


def test_a_verification_tells_what_became_of_a_batch(service: Server, instant_directory: Server):
    batch = load(service, csv_file(3))
    url = f"{service.url}/hospitals/batch/{batch['batch_id']}/verify"
    assert http.get(url).json() == {
        "batch_id": batch["batch_id"],
        "matches": True,
        "missing": [],
        "surplus": [],
        "inactive": [],
    }
    first, second, _ = (row["hospital_id"] for row in batch["hospitals"])
    held = instant_directory.url + "/_directory/hospitals"
    of_batch = {"address": "9 Elm", "creation_batch_id": batch["batch_id"]}
    http.delete(f"{instant_directory.url}/hospitals/{first}")
    stranger = http.post(held, json={"name": "Stranger", **of_batch}).json()
    http.put(f"{instant_directory.url}/hospitals/{second}", json={"name": "Renamed"})

    found = http.get(url).json()

    assert not found["matches"]
    assert found["missing"] == [
        {"row": 1, "hospital_id": None, "name": "Hospital 1"},
        {"row": 2, "hospital_id": None, "name": "Hospital 2"},
    ]
    assert found["surplus"] == [
        {"row": None, "hospital_id": second, "name": "Renamed"},
        {"row": None, "hospital_id": stranger["id"], "name": "Stranger"},
    ]


def test_a_batch_that_stopped_shows_its_inactive_rows(service: Server):
    batch = load(service, FINE + f"{CUT_OFF},1 Sea Road,\n")
    url = f"{service.url}/hospitals/batch/{batch['batch_id']}/verify"

    found = http.get(url).json()

    # The run may have stopped before the first row was sent.
    created = [row for row in batch["hospitals"] if row["hospital_id"] is not None]
    lacking = [row for row in batch["hospitals"] if row["hospital_id"] is None]
    assert CUT_OFF in [row["name"] for row in lacking]
    assert found["missing"] == [about(row) for row in lacking]
    assert found["inactive"] == [about(row) for row in created]
    assert found["surplus"] == []


def about(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a comparison tells of a row."""
    return {name: row[name] for name in ("row", "hospital_id", "name")}
