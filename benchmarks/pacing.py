"""Pacing: three files of 20 at once under a limit of 30 creates a window, scaled down.

A window of 12 s and creates of 1 s stand to each other as the real 60 s and 5 s do. The directory
keeps its own count, and says how many creates it refused.
"""

import asyncio

import httpx

from benchmarks.figures import Figure, Pair, Section, compared
from benchmarks.rig import PART_ROWS, TIMEOUT_S, bare_creates_s, fresh_rig, upload

REPEATS = 3
FILES = 3
PERIOD_S = 12.0
CREATE_S = 1.0
MARGIN_S = 0.1  # for requests that travel at different speeds: here all travel within a machine
AIM = 1.05
ABOUT = f"""
{FILES} files of {PART_ROWS} rows at once, 30 creates in {PERIOD_S:g} s of {CREATE_S:g} s each: the
real 60 s and 5 s, scaled down. Floor: one window and two creates, a create measured bare: of the
30 that a window allows 20 are under way at a time (MAX_CONCURRENT_REQUESTS), then 10.
"""


def three_files() -> tuple[Pair, int]:
    """Return the seconds until all files were active and the floor, and the refused creates."""
    creates_take = ("--create-seconds", str(CREATE_S))
    with fresh_rig(*creates_take, "--create-limit", "0") as (_, unlimited, _):
        create_s = bare_creates_s(unlimited.url, 1, at_once=1)
    pace = {"rate_limit_period_seconds": PERIOD_S, "rate_limit_margin_seconds": MARGIN_S}
    limited = (*creates_take, "--period", str(PERIOD_S))
    with fresh_rig(*limited, **pace) as (service, directory, _):
        seconds = asyncio.run(_load(service.url))
        stats = httpx.get(f"{directory.url}/_directory/stats").raise_for_status().json()
    return (seconds, PERIOD_S + 2 * create_s), sum(stats["refused"].values())


async def _load(url: str) -> float:
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        return max(await asyncio.gather(*(upload(client, url, PART_ROWS) for _ in range(FILES))))


def measure() -> Section:
    """Measure three files under a limit."""
    runs = [three_files() for _ in range(REPEATS)]
    pairs, refused = zip(*runs, strict=True)
    figures = [
        compared("until all are active", "s", pairs, at_most=AIM),
        Figure("creates refused by the directory", float(sum(refused)), "", at_most=0.0),
    ]
    return Section("Pacing", ABOUT, figures)
