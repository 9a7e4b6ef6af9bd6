"""Watching: how soon a change is told, what a hundred watchers and many rows cost more than few.

The server is this process, so that it knows when it changes a row of a batch under way; the
watchers (audience.py) are another one. Both read the same monotonic clock.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import httpx
import uvicorn

from benchmarks.audience import CHANGES, change
from benchmarks.figures import Figure, Growth, Section, compared
from benchmarks.rig import csv_file
from config import Settings
from main import create_app
from routers.event_stream import Feed
from scripts.processes import Server, free_port, start_directory
from services.batch_service import BatchService
from services.uploads import Upload

ROWS = 20
MANY_ROWS = 20_000
CROWDS = (1, 20, 100)
CROWD = CROWDS[-1]
REPEATS = 2
PAUSE_S = 0.06  # longer than changes are gathered: each is an event of its own
LATE_MS = 100.0
COST_BOUND = 6.0
TELLINGS = 200
ABOUT = f"""
{CHANGES} changes of a batch of {ROWS} rows, each told to every watcher, {REPEATS} times. What a
change costs is the processor's time of the whole service, nothing gathered.
"""


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[tuple[BatchService, str]]:
    """Serve, with batches that stay under way."""
    directory = _hanging_directory(folder)
    app = create_app(
        Settings(
            _env_file=None,
            hospital_api_base_url=directory.url,
            batch_storage_dir=folder / "batches",
            shutdown_grace_seconds=0,
            max_csv_size=MANY_ROWS,
            directory_capacity=2 * MANY_ROWS,
            max_requests_per_second=0,
            log_level="ERROR",
        )
    )
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
        yield app.state.service, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
        directory.kill()


def _hanging_directory(folder: Path) -> Server:
    directory = start_directory(folder)
    hang = {"endpoint": "create", "kind": "hang"}
    httpx.put(f"{directory.url}/_directory/faults", json=[hang]).raise_for_status()
    return directory


class Told(NamedTuple):
    """The processor's seconds for a change, and the seconds until each watcher knew of each."""

    cost_s: float
    late_s: list[float]


async def _change_rows(service: BatchService, url: str, watchers: int) -> Told:
    """Change rows, one after the other, with so many watching."""
    batch = (await service.submit(Upload(BytesIO(csv_file(ROWS))))).batch
    stream = f"{url}/hospitals/progress/{batch.id}/events"
    command = [sys.executable, "-m", "benchmarks.audience", stream, str(watchers)]
    audience = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert audience.stdout is not None
    await audience.stdout.readline()
    before_s, changed_s = time.process_time(), []
    for number in range(CHANGES):
        await asyncio.sleep(PAUSE_S)
        changed_s.append(time.monotonic())
        row = batch.rows[number % ROWS]
        service._tracker.set_row(batch, row.hospital.row, row.status, error=change(number))
    await asyncio.sleep(PAUSE_S)
    cost_s = (time.process_time() - before_s) / CHANGES
    output, _ = await audience.communicate()
    told_s: list[list[float]] = json.loads(output)
    late_s = [
        told - changed for times in told_s for told, changed in zip(times, changed_s, strict=True)
    ]
    return Told(cost_s, late_s)


async def _telling_s(service: BatchService, rows: int) -> float:
    """Return the seconds of work that it takes to tell the change of one row, the median."""
    batch = (await service.submit(Upload(BytesIO(csv_file(rows))))).batch
    feed = Feed(service, batch)
    costs_s = []
    for number in range(TELLINGS):
        row = batch.rows[-1 - number % ROWS]
        service._tracker.set_row(batch, row.hospital.row, row.status, error=change(number))
        before_s = time.thread_time()  # checkpoints are written by other threads
        feed._tell()
        costs_s.append(time.thread_time() - before_s)
    feed.close()
    return statistics.median(costs_s)


async def _measure() -> Section:
    with tempfile.TemporaryDirectory() as name:
        async with _serving(Path(name)) as (service, url):
            rounds = [
                {watchers: await _change_rows(service, url, watchers) for watchers in CROWDS}
                for _ in range(REPEATS)
            ]
            rows_s = {rows: await _telling_s(service, rows) for rows in (ROWS, MANY_ROWS)}
    late_ms = {
        watchers: sorted(1000 * late for told in rounds for late in told[watchers].late_s)
        for watchers in CROWDS
    }
    costs = [(told[CROWD].cost_s * 1000, told[1].cost_s * 1000) for told in rounds]
    telling = (rows_s[MANY_ROWS] * 1000, rows_s[ROWS] * 1000)
    figures = [
        Figure(
            f"99 of 100 changes told to {watchers}", _percentile(late, 99), "ms", at_most=LATE_MS
        )
        for watchers, late in late_ms.items()
    ]
    figures += [
        compared(f"work of a change with {CROWD} watchers, to 1", "ms", costs, at_most=COST_BOUND),
        compared(f"telling of a row of {MANY_ROWS:,}, to {ROWS}", "ms", [telling], at_most=3.0),
    ]
    growths = [
        Growth(
            f"delay, {percent} of 100 changes",
            "watchers",
            "ms",
            [(float(watchers), _percentile(late, percent)) for watchers, late in late_ms.items()],
        )
        for percent in (50, 99)
    ]
    return Section("Watchers", ABOUT, figures, growths)


def _percentile(ordered: list[float], percent: int) -> float:
    return statistics.quantiles(ordered, n=100, method="inclusive")[percent - 1]


def measure() -> Section:
    """Measure what watchers of one batch are told."""
    return asyncio.run(_measure())
