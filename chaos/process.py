"""A process of the service: started, killed, stopped, started again."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from pathlib import Path

import httpx

from chaos.child import Child
from chaos.journal import Journal
from chaos.scale import EXIT_MARGIN_S, GRACE_S
from chaos.schedule import End
from scripts.processes import ROOT, DidNotStart

START_S = 60.0  # most that a start may take, on a machine that has much else to do
AFTER_ANSWER = "right after an answer"
EXITS = (0, -signal.SIGTERM, -signal.SIGKILL)


class Process:
    """One process that comes and goes.

    Args:
        name: What it is called.
        port: Where it serves HTTP; None: it is a worker, and serves nobody.
        environment: Its settings.
        log: Where its output is added.
        journal: Where its life is noted.

    Attributes:
        url: Where it serves; "" if it does not.
        counts: What was done to it.
        failures: What it did that it never may: tracebacks, slow exits.
    """

    exit_margin_s = EXIT_MARGIN_S

    def __init__(
        self,
        name: str,
        port: int | None,
        environment: dict[str, str],
        log: Path,
        journal: Journal,
    ) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._environment = environment
        self._log = log
        self._journal = journal
        self._child: Child | None = None
        self._lock = asyncio.Lock()
        self._has_started = False
        self.url = "" if port is None else f"http://127.0.0.1:{port}"
        self._client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=5.0)
        self._arguments = ["worker"]
        if port is not None:
            self._arguments = ["uvicorn", "main:app", "--app-dir", str(ROOT), "--port", str(port)]

    async def start(self) -> None:
        """Start it, again if it is killed meanwhile, and return when it serves."""
        async with self._lock:
            await self._until_it_serves()

    async def end_at_once(self, end: End, why: str) -> None:
        """End it now, whoever is at it, and see to it that it is started again."""
        child = self._child
        if child is None or not self._signal(child, end, why):
            return
        async with self._lock:
            if self._child is child:  # else somebody has started another one meanwhile
                await self._wait_for(child)
                await self._until_it_serves()

    async def close(self) -> None:
        """End it, whatever it does."""
        if self._child is not None:
            self._child.send(signal.SIGKILL)
            await self._child.ended()
        await self._client.aclose()

    async def _end(self, end: End, when: str = "") -> None:
        if self._child is not None and self._signal(self._child, end, when):
            await self._wait_for(self._child)

    def _signal(self, child: Child, end: End, when: str) -> bool:
        """Send the signal of *end*; False if the process has ended already."""
        number = signal.SIGKILL if end.by_kill else signal.SIGTERM
        if not child.send(number):
            return False
        self._journal.note(f"{self.name} {child.pid}: {number.name} {when}")
        self.counts["kills (-9)" if end.by_kill else "kills (TERM)"] += 1
        if when:
            self.counts[f"kills {when}"] += 1
        return True

    async def _wait_for(self, child: Child) -> None:
        """Return when *child*, which has a signal, has ended: plainly and within its grace."""
        began_s = time.monotonic()
        try:
            status = await child.ended(GRACE_S + self.exit_margin_s)
        except TimeoutError:
            self._fail(f"{self.name} {child.pid} did not exit within its grace")
            child.send(signal.SIGKILL)
            status = await child.ended()
        if status not in EXITS and not self._may_give_up:
            self._fail(f"{self.name} {child.pid}: exit status {status} after a signal")
        seconds = time.monotonic() - began_s
        self._journal.note(f"{self.name} {child.pid}: ended with {status} after {seconds:.2f} s")

    async def _until_it_serves(self) -> None:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            child = await self._spawn()
            while child.is_alive and time.monotonic() < deadline_s:
                if await self._serves():
                    self._journal.note(f"{self.name} {child.pid}: serves")
                    return
                await asyncio.sleep(0.03)
            if not (child.ended_by_us or await self._has_given_up(child)):
                break
        self._fail(f"the {self.name} did not start")
        raise DidNotStart(f"The {self.name} did not start: see {self._log}")

    async def _spawn(self) -> Child:
        self._has_started = False
        child = await Child.start(self._arguments, self._environment, self._log, self._notice)
        self._child = child
        self.counts["starts"] += 1
        self._journal.note(f"{self.name} {child.pid}: started")
        return child

    async def _serves(self) -> bool:
        if not self.url:
            return self._has_started
        with contextlib.suppress(httpx.HTTPError):
            return (await self._client.get("/health")).is_success
        return False

    @property
    def _may_give_up(self) -> bool:
        """Whether it may have ended by itself, for what it needs was away."""
        return False

    async def _has_given_up(self, child: Child) -> bool:
        """Return whether that is why *child* has ended."""
        await child.ended()
        return self._may_give_up

    def _notice(self, line: str) -> None:
        self._has_started |= "worker started" in line
        if "Traceback (most recent call last)" in line or "unforeseen error" in line:
            self._fail(f"the {self.name}'s log: {line}")

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        self._journal.note(f"WRONG {what}")
