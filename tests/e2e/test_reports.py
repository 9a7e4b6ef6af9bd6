"""The list of batches, reports and comparisons, as a client sees them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from scripts.processes import Server, start_service
from tests.e2e.conftest import INSTANT, REFUSED, http, upload

FINE = 'name,address,phone\nFine Hospital,"12 Alder Lane, Leeds",+44 113 496 0142\n'


@pytest.fixture
def service(
    instant_directory: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    service = start_service(tmp_path_factory.mktemp("reports"), instant_directory.url, **INSTANT)
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


def test_batches_are_listed_newest_first_and_page_by_page(service: Server):
    ids = [load(service, FINE)["batch_id"] for _ in range(3)]
    failed = load(service, FINE.replace("Fine Hospital", REFUSED))
    url = f"{service.url}/hospitals/batches"

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


def test_the_list_shows_only_the_statuses_asked_for(service: Server):
    completed = load(service, FINE)["batch_id"]
    failed = load(service, FINE.replace("Fine Hospital", REFUSED))["batch_id"]
    url = f"{service.url}/hospitals/batches"

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
