"""How many rows a second go through the service when the directory answers at once.

Floor: creates sent with bare httpx, as many at a time, to the same directory in the same run.
Bounds, durable checkpoints included: files of 20 rows pass at 0.70 of that rate, a file of 2,000 at
0.80, and one of 20,000 at 0.90 of what 2,000 reach, within 150 MiB.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from benchmarks.footprint import peak_mib
from benchmarks.rig import TIMEOUT_S, upload
from scripts.processes import Server, start_directory, start_service

AT_ONCE = 20  # MAX_CONCURRENT_REQUESTS
PART_ROWS = 20  # DIRECTORY_BATCH_LIMIT
FLOOR_ROWS = 2_000
UPLOADERS = 4  # files under way at a time, so that the lists of one are beside another's creates
QUICK_DIRECTORY = (
    *("--create-seconds", "0", "--create-limit", "0", "--lookup-limit", "0"),
    *("--root-limit", "0", "--keep", "0"),
)
MAX_MIB = 150


@dataclass(frozen=True, slots=True)
class Case:
    """Files of one size."""

    files: int
    rows: int

    def __str__(self) -> str:
        return f"{self.files} x {self.rows:,} rows"


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement: the service's rate in rates of the floor, and its peak of memory."""

    ratio: float
    mib: float


SMALL, LARGE, LARGEST = Case(100, 20), Case(1, 2_000), Case(1, 20_000)
BOUNDS = {SMALL: 0.70, LARGE: 0.80}
BOUND_LARGEST = 0.90  # of LARGE


async def bare_rate(url: str) -> float:
    """Send FLOOR_ROWS creates, AT_ONCE at a time; return how many were answered a second."""
    numbers = iter(range(FLOOR_ROWS))
    batch_ids = [str(uuid4()) for _ in range(FLOOR_ROWS // PART_ROWS)]
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:

        async def work() -> None:
            for n in numbers:
                body = {
                    "name": f"Hospital {n}",
                    "address": f"{n} Main Street Springfield",
                    "phone": f"555-010{n:04d}",
                    "creation_batch_id": batch_ids[n // PART_ROWS],
                }
                (await client.post("/hospitals/", json=body)).raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return FLOOR_ROWS / (time.perf_counter() - started)


async def service_rate(url: str, case: Case) -> float:
    """Upload the files of *case*; return the rows a second until the last was completed."""
    files = iter(range(case.files))
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:

        async def work() -> None:
            for _ in files:
                await upload(client, url, case.rows)

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(UPLOADERS)))
        return case.files * case.rows / (time.perf_counter() - started)


def measure(case: Case) -> Run:
    """Measure floor and service, both fresh, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        directory = start_directory(folder, *QUICK_DIRECTORY)
        service = _service(folder, directory, case)
        try:
            floor = asyncio.run(bare_rate(directory.url))
            rate = asyncio.run(service_rate(service.url, case))
            run = Run(rate / floor, peak_mib(service))
        finally:
            service.stop()
            directory.stop()
    print(f"  {case}: {rate:.0f} a second, bare {floor:.0f}, {run.ratio:.3f}, {run.mib:.0f} MiB")
    return run


def _service(folder: Path, directory: Server, case: Case) -> Server:
    capacity = max(case.rows, 10_000)
    return start_service(
        folder,
        directory.url,
        create_rate_limit=0,
        max_requests_per_second=0,
        max_csv_size=max(case.rows, PART_ROWS),
        directory_capacity=capacity,
    )


def main() -> int:
    """Measure, print, and return 1 if a bound is not held."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=3, help="of each size (%(default)s)")
    repeats = options.parse_args().repeats
    print("throughput: rows a second against the same creates sent bare, no limits, no waits")
    runs: dict[Case, list[Run]] = {case: [] for case in (SMALL, LARGE, LARGEST)}
    for _ in range(repeats):
        for case, seen in runs.items():
            seen.append(measure(case))
    ratios = {case: statistics.median(run.ratio for run in seen) for case, seen in runs.items()}
    held = {f"{case}": (ratios[case], bound) for case, bound in BOUNDS.items()}
    held[f"{LARGEST}, of the rate of 2,000"] = (ratios[LARGEST] / ratios[LARGE], BOUND_LARGEST)
    mib = max(run.mib for run in runs[LARGEST])
    for name, (ratio, bound) in held.items():
        print(f"  median of {name}: {ratio:.3f} (bound {bound:.2f})")
    print(f"  most memory for 20,000 rows: {mib:.0f} MiB (bound {MAX_MIB})")
    return int(mib > MAX_MIB or any(ratio < bound for ratio, bound in held.values()))


if __name__ == "__main__":
    sys.exit(main())
