"""A batch of more rows than a page has, over real sockets: its result, its pages, its events."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from scripts.processes import Server, start_directory, start_service
from tests.e2e.conftest import INSTANT, http, upload
from tests.e2e.event_client import parse
from tests.harness import csv_file

ROWS = 1250
PAGE = 1000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("large")
    instant = ("--create-seconds", "0", "--create-limit", "0", "--lookup-limit", "0")
    directory = start_directory(folder, *instant, "--batch-limit", "0")
    limits = {"max_csv_size": ROWS, "directory_batch_limit": ROWS}
    service = start_service(folder, directory.url, **(INSTANT | limits))
    yield service
    service.kill()
    directory.kill()


@pytest.fixture(scope="module")
def answer(service: Server) -> httpx.Response:
    return upload(service, csv_file(ROWS))


@pytest.fixture
def url(service: Server, answer: httpx.Response) -> str:
    return service.url + answer.headers["Location"]


def test_the_result_of_an_upload_has_every_row(answer: httpx.Response):
    result = answer.json()

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert result["status"] == "completed"
    assert [row["row"] for row in result["hospitals"]] == list(range(1, ROWS + 1))
    assert {row["status"] for row in result["hospitals"]} == {"created_and_activated"}


def test_pages_together_have_the_rows_of_the_result(answer: httpx.Response, url: str):
    rows: list[Any] = []
    while page := http.get(url, params={"offset": len(rows), "limit": 400}).json()["hospitals"]:
        rows += page

    assert rows == answer.json()["hospitals"]
    first = http.get(url).json()
    assert (first["offset"], first["selected_hospitals"]) == (0, ROWS)
    assert first["hospitals"] == rows[:PAGE]


def test_a_filter_that_leaves_nothing_gives_an_empty_page(url: str):
    page = http.get(url, params={"only": "failed", "offset": 3}).json()

    assert (page["hospitals"], page["offset"], page["selected_hospitals"]) == ([], 3, 0)
    assert page["processed_hospitals"] == ROWS


@pytest.mark.parametrize(
    "query", ["offset=-1", "offset=x", "limit=0", "limit=1001", "only=created", "offset=1e99"]
)
def test_what_is_no_page_is_refused(url: str, query: str):
    answer = http.get(f"{url}?{query}")

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert f"query {query.partition('=')[0]}" in answer.json()["detail"]


def test_a_stream_begins_and_ends_with_the_first_page(url: str):
    events = parse(http.get(f"{url}/events").content)

    assert [event.kind for event in events] == ["progress", "done"]
    assert events[0].data == events[1].data == http.get(url).json()
