"""How many progress requests a second are answered, beside a bare route that tells the same."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from benchmarks.bare_app import ROWS
from benchmarks.figures import Growth, Pair, Section, compared, interleaved
from benchmarks.rig import INSTANT, UNPACED, accepted, completed, for_rows, fresh_rig
from scripts.processes import Server, free_port

REPEATS = 5
MODEL, READY = "/hospitals/progress/none", "/ready/none"
CLIENTS = 8
SECONDS = 1.0
SIZES = (20, 200, 1_000)  # a page has up to 1,000 rows
AIM = 0.7
HANGS = {"endpoint": "create", "kind": "hang"}
# So many that the limiter counts each request and refuses none.
LIMITED = UNPACED | {"max_requests_per_second": 1_000_000}
ABOUT = f"""
{CLIENTS} clients ask for the progress of a batch of {ROWS} rows as fast as they are answered; of
the one under way no row changes meanwhile. Floor: a bare FastAPI route that returns the same
document as a model, under the same server with its default settings; and one whose document is
ready as bytes, while the service puts seconds and outlook in. All write a line of log for each
request; keys, limits, ids, meters and headers are the service's own.
"""


def answers_per_second(url: str, seconds: float = SECONDS) -> float:
    """Return how many answers a second CLIENTS clients in a process of their own get."""
    command = [sys.executable, "-m", "benchmarks.asking", url, str(CLIENTS), str(seconds)]
    return float(subprocess.check_output(command, cwd=Path(__file__).parents[1]))


@contextmanager
def bare_app(folder: Path) -> Iterator[str]:
    """Serve the bare routes; yield where."""
    port = free_port()
    arguments = ["uvicorn", "benchmarks.bare_app:app", "--port", str(port)]
    server = Server(arguments, port, "/health", {}, folder / "bare.log")
    try:
        yield server.url
    finally:
        server.stop()


def asked(url: str, floor_url: str) -> Pair:
    """Return the answers a second at *url*, and those of the floor."""
    return answers_per_second(url), answers_per_second(floor_url)


def measure() -> Section:
    """Measure a batch that is completed, one under way, and larger ones."""
    with fresh_rig(*INSTANT, **LIMITED, **for_rows(max(SIZES))) as (service, directory, folder):
        done = {rows: completed(service, rows) for rows in SIZES}
        httpx.put(f"{directory.url}/_directory/faults", json=[HANGS]).raise_for_status()
        running = accepted(service, ROWS)
        with bare_app(folder) as bare_url:
            pairs = interleaved(
                REPEATS,
                partial(asked, done[ROWS], bare_url + MODEL),
                partial(asked, running, bare_url + MODEL),
                partial(asked, done[ROWS], bare_url + READY),
            )
        points = [(float(rows), answers_per_second(url)) for rows, url in done.items()]
        service.kill()  # it would wait for the creates that hang
    of_completed, of_running, of_ready = pairs
    figures = [
        compared("of a completed batch", "requests/s", of_completed, at_least=AIM),
        compared("of a batch under way", "requests/s", of_running, at_least=AIM),
        compared("of a completed batch, to bytes that are ready", "requests/s", of_ready),
    ]
    growths = [Growth("answers", "rows of the page", "requests/s", points)]
    return Section("Progress requests", ABOUT, figures, growths)
