"""A crowd of clients at once: they upload, follow progress, break off, and come back if refused.

Plain asyncio and httpx, which the tests have anyway. A load generator that sends at a rate would
not do: what counts here is who was refused, who came first, and that every row arrived once.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.rig import csv_file

TIMEOUT_S = 120.0
POLL_S = 0.5  # a client that follows a batch asks about this often
LEAVE_EVERY = 5  # and does not wait for about every fifth answer
LEAVE_S = 0.25  # of all others' uploading, before clients that wait for a result break off
# The server gives an idle connection up after 5 s; a request that meets that would break off.
LIMITS = httpx.Limits(keepalive_expiry=2.0)


@dataclass(frozen=True, slots=True)
class Load:
    """What a crowd does in one round.

    Attributes:
        uploads: Files sent at once, in three parts: one third of the clients break off while they
            wait for the result, one third wait, one third ask for a 202.
        rows: Rows of each file.
        followers: Clients that ask for progress until the last batch has ended.
    """

    uploads: int
    rows: int
    followers: int

    @property
    def leavers(self) -> int:
        return self.uploads // 3


@dataclass(slots=True)
class Seen:
    """What the clients of one round saw.

    Attributes:
        seconds: From the first upload to the last batch's end.
        names: Of all hospitals in the files.
        batch_ids: Of all batches accepted.
        statuses: How each batch ended.
        refusals: Answers to uploads that were refused.
        polls_s: Seconds of every progress call that was waited for.
    """

    seconds: float = 0.0
    names: list[str] = field(default_factory=list)
    batch_ids: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    refusals: list[httpx.Response] = field(default_factory=list)
    polls_s: list[float] = field(default_factory=list)


class Crowd:
    """Clients of one service, each with a connection of its own.

    Args:
        url: The service.
        storage: Its folder of checkpoints, named after their batches.
        haste: How much sooner than `Retry-After` says a refused client comes back, where the
            directory works faster than the real one by so much.
    """

    def __init__(self, url: str, storage: Path, *, haste: float = 1.0) -> None:
        self.url = url
        self._storage = storage
        self._haste = haste

    async def play(self, load: Load, name: str) -> Seen:
        """Play one round with hospitals called *name*; return when every batch has ended.

        Raises:
            TimeoutError: It takes longer than two minutes.
            httpx.HTTPError: A client met what it should not.
        """
        return await _Round(self, load, name).play()

    async def upload(self, content: bytes, *, wait: bool, seen: Seen | None = None) -> Any:
        """Upload a file, again after each refusal; return the answer's document."""
        files = {"file": ("hospitals.csv", content, "text/csv")}
        headers = {} if wait else {"Prefer": "respond-async"}
        async with self.client() as client:
            while True:
                answer = await client.post("/hospitals/bulk", files=files, headers=headers)
                if answer.status_code != 503:
                    return answer.raise_for_status().json()
                if seen is not None:
                    seen.refusals.append(answer)
                await asyncio.sleep(float(answer.headers["Retry-After"]) / self._haste)

    async def progress(self, client: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
        """Return where a batch stands."""
        answer = await client.get(f"/hospitals/progress/{batch_id}")
        document: dict[str, Any] = answer.raise_for_status().json()
        return document

    async def cleanup(self) -> int:
        """Have the service forget completed batches; return how many it forgot."""
        async with self.client() as client:
            answer = await client.post("/hospitals/progress/cleanup")
            return int(answer.raise_for_status().json()["cleaned"])

    def stored(self) -> set[str]:
        """Return the ids of all batches that have a checkpoint."""
        return {path.stem for path in self._storage.glob("*.json")}

    def client(self) -> httpx.AsyncClient:
        """Return one client; without TLS, so that none reads all certificates."""
        return httpx.AsyncClient(
            base_url=self.url, timeout=TIMEOUT_S, limits=LIMITS, verify=False, trust_env=False
        )


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as *condition* holds; the caller sets the deadline."""
    while not condition():  # noqa: ASYNC110 - another process cannot set an event
        await asyncio.sleep(0.02)


def differences(names: list[str], held: list[dict[str, Any]]) -> list[str]:
    """Return what keeps *held* from being each of *names* once and active; empty if nothing."""
    wanted, found = Counter(names), Counter(hospital["name"] for hospital in held)
    return [
        *(f"missing: {name}" for name in wanted - found),
        *(f"surplus: {name}" for name in found - wanted),
        *(f"inactive: {hospital['name']}" for hospital in held if not hospital["active"]),
    ]


class _Round:
    """One round of a crowd."""

    def __init__(self, crowd: Crowd, load: Load, name: str) -> None:
        self._crowd = crowd
        self._load = load
        self._seen = Seen()
        self._under_way: dict[str, int] = {}  # batch -> rows that were created when last asked
        self._uploading = True
        self._luck = random.Random(name)
        self._files = []
        for number in range(load.uploads):
            self._files.append(csv_file(load.rows, f"{name} {number}"))
            self._seen.names += [f"{name} {number} {row}" for row in range(load.rows)]

    async def play(self) -> Seen:
        async with asyncio.timeout(TIMEOUT_S):
            with self._timed():
                async with asyncio.TaskGroup() as followers:
                    leavers = await self._upload_to_leave()
                    for _ in range(self._load.followers):
                        followers.create_task(self._follow())
                    await self._upload_the_rest(leavers)
                    self._uploading = False
        return self._seen

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seen.seconds = time.perf_counter() - started

    async def _upload_to_leave(self) -> list[asyncio.Task[Any]]:
        """Begin the uploads whose clients break off, and wait until all are accepted."""
        before = self._crowd.stored()
        files = self._files[: self._load.leavers]
        leavers = [asyncio.create_task(self._crowd.upload(file, wait=True)) for file in files]
        await until(lambda: len(self._crowd.stored() - before) >= len(leavers))
        for batch_id in self._crowd.stored() - before:
            self._accepted(batch_id)
        return leavers

    async def _upload_the_rest(self, leavers: list[asyncio.Task[Any]]) -> None:
        async with asyncio.TaskGroup() as uploads:
            for number, file in enumerate(self._files[self._load.leavers :]):
                uploads.create_task(self._upload(file, wait=number % 2 == 0))
            await asyncio.sleep(LEAVE_S)
            for leaver in leavers:
                leaver.cancel()
        await asyncio.gather(*leavers, return_exceptions=True)

    async def _upload(self, file: bytes, *, wait: bool) -> None:
        document = await self._crowd.upload(file, wait=wait, seen=self._seen)
        self._accepted(document["batch_id"])
        if wait:
            self._ended(document)

    async def _follow(self) -> None:
        async with self._crowd.client() as client:
            await self._ask(client, self._one_to_follow())
            while self._uploading or self._under_way:
                await asyncio.sleep(POLL_S * (0.5 + self._luck.random()))
                if self._luck.randrange(LEAVE_EVERY):
                    await self._ask(client, self._one_to_follow())
                else:
                    await self._ask_and_leave(self._one_to_follow())

    def _one_to_follow(self) -> str:
        return self._luck.choice(list(self._under_way) or self._seen.batch_ids)

    async def _ask(self, client: httpx.AsyncClient, batch_id: str) -> None:
        least = self._under_way.get(batch_id, self._load.rows)
        started = time.perf_counter()
        document = await self._crowd.progress(client, batch_id)
        self._seen.polls_s.append(time.perf_counter() - started)
        created = document["processed_hospitals"]
        if created < least:
            raise RuntimeError(f"progress went back from {least} to {created} rows")
        if document["is_completed"]:
            self._ended(document)
        elif batch_id in self._under_way:
            self._under_way[batch_id] = max(created, self._under_way[batch_id])

    async def _ask_and_leave(self, batch_id: str) -> None:
        url = httpx.URL(self._crowd.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"GET /hospitals/progress/%b HTTP/1.1\r\nHost: x\r\n\r\n" % batch_id.encode())
        await writer.drain()
        writer.close()

    def _accepted(self, batch_id: str) -> None:
        self._seen.batch_ids.append(batch_id)
        self._under_way[batch_id] = 0

    def _ended(self, document: dict[str, Any]) -> None:
        if self._under_way.pop(document["batch_id"], None) is not None:
            self._seen.statuses.append(document["status"])
