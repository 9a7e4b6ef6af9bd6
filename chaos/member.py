"""One of several processes of the service: it can be frozen, and needs its database to start."""

import asyncio
import contextlib
import re
import signal
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from chaos.child import Child
from chaos.journal import Journal
from chaos.ledger import Ledger
from chaos.process import Process
from chaos.scale import AWAY_S, EXIT_MARGIN_S, LEASE_S
from chaos.schedule import End, Freeze, Restart
from chaos.table import SharedDeed, ends_of

WORKING_S = 4.0  # for so long it is waited for work on a batch
MOMENT_S = 0.12  # then up to so long: a little more than a create takes
WORKING = re.compile(r"looked|row sent|activating|copy deleted")
IN_DOUBT = re.compile(r"row sent .*outcome=Unknown")
BATCH = re.compile(r"batch_id=([0-9a-f-]{36})")
LEFT_OVER = "batch is left over: it goes on"
LOST = "another process goes on with the batch"
LOST_IN_VAIN = 6  # times that a process notices it of one batch: it does not let go
NO_DATABASE = "DATABASE_URL cannot be"
AGAIN_S = 0.3
REMEMBERED = 5  # batches


class Member(Process):
    """One of the processes.

    Args:
        luck: At which moment of its work it is disturbed.
        refused: Called for each create that was refused for its rate.

    Attributes:
        is_up: It serves, and is not frozen.
    """

    exit_margin_s = EXIT_MARGIN_S + AWAY_S

    def __init__(
        self,
        name: str,
        port: int | None,
        environment: dict[str, str],
        log: Path,
        journal: Journal,
        ledger: Ledger,
        luck: Random,
        refused: Callable[[], None],
    ) -> None:
        super().__init__(name, port, environment, log, journal)
        self.is_up = False
        self._ledger = ledger
        self._luck = luck
        self._refused = refused
        self._works = asyncio.Event()
        self._moment_awaited = WORKING
        self._works_on: OrderedDict[str, None] = OrderedDict()
        self._losses: Counter[str] = Counter()
        self._had_no_database = False

    def works_on(self, batch_id: str | None) -> bool:
        """Return whether its log spoke of the batch lately."""
        return batch_id in self._works_on

    async def restart(self, step: Restart) -> None:
        """End it and start it again; not while that happens already, or while it is frozen."""
        if self._lock.locked():
            return self._journal.note(f"{self.name}: busy, left alone")
        async with self._lock:
            moment = WORKING if step.end.by_kill else IN_DOUBT
            when = await self._moment(moment) if step.sending else ""
            self.counts[SharedDeed.HANDED_OVER] += bool(when) and not step.end.by_kill
            await self._end(step.end, when)
            await asyncio.sleep(step.down_s)
            self._environment["DIRECTORY_BATCH_LIMIT"] = str(step.part_rows)
            if self.url:
                self._environment["RUN_BATCHES"] = str(step.run_batches).lower()
            for end in step.starts_cut_short:
                await self._spawn()
                await asyncio.sleep(end.after_s)
                await self._end(end, "during start-up")
            await self._until_it_serves()

    async def freeze(self, step: Freeze) -> None:
        """Have it do nothing for a while; not while it is started or frozen."""
        if self._lock.locked():
            return self._journal.note(f"{self.name}: busy, left alone")
        async with self._lock:
            when = await self._moment(WORKING) if step.sending else ""
            child = self._child
            if child is None or not child.send(signal.SIGSTOP):
                return
            began = time.time()
            self._journal.note(f"{self.name} {child.pid}: frozen for {step.seconds:.1f} s {when}")
            is_long = step.seconds > LEASE_S
            self.counts[SharedDeed.LONG_FREEZES if is_long else SharedDeed.SHORT_FREEZES] += 1
            self.counts[SharedDeed.FROZEN_AT_WORK] += bool(when)
            self.is_up = False
            await _within(step.seconds, child.ended())  # it may be killed meanwhile
            self.is_up = child.send(signal.SIGCONT)
            self._ledger.stalled(began, time.time())
            self._journal.note(f"{self.name} {child.pid}: goes on")
            if not child.is_alive:
                await self._until_it_serves()

    async def restart_if_down(self) -> None:
        """Return when it serves."""
        async with self._lock:
            child = self._child
            if child is None or child.ended_by_us or not child.is_alive:
                if child is not None:
                    await self._wait_for(child)
                await self._until_it_serves()

    async def _moment(self, moment: re.Pattern[str]) -> str:
        """Wait for a moment of its work; return when that is."""
        self._moment_awaited = moment
        self._works.clear()
        if not await _within(WORKING_S, self._works.wait()):
            return ""
        await asyncio.sleep(self._luck.choice((0.0, 1.0)) * self._luck.uniform(0.0, MOMENT_S))
        return "at work"

    async def _until_it_serves(self) -> None:
        await super()._until_it_serves()
        self.is_up = True

    async def _spawn(self) -> Child:
        self._had_no_database = False
        self._losses.clear()
        return await super()._spawn()

    @property
    def _may_give_up(self) -> bool:
        return self._had_no_database

    async def _has_given_up(self, child: Child) -> bool:
        """Whoever looks after it starts it again, whatever it died of."""
        if not await super()._has_given_up(child):
            self._fail(f"{self.name} {child.pid} ended by itself while it started")
        await asyncio.sleep(AGAIN_S)
        return True

    def _signal(self, child: Child, end: End, when: str) -> bool:
        is_sent = super()._signal(child, end, when)
        self.is_up = False
        self.counts[ends_of(self.name, by_kill=end.by_kill)] += is_sent
        return is_sent

    def _notice(self, line: str) -> None:
        super()._notice(line)
        self._had_no_database |= NO_DATABASE in line
        about = BATCH.search(line)
        self.counts[SharedDeed.LEFT_OVER] += LEFT_OVER in line
        if "outcome=RateLimited" in line:
            self._refused()
        if about and LOST in line:
            self._note_loss(about[1])
        if self._moment_awaited.search(line):
            self._works.set()
        if about:
            self._works_on[about[1]] = None
            self._works_on.move_to_end(about[1])
            if len(self._works_on) > REMEMBERED:
                self._works_on.popitem(last=False)

    def _note_loss(self, batch_id: str) -> None:
        self.counts[SharedDeed.LOST] += 1
        self._losses[batch_id] += 1
        if self._losses[batch_id] == LOST_IN_VAIN:
            self._fail(f"{self.name} does not let go of batch {batch_id}, which it has lost")


async def _within(seconds: float, something: Awaitable[object]) -> bool:
    """Wait for *something* for so long; return whether it came."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await something
            return True
    return False
