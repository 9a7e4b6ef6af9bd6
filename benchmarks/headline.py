"""The headline: a file in one create's time. Each run is a fresh service with default settings.

Floor: the same creates sent at once with bare httpx to the same directory. Bound: 1.03 for 20 rows.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import httpx

from benchmarks.rig import TIMEOUT_S, bare_creates, upload
from scripts.processes import start_directory, start_service

REPEATS = 3
BOUND = 1.03


async def _measure(rows: int) -> float:
    """Return the median ratio of service to floor over interleaved repeats."""
    ratios = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # The directory's own limit is off: floor and service share one window.
            directory = start_directory(folder, "--create-limit", "0")
            service = start_service(folder, directory.url)
            try:
                floor_s = await bare_creates(directory.url, rows)
                async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
                    seconds, _result = await upload(client, service.url, rows)
            finally:
                service.stop()
                directory.stop()
        ratios.append(seconds / floor_s)
        print(f"  {rows:2d} rows: {seconds:.3f} s, bare {floor_s:.3f} s, ratio {ratios[-1]:.3f}")
    return statistics.median(ratios)


def main() -> int:
    """Measure, print, and return 1 if the bound is not held."""
    print("headline: one upload against the same creates sent bare (5 s each)")
    medians = {rows: asyncio.run(_measure(rows)) for rows in (4, 20)}
    print(f"  median ratio: {medians[4]:.3f} for 4 rows, {medians[20]:.3f} for 20 (bound {BOUND})")
    return int(medians[20] > BOUND)


if __name__ == "__main__":
    sys.exit(main())
