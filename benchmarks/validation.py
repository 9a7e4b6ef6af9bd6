"""What checking a file costs, and how long the event loop stands still meanwhile."""

import asyncio
import csv
import io
import random
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import uvloop

from benchmarks.figures import Figure, Growth, Pair, Section, compared
from benchmarks.footprint import peak_mib
from benchmarks.rig import NOWHERE, fresh_rig
from benchmarks.stalls import longest_pause_ms
from config import Settings
from main import create_app
from scripts.processes import free_port
from services.csv_processor import read_csv

SIZES = (20, 1_000, 100_000)
LARGEST = SIZES[-1]
REPEATS = 7
MUCH, LITTLE = 4_000_000, 20_000  # bytes that take the bare reader 25 ms, and a service 10
BOUND = 8.0  # passes of the bare reader
BOUND_MS = 10.0
LARGE: dict[str, Any] = {
    "max_csv_size": LARGEST,
    "directory_capacity": LARGEST,
    "max_requests_per_second": 0,
}
OVER_HTTP = "check of a file over HTTP"
ABOUT = """
Files of rows like those of real hospitals. Floor: one pass of the bare `csv.reader` over the same
bytes. The pauses are the longest of an event loop that serves the file's upload meanwhile.
"""
HEADER = "name,address,phone\n"
KINDS = ("BEHAVIORAL HEALTH", "MEDICAL CENTER", "REGIONAL HOSPITAL", "VA CLINIC", "HEALTH SYSTEM")
STREETS = ("STURGIS ROAD", "SILICON VALLEY BOULEVARD", "NORTH 5TH AVENUE", "COUNTY ROAD 12")
PLACES = ("CONWAY, AR", "SAN JOSE, CA", "SPRINGFIELD, IL", "WINSTON-SALEM, NC", "EL PASO, TX")
POST = """
import sys, httpx
print("ready", flush=True)
sys.stdin.readline()
files = {"file": ("hospitals.csv", open(sys.argv[2], "rb"), "text/csv")}
answer = httpx.post(sys.argv[1], files=files, timeout=60, trust_env=False)
sys.exit(answer.status_code not in (200, 400))
"""


def hospitals(rows: int, *, sound: bool = True) -> bytes:
    """Return a file with *rows* different rows like those of real hospitals, or all with errors."""
    luck = random.Random(1)  # the same file each time

    def line(number: int) -> str:
        place = luck.choice(PLACES)
        name = f"{place[:-4]} {luck.choice(KINDS)} {number}"
        address = (
            f"{luck.randint(1, 9999)} {luck.choice(STREETS)}, {place} {10_000 + number % 9999}"
        )
        digits = luck.randint(10**9, 10**10 - 1) if sound else number
        phone = f"({digits // 10**7}) {digits // 10**4 % 1000:03}-{digits % 10**4:04}"
        return f'{name},"{address}",{phone if sound else "n/a"}\n'

    return (HEADER + "".join(map(line, range(rows)))).encode()


def bare_pass(file: bytes) -> None:
    """Read *file* with the bare reader."""
    for _ in csv.reader(io.TextIOWrapper(io.BytesIO(file), "utf-8", newline="")):
        pass


def in_memory(file: bytes) -> None:
    """Check *file* without a service."""
    read_csv(io.BytesIO(file), max_rows=LARGEST)


