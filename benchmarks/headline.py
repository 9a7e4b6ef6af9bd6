"""The headline: a file in one create's time. Each run is a fresh service with default settings."""

from functools import partial

from benchmarks.figures import Growth, Pair, Section, compared, interleaved
from benchmarks.rig import UNLIMITED, bare_creates_s, fresh_rig, upload_s

REPEATS = 3
ROWS = (4, 20)
AIM = 1.02
ABOUT = """
One upload to a service just started, creates of 5 s. Floor: the same creates sent at once with bare
httpx to the same directory.
"""


def one_file(rows: int) -> Pair:
    """Return the seconds that a file takes, and those of the same creates sent bare."""
    with fresh_rig(*UNLIMITED) as (service, directory, _):
        floor_s = bare_creates_s(directory.url, rows, at_once=rows)
        return upload_s(service.url, rows), floor_s


def measure() -> Section:
    """Measure files of a few and of 20 rows."""
    found = interleaved(REPEATS, *(partial(one_file, rows) for rows in ROWS))
    figures = [
        compared(f"a file of {rows} rows", "s", pairs, at_most=AIM)
        for rows, pairs in zip(ROWS, found, strict=True)
    ]
    points = [(float(rows), figure.value) for rows, figure in zip(ROWS, figures, strict=True)]
    growths = [Growth("time of a file, creates of 5 s", "rows", "s", points)]
    return Section("One file", ABOUT, figures, growths)
