"""How long the event loop stands still while files are read and checkpoints are written."""

import asyncio
import io
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import uvloop

from benchmarks.figures import Figure, Section
from benchmarks.rig import csv_file
from models.batch import Batch, BatchStatus
from models.row import Row, Rows
from services.csv_processor import read_csv
from services.progress_tracker import ProgressTracker
from services.storage.json_files import JsonFiles

REPEATS = 9
ROWS = 5_000
BOUND_MS = 10.0
TICK_S = 0.001
ABOUT = f"""
The longest pause of the loop beyond a tick of 1 ms, the median of {REPEATS} repeats, beside the
same loop with nothing to do.
"""


async def longest_pause_ms(work: Callable[[], Awaitable[object]]) -> float:
    """Return the longest pause of the loop beyond a tick while *work* is done."""
    pauses: list[float] = []

    async def watch() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(TICK_S)
            pauses.append(time.perf_counter() - started - TICK_S)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    pauses.clear()
    await work()
    await asyncio.sleep(2 * TICK_S)
    watching.cancel()
    return max(pauses) * 1000


async def _measure(folder: Path) -> dict[str, float]:
    storage = JsonFiles(folder)
    storage.open()
    tracker = ProgressTracker(storage)
    file = csv_file(ROWS)
    rows = [Row(row) for row in read_csv(io.BytesIO(csv_file(20)), max_rows=20).rows]

    async def idle() -> None:
        await asyncio.sleep(0.1)

    async def validate() -> None:
        await asyncio.to_thread(read_csv, io.BytesIO(file), max_rows=ROWS)

    async def checkpoints() -> None:
        now = datetime.now(UTC)
        batch = Batch(uuid4(), "http://directory.test", Rows(rows), now, now)
        await tracker.add(batch)
        for _ in range(20):
            await tracker.announce(batch, BatchStatus.INITIALIZING)

    medians = {}
    for work in (idle, validate, checkpoints):
        pauses = [await longest_pause_ms(work) for _ in range(REPEATS)]
        medians[work.__name__] = statistics.median(pauses)
    await tracker.flush()
    storage.close()
    return medians


def measure() -> Section:
    """Measure the pauses, each the median of the longest of repeats."""
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        medians = runner.run(_measure(Path(name)))
    figures = [
        Figure("nothing to do", medians["idle"], "ms"),
        Figure(f"a file of {ROWS:,} rows is read", medians["validate"], "ms", at_most=BOUND_MS),
        Figure("21 checkpoints of 20 rows", medians["checkpoints"], "ms", at_most=BOUND_MS),
    ]
    return Section("Pauses of the event loop", ABOUT, figures)
