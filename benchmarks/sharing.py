"""What several processes on one database cost, and how soon one that is gone is replaced."""

import asyncio
import signal
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

import httpx

from benchmarks.figures import Figure, Pair, Section, compared, interleaved
from benchmarks.progress import answers_per_second
from benchmarks.rig import (
    INSTANT,
    PART_ROWS,
    TIMEOUT_S,
    UNLIMITED,
    UNPACED,
    accepted,
    bare_creates_s,
    completed,
    fresh_rig,
    upload,
    upload_s,
    wait_until,
)
from scripts.postgres import PostgresServer
from scripts.processes import Process, Server, Worker, start_directory, start_service, start_worker
from services.storage.postgres import LEASE_S
from services.storage.schema import migrate

P = TypeVar("P", bound=Process)

REPEATS = 3
LOSSES = 2
FILES, UPLOADERS = 60, 4
LONG_ROWS = 40  # the second half waits for the next window while a worker is lost
FILE_AIM, TAKE_OVER_AIM_S = 1.03, 15.0
ABOUT = f"""
PostgreSQL on the same machine, durable. A file of {PART_ROWS} rows is uploaded to a process that
only serves, and run by a worker; floor: the same creates sent bare. Polls and rows a second, of
{FILES} files and an instant directory without limits, are against the same service on files; those
of four processes (two that serve and run, two workers) against one process on the database. A
worker that waits in the middle of a file for the next rate window is killed, or frozen: the seconds
until the batch is seen, at the process that serves, to go on in another worker.
"""


class Company:
    """A directory, and processes on a fresh database that share its batches.

    Args:
        postgres: Where the database is made.
        directory_options: See `python -m directory --help`.
        settings: Of all processes.
    """

    def __init__(self, postgres: PostgresServer, *directory_options: str, **settings: Any) -> None:
        self._settings = settings
        self._settings["database_url"] = postgres.create_database(f"bench_{uuid4().hex}")
        migrate(self._settings["database_url"])
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.directory = self._ended(start_directory(self._folder, *directory_options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def web(self, **settings: Any) -> Server:
        """Start a process that serves, and runs batches unless *settings* say otherwise."""
        how = self._settings | settings
        return self._ended(start_service(self._folder, self.directory.url, **how))

    def worker(self) -> Worker:
        """Start a process that only runs batches."""
        return self._ended(start_worker(self._folder, self.directory.url, **self._settings))

    def _ended(self, process: P) -> P:
        self._stack.callback(process.kill)
        return process


def one_file(postgres: PostgresServer) -> Pair:
    """Return the seconds that a file takes, and those of the same creates sent bare."""
    with Company(postgres, *UNLIMITED) as company:
        web, _ = company.web(run_batches="false"), company.worker()
        floor_s = bare_creates_s(company.directory.url, PART_ROWS, at_once=PART_ROWS)
        return upload_s(web.url, PART_ROWS), floor_s


def polls(postgres: PostgresServer) -> Pair:
    """Return the answers a second about a batch in the database, and about one on files."""
    with Company(postgres, *INSTANT, **UNPACED) as company:
        of_shared = answers_per_second(completed(company.web(), PART_ROWS))
    with fresh_rig(*INSTANT, **UNPACED) as rig:
        return of_shared, answers_per_second(completed(rig.service, PART_ROWS))


async def _load(urls: list[str]) -> float:
    files = iter(range(FILES))
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:

        async def work(url: str) -> None:
            for _ in files:
                await upload(client, url, PART_ROWS)

        started = time.perf_counter()
        await asyncio.gather(*(work(urls[n % len(urls)]) for n in range(UPLOADERS)))
        return FILES * PART_ROWS / (time.perf_counter() - started)


def rows_per_second(postgres: PostgresServer, webs: int, workers: int) -> float:
    """Return how many rows a second go through so many processes."""
    with Company(postgres, *INSTANT, **UNPACED) as company:
        urls = [company.web().url for _ in range(webs)]
        for _ in range(workers):
            company.worker()
        return asyncio.run(_load(urls))


def to_files(postgres: PostgresServer) -> Pair:
    """Return the rows a second of one process on the database, and of one on files."""
    of_shared = rows_per_second(postgres, 1, 0)
    with fresh_rig(*INSTANT, **UNPACED) as rig:
        return of_shared, asyncio.run(_load([rig.service.url]))


def to_one(postgres: PostgresServer) -> Pair:
    """Return the rows a second of four processes, and of one."""
    return rows_per_second(postgres, 2, 2), rows_per_second(postgres, 1, 0)


def taken_over_s(postgres: PostgresServer, how: signal.Signals) -> float:
    """Return the seconds from a worker's loss until its batch is seen to go on in another."""
    settings = UNPACED | {"create_rate_limit": PART_ROWS, "max_csv_size": LONG_ROWS}
    with Company(postgres, *INSTANT, **settings) as company:
        web, lost = company.web(run_batches="false"), company.worker()
        url = accepted(web, LONG_ROWS)
        wait_until(lambda: _progress(url)["processed_hospitals"] == PART_ROWS)
        company.worker()
        used_to_it_s = time.monotonic() + LEASE_S  # else it had to see the others for so long
        wait_until(lambda: time.monotonic() > used_to_it_s)
        lost.process.send_signal(how)
        lost_s = time.monotonic()
        wait_until(lambda: _progress(url)["resume_count"] == 1)
        return time.monotonic() - lost_s


def _progress(url: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(url).json()
    return found


def measure() -> Section:
    """Measure what sharing costs, and the loss of a worker."""
    with PostgresServer() as postgres:
        files, asked, alone, four = interleaved(
            REPEATS,
            partial(one_file, postgres),
            partial(polls, postgres),
            partial(to_files, postgres),
            partial(to_one, postgres),
        )
        lost = {
            how: [taken_over_s(postgres, how) for _ in range(LOSSES)]
            for how in (signal.SIGKILL, signal.SIGSTOP)
        }
    figures = [
        compared(f"a file of {PART_ROWS} rows", "s", files, at_most=FILE_AIM),
        compared("polls, to the service on files", "requests/s", asked),
        compared("rows, to the service on files", "rows/s", alone),
        compared("rows with four processes, to one", "rows/s", four),
        _most("a killed worker is replaced after, at most", lost[signal.SIGKILL]),
        _most("a frozen worker is replaced after, at most", lost[signal.SIGSTOP]),
    ]
    return Section("Sharing", ABOUT, figures, [])


def _most(what: str, seconds: list[float]) -> Figure:
    return Figure(what, max(seconds), "s", at_most=TAKE_OVER_AIM_S)
