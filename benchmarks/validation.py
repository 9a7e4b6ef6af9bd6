"""What checking a file of 100,000 rows costs, and how long the event loop stands still meanwhile.

Floor: one pass of the bare `csv.reader` over the same bytes. Bounds: reading takes at most 8 times
the floor, by itself and over HTTP, where the upload itself comes on top; no pause is over 10 ms.
"""

import asyncio
import csv
import io
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import uvloop

from benchmarks.footprint import peak_mib
from benchmarks.stalls import longest_pause_ms
from config import Settings
from main import create_app
from scripts.processes import free_port, start_service
from services.csv_processor import read_csv

ROWS = 100_000
REPEATS = 9
BOUND = 8.0  # passes of the bare reader
BOUND_MS = 10.0
LARGE: dict[str, Any] = {
    "max_csv_size": ROWS,
    "directory_capacity": ROWS,
    "max_requests_per_second": 0,
}
NOWHERE = "http://127.0.0.1:9"  # a check asks no directory
HEADER = "name,address,phone\n"
KINDS = ("BEHAVIORAL HEALTH", "MEDICAL CENTER", "REGIONAL HOSPITAL", "VA CLINIC", "HEALTH SYSTEM")
STREETS = ("STURGIS ROAD", "SILICON VALLEY BOULEVARD", "NORTH 5TH AVENUE", "COUNTY ROAD 12")
PLACES = ("CONWAY, AR", "SAN JOSE, CA", "SPRINGFIELD, IL", "WINSTON-SALEM, NC", "EL PASO, TX")
POST = """
import sys, httpx
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
    read_csv(io.BytesIO(file), max_rows=ROWS)


def seconds(work: Callable[[bytes], object], file: bytes) -> float:
    """Return how long *work* takes."""
    started_s = time.perf_counter()
    work(file)
    return time.perf_counter() - started_s


def _reading(folder: Path) -> dict[str, float]:
    """Return medians in passes of the bare reader, and the peak of the service's memory."""
    file = hospitals(ROWS)
    unread = file.replace(b"name", b"nome", 1)  # a header that nobody needs to read on after
    taken: dict[str, list[float]] = {"floor": [], "alone": [], "upload": [], "whole": []}
    server = start_service(folder, NOWHERE, **LARGE)
    try:
        before_mib = peak_mib(server)
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:

            def post(file: bytes) -> None:
                files = {"file": ("hospitals.csv", file, "text/csv")}
                client.post("/hospitals/validate", files=files).raise_for_status()

            for _ in range(REPEATS):
                taken["floor"].append(seconds(bare_pass, file))
                taken["alone"].append(seconds(in_memory, file))
                taken["upload"].append(seconds(post, unread))
                taken["whole"].append(seconds(post, file))
        grown_mib = peak_mib(server) - before_mib
    finally:
        server.stop()
    medians = {name: statistics.median(each) for name, each in taken.items()}
    return {name: each / medians["floor"] for name, each in medians.items()} | {"mib": grown_mib}


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


async def _post(url: str, file: Path) -> None:
    """Upload *file* from a process of its own: a client here would be part of the pauses."""
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", POST, url, str(file))
    if await client.wait():
        raise RuntimeError(f"{url} did not answer as it should")


async def _pauses(folder: Path) -> dict[str, float]:
    """Return the longest pauses in milliseconds, medians of repeats, in a service of this loop."""
    sound, faulty = folder / "sound.csv", folder / "faulty.csv"
    sound.write_bytes(hospitals(ROWS))
    faulty.write_bytes(hospitals(ROWS, sound=False))
    medians = {}
    async with _serving(folder) as url:
        for kind, path, file in (
            ("sound rows checked", "validate", sound),
            ("faulty rows checked", "validate", faulty),
            ("faulty rows refused", "bulk", faulty),
        ):
            work = partial(_post, f"{url}/hospitals/{path}", file)
            pauses = [await longest_pause_ms(work) for _ in range(5)]
            medians[kind] = statistics.median(pauses)
    return medians


def main() -> int:
    """Measure, print, and return 1 if a bound is not held."""
    print(f"validation: {ROWS:,} rows, medians of {REPEATS}, in passes of the bare csv.reader")
    with tempfile.TemporaryDirectory() as name:
        took = _reading(Path(name))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            pauses = runner.run(_pauses(Path(name)))
    over_http = took["whole"] - took["upload"]
    print(f"  by itself {took['alone']:.1f} (bound {BOUND:g})")
    print(f"  over HTTP {over_http:.1f} (bound {BOUND:g}) and the upload {took['upload']:.1f}")
    print(f"  memory of the service grew by {took['mib']:.0f} MiB at most")
    for kind, pause_ms in pauses.items():
        print(f"  longest pause of the loop, {kind}: {pause_ms:.1f} ms (bound {BOUND_MS:g})")
    is_slow = max(took["alone"], over_http) > BOUND
    return int(is_slow or max(pauses.values()) > BOUND_MS)


if __name__ == "__main__":
    sys.exit(main())
