"""What the number of requests at a time does: a file of 40 rows with 1 to 40 of them at once."""

from benchmarks.figures import Growth, Pair, Section, compared
from benchmarks.rig import UNLIMITED, UNPACED, bare_creates_s, for_rows, fresh_rig, upload_s

ROWS = 40
AT_ONCE = (1, 2, 5, 10, 20, 40)
CREATE_S = 0.5
AIM = 1.1
GROWTH = "ratio to bare creates, as many at once"
ABOUT = f"""
A file of {ROWS} rows, creates of {CREATE_S:g} s, MAX_CONCURRENT_REQUESTS from 1 to 40. Floor: as
many bare creates at once. The two looks and the activation that follow the last create weigh the
more the shorter the rest takes; the real creates take ten times as long.
"""


def one_file(at_once: int) -> Pair:
    """Return the seconds of a file and of its bare creates, so many at once."""
    options = ("--create-seconds", str(CREATE_S), *UNLIMITED)
    settings = UNPACED | for_rows(ROWS) | {"max_concurrent_requests": at_once}
    with fresh_rig(*options, **settings) as (service, directory, _):
        floor_s = bare_creates_s(directory.url, ROWS, at_once)
        return upload_s(service.url, ROWS), floor_s


def measure() -> Section:
    """Measure each number once: it is time that passes by waiting, and hardly varies."""
    figures = [
        compared(f"{at_once} at once", "s", [one_file(at_once)], at_most=AIM) for at_once in AT_ONCE
    ]
    points = [(float(n), figure.judged) for n, figure in zip(AT_ONCE, figures, strict=True)]
    return Section("At once", ABOUT, figures, [Growth(GROWTH, "at once", "", points)])
