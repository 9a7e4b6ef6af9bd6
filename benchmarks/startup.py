"""How soon the service answers, and how much memory it holds at rest and at load."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx

from benchmarks.figures import Figure, Pair, Section, compared, interleaved
from benchmarks.footprint import footprint, peak_mib
from benchmarks.progress import bare_app
from benchmarks.rig import INSTANT, NOWHERE, PART_ROWS, TIMEOUT_S, UNPACED, fresh_rig, upload
from scripts.processes import start_service

REPEATS = 5
FILES = 100
START_S = 1.0
REST_MIB = 80.0
ABOUT = f"""
From the start of the process until `/health` is answered (asked every 20 ms). Floor: the bare
FastAPI app that progress requests are compared with. At load: {FILES} files of {PART_ROWS} rows at
once.
"""


def start(folder: Path) -> Pair:
    """Return the seconds until the service and a bare route answer."""
    began_s = perf_counter()
    with bare_app(folder):
        floor_s = perf_counter() - began_s
    began_s = perf_counter()
    service = start_service(folder, NOWHERE)
    seconds = perf_counter() - began_s
    service.stop()
    return seconds, floor_s


async def _load(url: str) -> None:
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        await asyncio.gather(*(upload(client, url, PART_ROWS) for _ in range(FILES)))


def _memory() -> tuple[float, float]:
    """Return the MiB of a service at rest, and the most that it had at load."""
    with fresh_rig(*INSTANT, **UNPACED) as (service, _, _):
        rest_mib = footprint(service).memory_mib
        asyncio.run(_load(service.url))
        return rest_mib, peak_mib(service)


def measure() -> Section:
    """Measure starts, then memory."""
    with tempfile.TemporaryDirectory() as name:
        (pairs,) = interleaved(REPEATS, partial(start, Path(name)))
    rest_mib, load_mib = _memory()
    return Section(
        "Start and memory",
        ABOUT,
        [
            Figure("start", median(seconds for seconds, _ in pairs), "s", at_most=START_S),
            compared("start, to that of a bare route", "s", pairs),
            Figure("memory at rest", rest_mib, "MiB", at_most=REST_MIB),
            Figure("memory at load", load_mib, "MiB"),
        ],
    )