def seconds(work: Callable[[bytes], object], file: bytes, least_bytes: int = MUCH) -> float:
    """Return how long *work* takes; of small files one of many times, of *least_bytes* together."""
    times = 1 + least_bytes // len(file)
    started_s = time.perf_counter()
    for _ in range(times):
        work(file)
    return (time.perf_counter() - started_s) / times


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds for one file: of the bare reader, checked in memory, posted unread, and posted."""

    floor: float
    alone: float
    upload: float
    whole: float


def times_of(post: Callable[[bytes], None], rows: int) -> Times:
    """Take all times of a file once."""
    file = hospitals(rows)
    unread = file.replace(b"name", b"nome", 1)  # a header that nobody needs to read on after
    return Times(
        floor=seconds(bare_pass, file),
        alone=seconds(in_memory, file),
        upload=seconds(post, unread, LITTLE),
        whole=seconds(post, file, LITTLE),
    )


def by_itself(rows: int) -> Pair:
    """Return the seconds of a check in memory, and those of the bare reader."""
    file = hospitals(rows)
    return seconds(in_memory, file), seconds(bare_pass, file)


def _reading() -> tuple[dict[int, list[Times]], float]:
    """Return the times of files of all sizes, and by how much the service's memory grew."""
    with (
        fresh_rig(**LARGE) as (server, _, _),
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client,
    ):
        before_mib = peak_mib(server)

        def post(file: bytes) -> None:
            files = {"file": ("hospitals.csv", file, "text/csv")}
            client.post("/hospitals/validate", files=files).raise_for_status()

        found = {rows: [times_of(post, rows) for _ in range(REPEATS)] for rows in SIZES}
        return found, peak_mib(server) - before_mib


@asynccontextmanager
async def _serving(folder: Path) -> AsyncIterator[str]:
    """Serve on this loop, and yield where."""
    settings = Settings(
        _env_file=None,
        hospital_api_base_url=NOWHERE,
        batch_storage_dir=folder / "in_process",
        log_level="ERROR",
        **LARGE,
    )
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_level="error"))
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


async def _pause_ms(url: str, file: Path) -> float:
    """Return the longest pause while *file* is uploaded, from a process of its own.

    A client here would be part of the pauses, as would its start, which takes 5 ms of this one.
    """
    command = (sys.executable, "-c", POST, url, str(file))
    client = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert client.stdout is not None
    await client.stdout.readline()
    pause_ms = await longest_pause_ms(partial(client.communicate, b"\n"))
    if client.returncode:
        raise RuntimeError(f"{url} did not answer as it should")
    return pause_ms


async def _pauses(folder: Path) -> dict[str, float]:
    """Return the longest pauses in milliseconds, medians of repeats, in a service of this loop."""
    sound, faulty = folder / "sound.csv", folder / "faulty.csv"
    sound.write_bytes(hospitals(LARGEST))
    faulty.write_bytes(hospitals(LARGEST, sound=False))
    medians = {}
    async with _serving(folder) as url:
        for kind, path, file in (
            ("sound rows checked", "validate", sound),
            ("faulty rows checked", "validate", faulty),
            ("faulty rows refused", "bulk", faulty),
        ):
            pauses = [await _pause_ms(f"{url}/hospitals/{path}", file) for _ in range(5)]
            medians[kind] = statistics.median(pauses)
    return medians


def measure() -> Section:
    """Measure files of all sizes, then the pauses."""
    found, grown_mib = _reading()
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        pauses = runner.run(_pauses(Path(name)))
    figures = [*_read_alone(found), _over_http(found[LARGEST])]
    figures.append(Figure("most memory of the service beyond that at rest", grown_mib, "MiB"))
    figures += [
        Figure(f"longest pause of the loop, {kind}", pause_ms, "ms", at_most=BOUND_MS)
        for kind, pause_ms in pauses.items()
    ]
    growths = [
        Growth("check of a file by itself", "rows", "s", _medians(found, "alone")),
        Growth(OVER_HTTP, "rows", "s", _medians(found, "whole")),
    ]
    return Section("Validation", ABOUT, figures, growths)


def _read_alone(found: dict[int, list[Times]]) -> Iterator[Figure]:
    for rows, times in found.items():
        pairs = [(each.alone, each.floor) for each in times]
        bound = BOUND if rows == LARGEST else None  # small ones are the reader's set-up
        yield compared(f"{rows:,} rows by themselves", "s", pairs, at_most=bound)


def _over_http(times: list[Times]) -> Figure:
    pairs = [(each.whole - each.upload, each.floor) for each in times]
    return compared(f"{LARGEST:,} rows over HTTP without the upload", "s", pairs, at_most=BOUND)


def _medians(found: dict[int, list[Times]], name: str) -> list[tuple[float, float]]:
    return [
        (rows, statistics.median(getattr(each, name) for each in times))
        for rows, times in found.items()
    ]
