"""Shows one upload from start to end: `make demo`.

The service and a local directory as slow as the real one (5 s a create) run as processes of their
own, on free ports, for as long as the demo does. No setting and no storage of yours is used.
"""

import csv
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType

import httpx

from cli import loading, outcome
from cli.client import CallFailed, Json, Service
from cli.display import Display
from scripts.processes import ROOT, DidNotStart, Server, start_directory, start_service

SAMPLE = ROOT / "sample_hospitals.csv"
CREATE_SECONDS = 5.0  # what one create takes, here as in the real directory
INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


def main() -> int:
    """Run the demo; return 0 if the batch completed and the directory has what the file has."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    os.environ["no_proxy"] = "127.0.0.1"  # a proxy cannot reach servers of this machine
    try:
        with tempfile.TemporaryDirectory(prefix="hospital-demo-") as folder, ExitStack() as stack:
            return _run(Path(folder), stack)
    except (DidNotStart, DemoFailed, CallFailed, httpx.HTTPError) as error:
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
    """Do what `python -m cli upload` does, then look whether it is true."""
    print(f"$ python -m cli upload {SAMPLE.name} --url {service_url}")
    display = Display(service_url)
    with closing(Service(service_url)) as service:
        accepted = loading.send(service, display, SAMPLE)
        batch = loading.followed(service, display, accepted["batch_id"])
        is_completed = outcome.tell(service, display, batch)
    if not is_completed:
        raise DemoFailed(f"the batch is {batch['status']}")
    _print_times(batch)
    _check_directory(directory_url, batch["batch_id"])
    return 0


def _print_times(batch: Json) -> None:
    seconds, total = batch["processing_time_seconds"], batch["total_hospitals"]
    one_by_one = total * CREATE_SECONDS
    print(
        f"\nOne by one it would have taken {total} x {CREATE_SECONDS:g} s = {one_by_one:g} s, "
        f"{one_by_one / seconds:.0f} times as long."
    )


def _check_directory(url: str, batch_id: str) -> None:
    """Compare everything that the directory holds with the file, not trusting the service."""
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    listed: list[Json] = httpx.get(f"{url}/hospitals/", timeout=30.0).raise_for_status().json()
    wanted = Counter((row["name"], row["address"], row["phone"] or None) for row in rows)
    found = Counter((row["name"], row["address"], row["phone"]) for row in listed)
    if found != wanted:
        raise DemoFailed(f"the directory has {len(listed)} hospitals that are not the file's rows")
    if not all(row["active"] and row["creation_batch_id"] == batch_id for row in listed):
        raise DemoFailed("not every hospital in the directory is active and of this batch")
    print(f"Asked the directory itself: it has the {len(rows)} rows, each once, all active.")


if __name__ == "__main__":
    sys.exit(main())
