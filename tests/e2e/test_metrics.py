"""The metrics as Prometheus reads them from the running service, and what requests do to them."""

import asyncio
import random
import string
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from config import Settings
from main import create_app
from scripts.processes import Server
from tests.e2e.conftest import HANGING, INSTANT, World, http, progress, upload, wait_until
from tests.harness import csv_file

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
ADMIN, ORDINARY = "the-secret-of-an-admin", "the-secret-of-north"
KEYS = f"admin:{ADMIN},north:{ORDINARY}"


def series_of(text: str) -> Series:
    """Return every series of an answer with its value."""
    return {
        (sample.name.removeprefix("hospital_bulk_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """Return the value of one series, 0 if there is none."""
    return series.get((name, frozenset(labels.items())), 0.0)


def scraped(service: Server) -> Series:
    answer = http.get(f"{service.url}/metrics")
    answer.raise_for_status()
    return series_of(answer.text)


@asynccontextmanager
async def running(
    folder: Path, **settings: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """Run the application in this process, and give a client that is told of no exception."""
    app = create_app(
        Settings(
            _env_file=None,
            hospital_api_base_url="http://127.0.0.1:1",
            batch_storage_dir=folder,
            **settings,
        )
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service.test") as client,
    ):
        yield app, client


def test_an_upload_is_seen_in_the_metrics(world: World):
    service = world.service()
    world.fault({"endpoint": "create", "kind": "drop_after", "times": 1})

    batch = upload(service, csv_file(3)).json()
    series = scraped(service)

    assert batch["status"] == "completed"
    assert value(series, "creates_total", outcome="created") == 2
    assert value(series, "creates_total", outcome="unknown") == 1
    assert value(series, "unknown_outcomes_settled_total", how="found") == 1
    assert value(series, "create_seconds_count") == 2
    assert value(series, "checkpoint_seconds_count") >= 1
    assert value(series, "batches", status="completed") == 1
    assert value(series, "rows_waiting") == 0
    assert value(series, "create_budget_left") in range(27, 31)  # 30 when the window is over
    request = {"method": "POST", "route": "/hospitals/bulk", "status": "200"}
    assert value(series, "http_requests_total", **request) == 1
    assert value(series, "http_request_seconds_count", route="/hospitals/bulk") == 1
    assert value(series, "http_request_seconds_sum", route="/hospitals/bulk") > 0.25
    assert value(series, "build_info", version=Settings(_env_file=None).app_version) == 1
    assert value(series, "process_cpu_seconds_total") >= 0


def test_an_event_stream_is_seen_while_it_is_open(world: World):
    service = world.service(http_timeout_seconds=60)
    world.fault({"endpoint": "create", "kind": "slow", "seconds": 30})
    batch_id = upload(service, csv_file(1), Prefer="respond-async").json()["batch_id"]
    events = f"{service.url}/hospitals/progress/{batch_id}/events"
    route = "/hospitals/progress/{batch_id}/events"

    with http.stream("GET", events) as stream:
        pieces = stream.iter_bytes()  # the stream is closed when nobody holds them any more
        next(pieces)
        series = scraped(service)
        assert value(series, "event_streams") == 1
        request = {"method": "GET", "route": route, "status": "200"}
        assert value(series, "http_requests_total", **request) == 1
        assert value(series, "http_request_seconds_count", route=route) == 1

    wait_until(lambda: value(scraped(service), "event_streams") == 0)
    assert not progress(service, batch_id)["is_completed"]


def test_the_text_is_that_of_prometheus_and_on_request_that_of_openmetrics(world: World):
    url = f"{world.service().url}/metrics"

    plain = http.get(url)
    asked = http.get(
        url,
        headers={"Accept": "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.5"},
    )

    assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert asked.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert plain.headers["Vary"] == asked.headers["Vary"] == "Accept"
    families: Iterator[Metric] = openmetrics.text_string_to_metric_families(asked.text)
    names = {family.name for family in families}
    assert {"hospital_bulk_creates", "hospital_bulk_batches"} <= names
    assert asked.text.endswith("# EOF\n")


def test_every_metric_says_what_it_is(world: World):
    answer = http.get(f"{world.service().url}/metrics")

    for family in text_string_to_metric_families(answer.text):
        assert family.documentation.endswith("."), family.name
        assert family.name.startswith(("hospital_bulk_", "process_"))


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/health", "/health", 200),
        ("HEAD", "/health", "/health", 200),
        ("DELETE", "/health", "/health", 405),
        ("GET", "/health/", "other", 307),
        ("GET", "/nothing/here", "other", 404),
        ("GET", "/docs", "/docs", 200),
        ("GET", "/dashboard", "/dashboard", 200),
        ("GET", "/dashboard/app.js", "/dashboard/{name}", 200),
        ("GET", "/dashboard/none.js", "/dashboard/{name}", 404),
        ("GET", "/hospitals/progress/x", "/hospitals/progress/{batch_id}", 404),
        ("POST", "/hospitals/progress/cleanup", "/hospitals/progress/cleanup", 200),
        ("PATCH", "/hospitals/batch/x/rows/2", "/hospitals/batch/{batch_id}/rows/{row}", 404),
    ],
)
async def test_a_request_is_counted_by_its_route(
    method: str, path: str, route: str, status: int, tmp_path: Path
):
    async with running(tmp_path) as (_, client):
        answer = await client.request(method, path)
        series = series_of((await client.get("/metrics")).text)

    assert answer.status_code == status
    counted = {"method": method, "route": route, "status": str(status)}
    assert value(series, "http_requests_total", **counted) == 1
    assert value(series, "http_request_seconds_count", route=route) == 1


async def test_what_is_answered_before_a_route_is_chosen_has_one_too(tmp_path: Path):
    async with running(tmp_path, api_keys=KEYS) as (_, client):
        too_large = {"X-API-Key": ADMIN, "Content-Length": "99999999"}
        assert (await client.get("/hospitals/batches")).status_code == 401
        assert (await client.post("/hospitals/bulk", headers=too_large)).status_code == 413
        series = series_of((await client.get("/metrics", headers={"X-API-Key": ADMIN})).text)

    early = [("GET", "/hospitals/batches", "401"), ("POST", "/hospitals/bulk", "413")]
    for method, route, status in early:
        labels = {"method": method, "route": route, "status": status}
        assert value(series, "http_requests_total", **labels) == 1


async def test_behind_a_prefix_the_routes_are_the_same(tmp_path: Path):
    async with running(tmp_path) as (app, _):
        transport = httpx.ASGITransport(app, root_path="/bulk")
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
            assert (await client.get("/bulk/health")).status_code == 200
            series = series_of((await client.get("/bulk/metrics")).text)

    assert value(series, "http_request_seconds_count", route="/health") == 1


async def test_odd_requests_make_no_new_series(tmp_path: Path):
    """Each label value is memory here and in Prometheus for as long as the process lives."""
    chance = random.Random(20261124)

    def word() -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits + "-%é", k=12))

    async def odd_requests(client: httpx.AsyncClient, number: int) -> set[Any]:
        for _ in range(number):
            for path in (
                f"/{word()}",
                f"/hospitals/{word()}/{word()}",
                f"/hospitals/progress/{word()}",
                f"/hospitals/batch/{word()}/rows/{chance.randrange(10**9)}",
                f"/dashboard/{word()}.js",
                f"/health?{word()}={word()}",
            ):
                for method in ("GET", "PATCH", word().upper().encode().hex()):
                    names = (b"X-Request-ID", b"User-Agent", b"Host")
                    headers = {name: word().encode() for name in names}
                    await client.request(method, path, headers=headers)
        return set(series_of((await client.get("/metrics")).text))

    async with running(tmp_path, max_requests_per_second=0) as (_, client):
        await odd_requests(client, 3)  # with a scrape, which is counted after it was answered
        known = await odd_requests(client, 3)
        after = await odd_requests(client, 30)

    assert after == known
    assert len(after) < 400


async def test_what_fails_in_a_scrape_fails_for_the_scraper_alone(tmp_path: Path):
    async with running(tmp_path) as (app, client):
        app.state.meters.show_event_streams(lambda: 1 // 0)
        broken = await client.get("/metrics")
        health = await client.get("/health")
        app.state.meters.show_event_streams(lambda: 0)
        series = series_of((await client.get("/metrics")).text)

    assert broken.status_code == 500
    assert broken.headers["Content-Type"] == "application/problem+json"
    assert health.status_code == 200
    failed = {"method": "GET", "route": "/metrics", "status": "500"}
    assert value(series, "http_requests_total", **failed) == 1


async def test_two_applications_in_one_process_count_each_for_itself(tmp_path: Path):
    async with (
        running(tmp_path / "a") as (_, one),
        running(tmp_path / "b") as (_, other),
    ):
        await one.get("/health")
        series = [series_of((await client.get("/metrics")).text) for client in (one, other)]

    counts = [value(each, "http_request_seconds_count", route="/health") for each in series]
    assert counts == [1, 0]


async def test_an_application_that_is_started_again_goes_on_counting(tmp_path: Path):
    async with running(tmp_path) as (app, client):
        await client.get("/health")
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as client:
            series = series_of((await client.get("/metrics")).text)

    assert value(series, "http_request_seconds_count", route="/health") == 1


@pytest.mark.parametrize(
    ("settings", "headers", "status"),
    [
        ({}, {}, 200),
        ({"api_keys": KEYS}, {}, 401),
        ({"api_keys": KEYS}, {"X-API-Key": "guessed"}, 401),
        ({"api_keys": KEYS}, {"X-API-Key": ORDINARY}, 403),
        ({"api_keys": KEYS}, {"X-API-Key": ADMIN}, 200),
        ({"api_keys": KEYS}, {"Authorization": f"Bearer {ADMIN}"}, 200),
        ({"api_keys": KEYS, "metrics_open": True}, {}, 200),
        ({"api_keys": KEYS, "metrics_open": True}, {"X-API-Key": ORDINARY}, 200),
    ],
)
async def test_with_keys_the_metrics_are_for_admins_unless_they_are_open(
    settings: dict[str, Any], headers: dict[str, str], status: int, tmp_path: Path
):
    async with running(tmp_path, **settings) as (_, client):
        answer = await client.get("/metrics", headers=headers)

    assert answer.status_code == status
    assert ("hospital_bulk_" in answer.text) == (status == 200)


async def test_a_scrape_does_not_wait_for_what_the_service_is_doing(
    instant_directory: Server, tmp_path: Path
):
    """It is most wanted when the service is busy or its storage is broken."""
    settings = INSTANT | {"batch_storage_dir": tmp_path, "shutdown_grace_seconds": 0}
    app = create_app(
        Settings(_env_file=None, hospital_api_base_url=instant_directory.url, **settings)
    )
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service.test") as client,
    ):
        content = csv_file(20).replace("Hospital 1,", f"{HANGING},")
        await client.post(
            "/hospitals/bulk",
            files={"file": ("x.csv", content.encode())},
            headers={"Prefer": "respond-async"},
        )
        async with asyncio.timeout(30):
            while True:
                series = series_of((await client.get("/metrics")).text)
                if value(series, "creates_total", outcome="created") == 19:
                    break
                await asyncio.sleep(0.01)
        app.state.service.stop()

    assert value(series, "creates_under_way") == 1
    assert value(series, "batches", status="processing") == 1
