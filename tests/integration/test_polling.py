"""What polling tells of a batch, through all that can happen to it."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from config import Settings
from main import create_app
from models.api import Progress, RowSelection, RowState
from models.batch import Batch, BatchStatus
from routers import progress as progress_routes
from routers.dependencies import get_batch_id, get_service
from routers.polled_route import PolledRoute
from routers.progress_document import FirstPages, get_pages, progress_json
from tests.harness import Harness, csv_file
from tests.integration.test_exactly_once import play

SELECTIONS = (
    RowSelection(),
    RowSelection(0, 10),
    RowSelection(10, 10),
    RowSelection(only_failed=True),
    RowSelection(1, 1, only_failed=True),
)


def assert_told_as_is(harness: Harness, batch: Batch, pages: FirstPages) -> None:
    """Compare each page with its rows, each of which is put into words anew."""
    for selection in SELECTIONS:
        document = json.loads(progress_json(harness.service, batch, selection, pages))
        states = [
            RowState.of(row, is_correctable=batch.is_correctable).model_dump(mode="json")
            for row in selection.of(batch)
        ]
        assert document["hospitals"] == states
        assert document["status"] == batch.status
        assert document["processed_hospitals"] == batch.created_count
        assert document["selected_hospitals"] == selection.count(batch)


def test_nothing_is_told_later_than_it_is_so(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        changes: list[int | None] = []
        pages = FirstPages()
        await harness.fault("reject", times=None, name="Hospital 3")
        await harness.fault("drop_after", times=2, skip=8)
        batch = await harness.submit(csv_file(20))

        def hear(row: int | None) -> None:
            changes.append(row)
            assert_told_as_is(harness, batch, pages)

        harness.service.watch(batch.id, hear)
        await harness.service.wait(batch)
        assert batch.status is BatchStatus.FAILED
        assert_told_as_is(harness, batch, pages)

        await harness.service.correct(batch.id, 3, {"name": "Third Hospital"})
        assert_told_as_is(harness, batch, pages)
        assert told_row(harness, batch, 3)["name"] == "Third Hospital"

        resumed = await harness.resume(batch)
        assert resumed.status is BatchStatus.COMPLETED
        assert_told_as_is(harness, batch, pages)
        assert told_row(harness, batch, 3)["status"] == "created_and_activated"
        assert {*range(1, 21)} <= {*changes}

    play(tmp_path, scenario)


def test_the_seconds_go_by_though_no_row_changes(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch, pages = await harness.submit(csv_file(20)), FirstPages()
        await asyncio.sleep(1)
        first = progress(harness, batch, pages)
        await asyncio.sleep(1)
        second = progress(harness, batch, pages)

        assert second.hospitals == first.hospitals
        assert second.processing_time_seconds == first.processing_time_seconds + 1

    play(tmp_path, scenario)


def test_the_document_has_its_fields_in_the_order_of_its_shape(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))

        document = progress_json(harness.service, batch)

        assert [*json.loads(document)] == [*Progress.model_fields]
        assert Progress.model_validate_json(document).model_dump_json().encode() == document

    play(tmp_path, scenario)


KEYS = {
    "north": "the-secret-of-north",
    "south": "the-secret-of-south",
    "admin": "the-secret-of-all",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("who", [*KEYS, None])
def test_with_and_without_a_query_the_answer_is_the_same(
    tmp_path: Path, who: str | None, method: str
):
    """A call without one is not read by the framework."""

    async def scenario(harness: Harness) -> None:
        batch = await harness.upload(csv_file(3), owner="north")
        await harness.service.wait(batch)
        pairs = ",".join(f"{name}:{secret}" for name, secret in KEYS.items())
        headers = {"X-Request-ID": "mine"} | ({"X-API-Key": KEYS[who]} if who else {})
        async with client_of(harness, api_keys=pairs) as client:
            statuses = []
            for name in (str(batch.id), batch.id.hex.upper(), str(UUID(int=1)), "nonsense", "%20"):
                path = f"/hospitals/progress/{name}"
                bare = await client.request(method, path, headers=headers)
                queried = await client.request(method, path + "?offset=0", headers=headers)
                statuses.append(bare.status_code)
                assert bare.status_code == queried.status_code
                assert bare.headers == queried.headers
                assert bare.content == queried.content

        known = {"north": 200, "admin": 200, "south": 404, None: 401}[who]
        assert statuses == [known, known] + [404 if who else 401] * 3

    play(tmp_path, scenario)


def test_the_short_way_finds_all_that_the_endpoint_takes():
    (route,) = (r for r in progress_routes.router.routes if isinstance(r, PolledRoute))

    found = {get_batch_id, get_service, get_pages}
    assert found == {dependency.call for dependency in route.dependant.dependencies}
    assert not any(param.field_info.is_required() for param in route.dependant.query_params)
    assert not route.dependant.header_params + route.dependant.cookie_params


def test_another_method_is_refused(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(3))
        async with client_of(harness) as client:
            answer = await client.post(f"/hospitals/progress/{batch.id}")

        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET, HEAD"

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("query", "status", "rows"),
    [
        ("", 200, [1, 2, 3]),
        ("?", 200, [1, 2, 3]),
        ("?limit=2", 200, [1, 2]),
        ("?offset=1&limit=1", 200, [2]),
        ("?only=failed", 200, []),
        ("?unknown=1", 200, [1, 2, 3]),
        ("?limit=0", 422, None),
        ("?offset=-1", 422, None),
        ("?only=good", 422, None),
    ],
)
def test_a_query_is_heeded(tmp_path: Path, query: str, status: int, rows: list[int] | None):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(3))
        async with client_of(harness) as client:
            answer = await client.get(f"/hospitals/progress/{batch.id}{query}")

        assert answer.status_code == status
        if rows is not None:
            assert [row["row"] for row in answer.json()["hospitals"]] == rows

    play(tmp_path, scenario)


def client_of(harness: Harness, **settings: Any) -> httpx.AsyncClient:
    """Return a client of the application that serves what the harness runs."""
    app = create_app(Settings(_env_file=None, **settings))
    app.state.service = harness.service
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service.test")


def progress(harness: Harness, batch: Batch, pages: FirstPages) -> Progress:
    document = progress_json(harness.service, batch, pages=pages)
    return Progress.model_validate_json(document)


def told_row(harness: Harness, batch: Batch, number: int) -> dict[str, Any]:
    document = json.loads(progress_json(harness.service, batch))
    return dict(document["hospitals"][number - 1])
