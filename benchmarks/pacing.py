"""Pacing: three files of 20 at once, 30 creates a window, at full scale (60 s, 5 s creates).

Floor: one window and two creates; a create is measured bare in the same run. Bound: 1.08 of it,
with no create refused by the directory, which keeps its own count.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import httpx

from benchmarks.rig import TIMEOUT_S, bare_creates, upload
from scripts.processes import start_directory, start_service

PERIOD_S = 60.0
BOUND = 1.08


async def _measure() -> tuple[float, float, dict[str, int]]:
    """Return the seconds until all three were active, the floor, and the creates refused."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unlimited = start_directory(folder, "--create-limit", "0")
        create_s = await bare_creates(unlimited.url, 1)
        unlimited.stop()
        directory = start_directory(folder)
        service = start_service(folder, directory.url, rate_limit_margin_seconds=0.1)
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
                done = await asyncio.gather(*(upload(client, service.url, 20) for _ in range(3)))
                stats = (await client.get(f"{directory.url}/_directory/stats")).json()
        finally:
            service.stop()
            directory.stop()
    return max(seconds for seconds, _ in done), PERIOD_S + 2 * create_s, stats["refused"]


def main() -> int:
    """Measure, print, and return 1 if the bound is not held."""
    print("pacing: three files of 20 at once, 30 creates in 60 s")
    seconds, floor_s, refused = asyncio.run(_measure())
    ratio = seconds / floor_s
    print(f"  {seconds:.2f} s, floor {floor_s:.2f} s, ratio {ratio:.3f} (bound {BOUND})")
    print(f"  refused by the directory: {refused or 'none'}")
    return int(ratio > BOUND or any(refused.values()))


if __name__ == "__main__":
    sys.exit(main())
