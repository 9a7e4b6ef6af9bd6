"""Several processes of the service on one database, with a proxy in front: see `system.System`."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from random import Random
from typing import Protocol

import httpx

from chaos.database import SharedDatabase
from chaos.journal import Journal
from chaos.ledger import Ledger, Seen
from chaos.member import Member
from chaos.process import AFTER_ANSWER
from chaos.scale import SERVICE, SEVERAL, SHARED_MARGIN_S
from chaos.schedule import DatabaseAway, End, Freeze, Restart, Step

AGREED_S = 10.0  # to forget an old batch at the very end takes a moment, too
# More would leave none of them enough time to take a batch over, and to be frozen.
ENDED_AFTER_ANSWER = 0.3
ROLES = ("web", "worker", "web")


class Company:
    """The processes and their database.

    Args:
        names: What the processes are called; the first word is their role.
        ports: Where they serve.
    """

    url = "http://proxy"

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        ports: Sequence[int],
        directory_url: str,
        ledger: Ledger,
        journal: Journal,
        luck: Random,
    ) -> None:
        self._luck = luck
        self._database = SharedDatabase(folder, ledger, journal)
        settings = SERVICE | {
            "hospital_api_base_url": directory_url,
            "database_url": self._database.url,
            "rate_limit_margin_seconds": SHARED_MARGIN_S,
            "progress_cleanup_hours": SEVERAL.cleanup_age_s / 3600,
            "resumable_retention_hours": SEVERAL.retention_s / 3600,
        }
        environment = {name.upper(): str(value) for name, value in settings.items()}
        self._members = [
            Member(
                name,
                None if name.startswith("worker") else port,
                dict(environment),
                folder / f"{name.replace(' ', '-')}.log",
                journal,
                ledger,
                luck,
                self._refused,
            )
            for name, port in zip(names, ports, strict=True)
        ]
        self.counts = self._database.counts
        self.failures: list[str] = []
        self.visited_until_s = 0.0
        for member in self._members:
            member.counts, member.failures = self.counts, self.failures

    def _refused(self) -> None:
        if time.monotonic() > self.visited_until_s:
            self.counts["creates refused for their rate, without strangers"] += 1

    def transport(self) -> httpx.AsyncBaseTransport:
        return Proxy([member for member in self._members if member.url], self._luck)

    async def start(self) -> None:
        await self._database.start()
        await asyncio.gather(*(member.start() for member in self._members))

    async def befall(self, step: Step) -> None:
        match step:
            case Restart():
                await self._members[step.process].restart(step)
            case Freeze():
                await self._members[step.process].freeze(step)
            case DatabaseAway():
                await self._database.be_away(step)
            case _:
                raise AssertionError(step)

    async def end_one(self, end: End, why: str, batch_id: str | None) -> None:
        """End the one that works on the batch, or any."""
        at_work = [member for member in self._members if member.works_on(batch_id)]
        await self._luck.choice(at_work or self._members).end_at_once(end, why)

    async def end_after_answer(self, end: End, batch_id: str | None) -> None:
        if self._luck.random() < ENDED_AFTER_ANSWER:
            await self.end_one(end, AFTER_ANSWER, batch_id)

    async def restart_plainly(self) -> None:
        """Have every process serve that does not; nobody restarts the others.

        So that what one of them has got wrong is seen.
        """
        async with self.readable():
            await asyncio.gather(*(member.restart_if_down() for member in self._members))

    def readable(self) -> AbstractAsyncContextManager[None]:
        return self._database.readable()

    def kept(self) -> list[Seen]:
        return self._database.kept()

    async def compare_views(self) -> None:
        for member in self._members:
            if member.url:
                self.failures += [f"{member.name}: {wrong}" for wrong in await self._views(member)]

    async def _views(self, member: Member) -> list[str]:
        """Return what a process tells otherwise than it is kept, for longer than it may."""
        deadline_s = time.monotonic() + AGREED_S
        async with httpx.AsyncClient(base_url=member.url, trust_env=False) as client:
            while True:
                wrong = [
                    f"tells of batch {seen.batch_id}: {told}, it is {seen.status}"
                    for seen in self.kept()
                    if (told := await _told(client, seen.batch_id)) != seen.status
                ]
                if not wrong or time.monotonic() >= deadline_s:
                    return wrong
                await asyncio.sleep(0.3)

    async def close(self) -> None:
        try:
            await asyncio.gather(*(member.close() for member in self._members))
        finally:
            await self._database.close()


async def _told(client: httpx.AsyncClient, batch_id: str) -> str:
    try:
        answer = await client.get(f"/hospitals/progress/{batch_id}")
        return str(answer.json()["status"])  # of a problem it is the HTTP status
    except httpx.HTTPError as error:
        return f"nothing ({type(error).__name__})"


def names_of(processes: int) -> list[str]:
    """Return what so many processes are called."""
    return [f"{ROLES[number % len(ROLES)]} {number + 1}" for number in range(processes)]


class Upstanding(Protocol):
    """A process, as the proxy sees it."""

    url: str
    is_up: bool


class Proxy(httpx.AsyncBaseTransport):
    """Takes each request to a process that is up, or to another if there is no connection."""

    def __init__(self, members: Sequence[Upstanding], luck: Random) -> None:
        self._members = members
        self._luck = luck
        self._way = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        up = [member for member in self._members if member.is_up]
        for member in self._luck.sample(up, len(up)):
            there = httpx.URL(member.url)
            request.url = request.url.copy_with(host=there.host, port=there.port)
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._way.handle_async_request(request)
        raise httpx.ConnectError("no process is up", request=request)

    async def aclose(self) -> None:
        await self._way.aclose()
