"""Carries out the schedule on the service and the directory."""

import asyncio
import math
import time
from collections.abc import Sequence
from itertools import islice
from typing import assert_never

from chaos.clients import Clients
from chaos.files import Content
from chaos.inspector import Inspector
from chaos.journal import Journal
from chaos.ledger import Ledger
from chaos.scale import PERIOD_S
from chaos.schedule import (
    End,
    Faults,
    Forgetting,
    Restart,
    Sleep,
    Step,
    Strangers,
    Timed,
    Upload,
    late_create,
)
from chaos.system import System
from chaos.upstream import Upstream

# Rules that nobody met yet stay, up to so many in force: a batch that meets many faults at once is
# delayed by one until the harm of another is past.
MOST_RULES = 4
LATE_CREATES = 2  # when a process is about to hand over what it works on
INSPECT_EVERY_S = 3.0
TWINS = 12  # foreign hospitals with the content of an upload that is yet to come


class Trouble:
    """Does what the schedule says, each step at its time, several at once if need be."""

    def __init__(
        self,
        steps: Sequence[Timed],
        service: System,
        upstream: Upstream,
        clients: Clients,
        inspector: Inspector,
        ledger: Ledger,
        journal: Journal,
    ) -> None:
        self._steps = steps
        self._service = service
        self._upstream = upstream
        self._clients = clients
        self._inspector = inspector
        self._ledger = ledger
        self._journal = journal
        self._directory = asyncio.Lock()  # one thing at a time happens to it
        self._strangers = False

    async def run(self) -> None:
        """Return when every step is done."""
        started_s = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for timed in self._steps:
                await asyncio.sleep(started_s + timed.at_s - time.monotonic())
                tasks.create_task(self._do(timed.step))

    async def inspect_now_and_then(self) -> None:
        """Compare the directory with what is due, between its restarts; never ends."""
        while True:
            await asyncio.sleep(INSPECT_EVERY_S)
            async with self._directory:
                await self._inspector.inspect(final=False)

    async def welcome_foreigners(self) -> None:
        """Put foreign hospitals into the directory, some with contents of uploads to come."""
        begun = len(self._ledger.entries)
        uploads = [timed.step for timed in self._steps if isinstance(timed.step, Upload)]
        rows: list[Content] = [upload.contents[0] for upload in uploads[max(begun - 2, 0) :]]
        await self._upstream.put_foreign(list(islice(rows, TWINS)))

    async def _do(self, step: Step) -> None:
        match step:
            case Upload():
                await self._clients.upload(step)
            case Faults(rules):
                await self._misbehave(rules)
            case Forgetting() | Sleep() | Strangers():
                if self._directory.locked():
                    return self._journal.note(f"directory: busy, left alone: {step}")
                async with self._directory:
                    await self._befall(step)
            case Restart(end=End(by_kill=False), sending=True):
                await self._misbehave([late_create()] * LATE_CREATES)
                await self._service.befall(step)
            case _:
                await self._service.befall(step)

    async def _befall(self, step: Forgetting | Sleep | Strangers) -> None:
        match step:
            case Forgetting():
                await self._forget(step)
            case Sleep(wake_s, status):
                self._service.counts["directory sleeps"] += 1
                self._journal.note(f"directory: falls asleep, {wake_s:.1f} s to wake, {status}")
                await self._upstream.sleep(wake_s, status)
            case Strangers(seconds):
                await self._visit(seconds)
            case _:
                assert_never(step)

    async def _misbehave(self, rules: Sequence[dict[str, object]]) -> None:
        if self._strangers or self._directory.locked():
            return  # down, or others would meet the faults that are meant for the service
        said = ", ".join(f"{rule['kind']} at {rule['endpoint']}" for rule in rules)
        self._journal.note(f"faults: {said}")
        unmet = await self._upstream.rules()
        await self._upstream.misbehave([*rules, *unmet][: max(MOST_RULES, len(rules))])

    async def _forget(self, step: Forgetting) -> None:
        await self._inspector.inspect(final=False)
        how = "its process is killed" if step.by_kill else "by its own order"
        self._journal.note(f"directory: forgets ({how}), down for {step.down_s:.1f} s")
        self._service.counts["directory restarts"] += 1
        if step.by_kill:
            self._service.counts["directory restarts by kill -9"] += 1
            await self._upstream.kill()
            self._ledger.forgotten(time.time())
            await asyncio.sleep(step.down_s)
            await self._upstream.start()
        else:
            await self._upstream.forget(step.down_s)
            self._ledger.forgotten(time.time())
        await self.welcome_foreigners()

    async def _visit(self, seconds: float) -> None:
        self._strangers, self._service.visited_until_s = True, math.inf
        self._service.counts["directory visited by strangers"] += 1
        self._journal.note(f"directory: strangers use up its budget for {seconds:.1f} s")
        try:
            await self._upstream.misbehave(())
            await self._upstream.visit_strangers(seconds)
        finally:
            self._strangers = False
            self._service.visited_until_s = time.monotonic() + PERIOD_S
            self._journal.note("directory: the strangers are gone")
