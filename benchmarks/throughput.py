"""How many rows a second go through the service when the directory answers at once.

Checkpoints are durable, as always. All of it is work: there is nothing to wait for.
"""

import asyncio
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import httpx

from benchmarks.figures import Figure, Growth, Pair, Section, compared
from benchmarks.footprint import peak_mib
from benchmarks.rig import (
    CLIENTS,
    INSTANT,
    TIMEOUT_S,
    UNPACED,
    bare_creates_s,
    for_rows,
    fresh_rig,
    upload,
    upload_s,
)

AT_ONCE = 20  # MAX_CONCURRENT_REQUESTS
FLOOR_ROWS = 2_000
UPLOADERS = 4  # files under way at a time, so that the lists of one are beside another's creates
MAX_MIB = 150.0
ABOUT = f"""
Creates that take no time, no limits; {UPLOADERS} clients upload the files. Against {FLOOR_ROWS:,}
creates with one bare httpx client, {AT_ONCE} at a time, as a script would send them to the same
directory, and against the most that bare httpx can send, which is with {CLIENTS} clients. The
service looks besides, activates, and has every step on the disk.
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Files of one size, and the aim for their rate in rates of the floor."""

    files: int
    rows: int
    at_least: float
    repeats: int = 3

    def __str__(self) -> str:
        return f"files of {self.rows:,} rows"


CASES = (
    Case(100, 20, at_least=0.85),
    Case(10, 200, at_least=0.85),
    Case(1, 2_000, at_least=1.0),
    Case(1, 20_000, at_least=1.0, repeats=2),
)
TIME, BARE_TIME, MEMORY = (
    "time of a file",
    "time of as many bare creates at their rate",
    "most memory",
)


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement.

    Attributes:
        rates: Rows a second of the service, and of one bare client.
        most: Rows a second of the service, and of the most bare clients that help.
        alone_s: Seconds of one file on its own.
        mib: The most memory that the service ever had.
    """

    rates: Pair
    most: Pair
    alone_s: float
    mib: float


async def _load(url: str, case: Case) -> float:
    files = iter(range(case.files))
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:

        async def work() -> None:
            for _ in files:
                await upload(client, url, case.rows)

        started = perf_counter()
        await asyncio.gather(*(work() for _ in range(UPLOADERS)))
        return perf_counter() - started


def load(case: Case) -> Run:
    """Measure bare creates and service, both fresh, one after the other."""
    with fresh_rig(*INSTANT, **UNPACED, **for_rows(case.rows)) as (service, directory, _):
        one = FLOOR_ROWS / bare_creates_s(directory.url, FLOOR_ROWS, AT_ONCE, clients=1)
        most = FLOOR_ROWS / bare_creates_s(directory.url, FLOOR_ROWS, AT_ONCE)
        seconds = asyncio.run(_load(service.url, case))
        alone_s = seconds if case.files == 1 else upload_s(service.url, case.rows)
        rate = case.files * case.rows / seconds
        return Run((rate, one), (rate, most), alone_s, peak_mib(service))


def measure() -> Section:
    """Measure files of every size."""
    found = {case: [load(case) for _ in range(case.repeats)] for case in CASES}
    figures = [
        compared(str(case), "rows/s", [run.rates for run in runs], at_least=case.at_least)
        for case, runs in found.items()
    ]
    figures += [
        compared(f"{case}, to {CLIENTS} clients", "rows/s", [run.most for run in runs])
        for case, runs in found.items()
    ]
    most = median(run.most[1] for runs in found.values() for run in runs)
    alone = [(case.rows, median(run.alone_s for run in runs)) for case, runs in found.items()]
    memory = [(case.rows, max(run.mib for run in runs)) for case, runs in found.items()]
    figures.append(Figure("most memory", memory[-1][1], "MiB", at_most=MAX_MIB))
    growths = [
        Growth(TIME, "rows", "s", alone),
        Growth(BARE_TIME, "rows", "s", [(case.rows, case.rows / most) for case in CASES]),
        Growth(MEMORY, "rows", "MiB", memory),
    ]
    return Section("Throughput", ABOUT, figures, growths)
