"""How soon a batch is completed after `kill -9`, also behind many other checkpoints."""

import tempfile
import time
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx

from benchmarks.figures import Growth, Pair, Section, compared, interleaved
from benchmarks.rig import (
    NOWHERE,
    PART_ROWS,
    UNLIMITED,
    UNPACED,
    Rig,
    accepted,
    fresh_rig,
    upload_s,
    wait_until,
)
from scripts.processes import Server, start_service

REPEATS = 3
OTHERS = (0, 100, 1_000)
SETTLE_S = 2.0  # instead of 15
AIM = 1.2
HANGS = {"endpoint": "create", "kind": "hang"}  # stores the row, and never says so
SETTINGS = UNPACED | {"settle_seconds": SETTLE_S}
ABOUT = f"""
A service is killed when the {PART_ROWS} rows of a file are sent and none is answered, and started
again at once: the seconds until the batch is completed. Floor: a start with nothing stored, until
it answers, and SETTLE_SECONDS ({SETTLE_S:g} here), for which the directory may still carry out what
was sent. Beside the batch there are up to 1,000 completed ones in the storage.
"""


def kill_and_go_on(others: int) -> Pair:
    """Return the seconds until a killed batch is completed, and those that nothing could spare."""
    with fresh_rig("--create-seconds", "0", *UNLIMITED, **SETTINGS) as rig:
        _store_completed(rig, others)
        httpx.put(f"{rig.directory.url}/_directory/faults", json=[HANGS]).raise_for_status()
        before = _rows_held(rig.directory)
        batch_url = accepted(rig.service, PART_ROWS)
        wait_until(lambda: _rows_held(rig.directory) == before + PART_ROWS)
        rig.service.kill()
        killed_s = time.monotonic()
        port = httpx.URL(rig.service.url).port
        restarted = start_service(rig.folder, rig.directory.url, port, **SETTINGS)
        try:
            wait_until(lambda: httpx.get(batch_url).json()["is_completed"])
            seconds = time.monotonic() - killed_s
        finally:
            restarted.kill()
    return seconds, _empty_start_s() + SETTLE_S


def _empty_start_s() -> float:
    with tempfile.TemporaryDirectory() as name:
        began_s = time.monotonic()
        service = start_service(Path(name), NOWHERE)
        seconds = time.monotonic() - began_s
        service.kill()
        return seconds


def _store_completed(rig: Rig, batches: int) -> None:
    """Put checkpoints of completed batches into the storage, all of them copies of a real one."""
    if not batches:
        return
    upload_s(rig.service.url, PART_ROWS)
    (document,) = (rig.folder / "batch_storage").glob("*.json")
    text = document.read_text()
    for _ in range(batches - 1):
        batch_id = str(uuid4())
        document.with_stem(batch_id).write_text(text.replace(document.stem, batch_id))


def _rows_held(directory: Server) -> int:
    stats = httpx.get(f"{directory.url}/_directory/stats").raise_for_status().json()
    return int(stats["committed"])


def measure() -> Section:
    """Measure a kill beside few and many checkpoints."""
    found = interleaved(REPEATS, *(partial(kill_and_go_on, others) for others in OTHERS))
    figures = [
        compared(f"beside {others:,} others", "s", pairs, at_most=AIM)
        for others, pairs in zip(OTHERS, found, strict=True)
    ]
    points = [(float(n), figure.value) for n, figure in zip(OTHERS, figures, strict=True)]
    growths = [Growth("a killed batch until completed", "other batches", "s", points)]
    return Section("Recovery", ABOUT, figures, growths)
