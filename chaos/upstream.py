"""The local directory as a process: its faults, its sleep, its strangers, and how it forgets."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from chaos.child import Child
from chaos.files import Content
from chaos.journal import Journal
from chaos.scale import DIRECTORY
from chaos.schedule import Rule
from chaos.verdict import Hospital
from scripts.processes import DidNotStart

CONTROL = "/_directory"
START_S = 60.0
# More than one window of creates and of lists takes, and how often that is repeated.
STRANGERS_CREATES = 32
STRANGERS_LISTS = 52
STRANGERS_PAUSE_S = 0.4


class Upstream:
    """One directory that comes and goes on one port.

    Attributes:
        foreign: Hospitals that are none of the service's business, by id, as they were put there.
        failures: What it did that it never may: tracebacks.
    """

    def __init__(self, folder: Path, port: int, seed: int, journal: Journal) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.foreign: dict[int, Hospital] = {}
        self._arguments = ["directory", "--port", str(port), "--seed", str(seed), *DIRECTORY]
        self._log = folder / "directory.log"
        self._journal = journal
        self._child: Child | None = None
        self._faulted_before: Counter[str] = Counter()  # by processes that are gone
        self._client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30.0)
        self._full_batch = str(uuid4())
        self.failures: list[str] = []

    async def start(self) -> None:
        """Start it and return when it serves."""
        self._child = await Child.start(self._arguments, {}, self._log, self._notice)
        deadline_s = time.monotonic() + START_S
        while self._child.is_alive and time.monotonic() < deadline_s:
            try:
                await self.rules()
            except httpx.HTTPError:
                await asyncio.sleep(0.03)
            else:
                return
        raise DidNotStart(f"The directory did not start: see {self._log}")

    async def kill(self) -> None:
        """Kill its process."""
        self._faulted_before = await self.faulted()
        assert self._child is not None
        self._child.send(signal.SIGKILL)
        await self._child.ended()

    async def close(self) -> None:
        """End it."""
        if self._child is not None:
            self._child.send(signal.SIGKILL)
            await self._child.ended()
        await self._client.aclose()

    # --- Its control ------------------------------------------------------------------------------

    async def rules(self) -> list[Rule]:
        """Return the faults in force."""
        rules: list[Rule] = (await self._control("GET", "/faults")).json()
        return rules

    async def misbehave(self, rules: Sequence[Rule]) -> None:
        """Put *rules* in force, and no others."""
        await self._control("PUT", "/faults", list(rules))

    async def forget(self, down_s: float) -> None:
        """Forget everything by its own order, and be down for *down_s*."""
        await self._control("POST", "/restart", {"down_seconds": down_s})

    async def sleep(self, wake_s: float, status: int | None) -> None:
        """Fall asleep."""
        await self._control("POST", "/sleep", {"wake_seconds": wake_s, "status": status})

    async def faulted(self) -> Counter[str]:
        """Return how many requests met each kind of fault, over all its processes."""
        stats = (await self._control("GET", "/stats")).json()
        return self._faulted_before + Counter(stats["faulted"])

    async def hospitals(self) -> list[Hospital]:
        """Return all that it has."""
        listed: list[Hospital] = (await self._control("GET", "/hospitals")).json()
        return listed

    async def put_foreign(self, twins: Sequence[Content]) -> None:
        """Put hospitals there that the service must not touch.

        Args:
            twins: Contents that the service loads too: here they stand in a batch of others.
        """
        other, active = str(uuid4()), str(uuid4())
        rows = [_row(f"Foreign, no batch {n}", None, None) for n in range(3)]
        rows += [_row(f"Foreign, not active {n}", other, False) for n in range(3)]
        rows += [_row(f"Foreign, active {n}", active, True) for n in range(3)]
        rows += [_row("Foreign", self._full_batch, False) for _ in range(20)]
        rows += [
            {"name": name, "address": address, "phone": phone or None}
            | {"creation_batch_id": other, "active": n % 2 == 0}
            for n, (name, address, phone) in enumerate(twins)
        ]
        self.foreign = {}
        for row in rows:
            hospital = (await self._control("POST", "/hospitals", row)).json()
            self.foreign[hospital["id"]] = hospital

    async def visit_strangers(self, seconds: float) -> None:
        """Use up the budget of our address for *seconds*, without leaving a row.

        Their creates are for a batch that is full: such a one counts, and creates nothing.
        """
        body = {"name": "A stranger's", "address": "Elsewhere"}
        body["creation_batch_id"] = self._full_batch
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            creates = [self._visit("POST", "/hospitals/", body) for _ in range(STRANGERS_CREATES)]
            path = f"/hospitals/batch/{self._full_batch}"
            lists = [self._visit("GET", path) for _ in range(STRANGERS_LISTS)]
            await asyncio.gather(*creates, *lists)
            await asyncio.sleep(STRANGERS_PAUSE_S)

    async def _visit(self, method: str, path: str, body: Any = None) -> None:
        try:
            await self._client.request(method, path, json=body, timeout=5.0)
        except httpx.HTTPError:
            return  # it sleeps

    async def _control(self, method: str, path: str, body: Any = None) -> httpx.Response:
        answer = await self._client.request(method, f"{CONTROL}{path}", json=body)
        return answer.raise_for_status()

    def _notice(self, line: str) -> None:
        if "Traceback (most recent call last)" in line:
            self.failures.append("the directory's log: a traceback")
            self._journal.note("WRONG a traceback of the directory")


def _row(name: str, batch_id: str | None, active: bool | None) -> dict[str, Any]:
    return {"name": name, "address": "Elsewhere", "creation_batch_id": batch_id, "active": active}
