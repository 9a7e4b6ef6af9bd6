"""Shows one upload from start to end: `make demo`.

The service and a local directory as slow as the real one (5 s a create) run as processes of their
own, on free ports, for as long as the demo does. No setting and no storage of yours is used.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

from scripts.processes import ROOT, DidNotStart, Server, start_directory, start_service

SAMPLE = ROOT / "sample_hospitals.csv"
CREATE_SECONDS = 5.0  # what one create takes, here as in the real directory
POLL_S = 0.1
DEADLINE_S = 120.0  # a file takes 5 s
BAR_CHARS = 30
INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended

Json = dict[str, Any]


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


class Display:
    """Shows how far a batch is: in one line on a terminal, else in a line for each change."""

    def __init__(self) -> None:
        self._redraws = sys.stdout.isatty()
        self._shown: object = None

    def show(self, progress: Json) -> None:
        """Show *progress* if it says something new."""
        if self._redraws:
            line = _progress_line(progress)[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", flush=True)
            return
        counts = ("status", "current_step", "processed_hospitals", "failed_hospitals")
        state = [progress[name] for name in counts]
        if state != self._shown:
            print(_progress_line(progress), flush=True)
            self._shown = state

    def end(self) -> None:
        """Leave the last line as it stands."""
        if self._redraws:
            print()


def main() -> int:
    """Run the demo; return 0 if the batch completed and the directory has what the file has."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    os.environ["no_proxy"] = "127.0.0.1"  # a proxy cannot reach servers of this machine
    try:
        with tempfile.TemporaryDirectory(prefix="hospital-demo-") as folder, ExitStack() as stack:
            return _run(Path(folder), stack)
    except (DidNotStart, DemoFailed, httpx.HTTPError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold an interruption back until the block ends: a server half started has no owner yet."""
    heard: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {n: signal.signal(n, lambda number, _: heard.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if heard:
            raise KeyboardInterrupt


def _run(folder: Path, stack: ExitStack) -> int:
    directory, service = _start(folder, stack)
    try:
        return _show_upload(directory.url, service.url)
    except KeyboardInterrupt:
        print("\nStopping both servers ...", file=sys.stderr)
        raise


def _start(folder: Path, stack: ExitStack) -> tuple[Server, Server]:
    """Start both servers in *folder*; *stack* stops them."""
    print(f"Starting a local directory ({CREATE_SECONDS:g} s a create) and the service ...")
    with _undisturbed():
        directory = start_directory(folder, "--create-seconds", str(CREATE_SECONDS))
        stack.callback(_stop, directory)
    with _undisturbed():
        service = start_service(folder, directory.url)
        stack.callback(_stop, service)
    print(f"  directory  {directory.url}\n  service    {service.url}\n")
    return directory, service


def _stop(server: Server) -> None:
    try:
        server.stop()
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C does not wait
        server.kill()


def _show_upload(directory_url: str, service_url: str) -> int:
    rows = _rows_of(SAMPLE)
    print(f"Uploading {SAMPLE.name} ({len(rows)} rows)")
    with httpx.Client(timeout=30.0) as client:
        batch = _follow(client, service_url, _upload(client, service_url))
        _print_table(batch["hospitals"])
        if batch["status"] != "completed":
            raise DemoFailed(f"the batch is {batch['status']}: {batch['failure_reason']}")
        _print_times(batch)
        _check_directory(client, directory_url, batch["batch_id"], rows)
    return 0


def _rows_of(path: Path) -> list[Json]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _upload(client: httpx.Client, service_url: str) -> str:
    """Upload the sample file; return the path where its batch is followed."""
    answer = client.post(
        f"{service_url}/hospitals/bulk",
        files={"file": (SAMPLE.name, SAMPLE.read_bytes(), "text/csv")},
        headers={"Prefer": "respond-async"},
    )
    if answer.status_code != httpx.codes.ACCEPTED:
        raise DemoFailed(f"the service answered {answer.status_code}: {answer.text}")
    location = answer.headers["Location"]
    print(f"  {answer.status_code} Accepted, Location: {location}\n")
    return location


def _follow(client: httpx.Client, service_url: str, location: str) -> Json:
    """Show the batch's progress until it has ended; return the last one."""
    display = Display()
    deadline_s = time.monotonic() + DEADLINE_S
    try:
        while time.monotonic() < deadline_s:
            answer = client.get(f"{service_url}{location}").raise_for_status()
            progress: Json = answer.json()
            display.show(progress)
            if progress["is_completed"]:
                return progress
            time.sleep(POLL_S)  # noqa: TID251 - a script, not the event loop
    finally:
        display.end()
    raise DemoFailed(f"the batch has not ended after {DEADLINE_S:g} s")


def _progress_line(progress: Json) -> str:
    done = progress["processed_hospitals"] + progress["failed_hospitals"]
    total = progress["total_hospitals"]
    filled = BAR_CHARS * done // total
    bar = "#" * filled + "." * (BAR_CHARS - filled)
    seconds = progress["processing_time_seconds"]
    return f"  [{bar}] {done:2d}/{total} {seconds:5.1f} s  {progress['current_step']}"


def _print_table(hospitals: list[Json]) -> None:
    columns: dict[str, Callable[[Json], str]] = {
        "row": lambda row: str(row["row"]),
        "name": lambda row: row["name"],
        "id": lambda row: str(row["hospital_id"] or ""),
        "status": lambda row: row["status"],
        "seconds": lambda row: f"{row['processing_time'] or 0:.3f}",
    }
    lines = [list(columns), *([cell(row) for cell in columns.values()] for row in hospitals)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for line in lines:
        cells = (
            cell.rjust(width) if title in ("row", "id", "seconds") else cell.ljust(width)
            for title, cell, width in zip(columns, line, widths, strict=True)
        )
        print("  " + "  ".join(cells).rstrip())
    print()


def _print_times(batch: Json) -> None:
    seconds, total = batch["processing_time_seconds"], batch["total_hospitals"]
    one_by_one = total * CREATE_SECONDS
    print(f"Batch {batch['batch_id']}: {batch['current_step']}.")
    print(
        f"It took {seconds:.1f} s; one by one: {total} x {CREATE_SECONDS:g} s = {one_by_one:g} s"
        f" ({one_by_one / seconds:.0f} times as long)."
    )


def _check_directory(client: httpx.Client, url: str, batch_id: str, rows: list[Json]) -> None:
    """Compare everything that the directory holds with *rows*, not trusting the service."""
    listed: list[Json] = client.get(f"{url}/hospitals/").raise_for_status().json()
    wanted = Counter((row["name"], row["address"], row["phone"] or None) for row in rows)
    found = Counter((row["name"], row["address"], row["phone"]) for row in listed)
    if found != wanted:
        raise DemoFailed(f"the directory has {len(listed)} hospitals that are not the file's rows")
    if not all(row["active"] and row["creation_batch_id"] == batch_id for row in listed):
        raise DemoFailed("not every hospital in the directory is active and of this batch")
    print(f"Asked the directory itself: it has the {len(rows)} rows, each once, all active.")


if __name__ == "__main__":
    sys.exit(main())
