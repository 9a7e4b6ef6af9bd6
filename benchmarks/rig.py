"""What the benchmarks share: servers, files, uploads, and creates sent bare for the floor."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx

from scripts.processes import Server, start_directory, start_service

TIMEOUT_S = 300.0
PART_ROWS = 20  # DIRECTORY_BATCH_LIMIT
CLIENTS = 10  # as many pools as the service has
# The directory's own limits are off: floor and service would share its windows.
UNLIMITED = ("--create-limit", "0", "--lookup-limit", "0", "--root-limit", "0", "--keep", "0")
INSTANT = ("--create-seconds", "0", *UNLIMITED)
NOWHERE = "http://127.0.0.1:9"  # for what asks no directory
UNPACED: dict[str, Any] = {"create_rate_limit": 0, "max_requests_per_second": 0}


class Rig(NamedTuple):
    """A service and its directory, both fresh, and the folder that holds what they write."""

    service: Server
    directory: Server
    folder: Path


@contextmanager
def fresh_rig(*directory_options: str, **settings: Any) -> Iterator[Rig]:
    """Start a directory and a service with *settings*; end both at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        directory = start_directory(folder, *directory_options)
        try:
            service = start_service(folder, directory.url, **settings)
            try:
                yield Rig(service, directory, folder)
            finally:
                service.stop()
        finally:
            directory.stop()


def accepted(service: Server, rows: int) -> str:
    """Upload a file without waiting for its result; return where its progress is."""
    answer = httpx.post(
        f"{service.url}/hospitals/bulk",
        files={"file": ("hospitals.csv", csv_file(rows), "text/csv")},
        headers={"Prefer": "respond-async"},
    )
    return service.url + str(answer.raise_for_status().headers["location"])


def completed(service: Server, rows: int) -> str:
    """Upload a file and wait until it is completed; return where its progress is."""
    url = accepted(service, rows)
    wait_until(lambda: httpx.get(url, params={"limit": 1}).json()["is_completed"])
    return url


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask *condition* again and again; TimeoutError if it does not hold in time."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError("what was waited for did not come")


def for_rows(rows: int) -> dict[str, Any]:
    """Return the settings with which files of so many rows are taken."""
    return {"max_csv_size": max(rows, PART_ROWS), "directory_capacity": max(rows, 10_000)}


def csv_file(rows: int, name: str = "Hospital") -> bytes:
    """Return a file with *rows* different hospitals, called *name* and a number."""
    lines = [f"{name} {n},{n} Main Street Springfield,555-010{n:04d}" for n in range(rows)]
    return ("name,address,phone\n" + "\n".join(lines) + "\n").encode()


async def upload(client: httpx.AsyncClient, url: str, rows: int) -> float:
    """Upload a file and wait for its result; return the seconds it took."""
    started = time.perf_counter()
    files = {"file": ("hospitals.csv", csv_file(rows), "text/csv")}
    answer = await client.post(f"{url}/hospitals/bulk", files=files)
    seconds = time.perf_counter() - started
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    if result["status"] != "completed":
        raise RuntimeError(f"not completed: {result['failure_reason']}")
    return seconds


def upload_s(url: str, rows: int) -> float:
    """Upload one file with a client of its own; return the seconds until its result."""

    async def once() -> float:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            return await upload(client, url, rows)

    return asyncio.run(once())


async def _bare_creates(url: str, rows: int, at_once: int, clients: int) -> float:
    numbers = iter(range(rows))
    batch_ids = [str(uuid4()) for _ in range(-(-rows // PART_ROWS))]
    async with AsyncExitStack() as closing:
        opened = [
            await closing.enter_async_context(httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S))
            for _ in range(min(clients, at_once))
        ]
        for client in opened:
            await client.get("/")

        async def work(client: httpx.AsyncClient) -> None:
            for n in numbers:
                body = {
                    "name": f"Hospital {n}",
                    "address": f"{n} Main Street Springfield",
                    "phone": f"555-010{n:04d}",
                    "creation_batch_id": batch_ids[n // PART_ROWS],
                }
                (await client.post("/hospitals/", json=body)).raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(work(client) for client in islice(cycle(opened), at_once)))
        return time.perf_counter() - started


def bare_creates_s(url: str, rows: int, at_once: int, clients: int = CLIENTS) -> float:
    """Send *rows* creates with bare httpx, so many at once; return the seconds until the last.

    Args:
        url: The directory.
        rows: How many.
        at_once: How many are under way at a time.
        clients: Over how many clients they are spread. httpx is slow with many requests in one
            pool: with ten of them twice as many creates are sent a second.
    """
    return asyncio.run(_bare_creates(url, rows, at_once, clients))
