"""The service as a process: started, killed, stopped, its disk filled, its checkpoints damaged."""

import asyncio
import contextlib
import resource
import signal
import time
from collections import Counter
from pathlib import Path

import httpx

from chaos.checkpoints import Checkpoints
from chaos.child import Child
from chaos.journal import Journal
from chaos.ledger import Ledger
from chaos.scale import EXIT_MARGIN_S, GRACE_S, SERVICE
from chaos.schedule import Bounce, End, FullDisk
from scripts.processes import ROOT, DidNotStart

START_S = 60.0  # most that a start may take, on a machine that has much else to do
EXITS = (0, -signal.SIGTERM, -signal.SIGKILL)


class Service:
    """One service that comes and goes on one port and one folder.

    Attributes:
        counts: What was done to it.
        failures: What it did that it never may: tracebacks, slow exits.
    """

    def __init__(
        self, folder: Path, port: int, directory_url: str, ledger: Ledger, journal: Journal
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.checkpoints = Checkpoints(folder / "batch_storage")
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._arguments = ["uvicorn", "main:app", "--app-dir", str(ROOT), "--port", str(port)]
        self._environment = {
            "HOSPITAL_API_BASE_URL": directory_url,
            "BATCH_STORAGE_DIR": str(self.checkpoints.folder),
        } | {name.upper(): str(value) for name, value in SERVICE.items()}
        self._log = folder / "service.log"
        self._ledger = ledger
        self._journal = journal
        self._child: Child | None = None
        self._lock = asyncio.Lock()
        self._file_limit: int | None = None
        self._client = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=5.0)

    # --- Its life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it, again if it is killed meanwhile, and return when it serves."""
        async with self._lock:
            await self._until_it_serves()

    async def bounce(self, bounce: Bounce) -> None:
        """End it and start it again; not while it is being started already."""
        if self._lock.locked():
            self._journal.note("service: still being started, left alone")
            return
        async with self._lock:
            await self._end(bounce.end)
            for damage, luck in bounce.damages:
                kept = self.checkpoints.kept(self._ledger.batch_ids)
                self._ledger.see_kept(kept, time.time())
                self._note_damage(damage.value, self.checkpoints.damage(damage, luck))
            await asyncio.sleep(bounce.down_s)
            self._environment["DIRECTORY_BATCH_LIMIT"] = str(bounce.part_rows)
            for end in bounce.starts_cut_short:
                await self._spawn()
                await asyncio.sleep(end.after_s)
                await self._end(end, "during start-up")
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

    async def restart_plainly(self) -> None:
        """Stop it as an operator would, mend what can be mended, and start it."""
        async with self._lock:
            await self._end(End(by_kill=False))
            for batch_id in self.checkpoints.mend():
                self._journal.note(f"batch {batch_id}: its checkpoint is mended")
                self.counts["damaged checkpoints mended"] += 1
                entry = self._ledger.of_batch(batch_id)
                if entry is not None:
                    entry.damaged = False
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
        self._journal.note(f"service {child.pid}: {number.name} {when}")
        self.counts["kills (-9)" if end.by_kill else "kills (TERM)"] += 1
        if when:
            self.counts[f"kills {when}"] += 1
        return True

    async def _wait_for(self, child: Child) -> None:
        """Return when *child*, which has a signal, has ended: plainly and within its grace."""
        began_s = time.monotonic()
        try:
            status = await child.ended(GRACE_S + EXIT_MARGIN_S)
        except TimeoutError:
            self._fail(f"service {child.pid} did not exit within its grace")
            child.send(signal.SIGKILL)
            status = await child.ended()
        if status not in EXITS:
            self._fail(f"service {child.pid}: exit status {status} after a signal")
        seconds = time.monotonic() - began_s
        self._journal.note(f"service {child.pid}: ended with {status} after {seconds:.2f} s")

    async def _until_it_serves(self) -> None:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            child = await self._spawn()
            while child.is_alive and time.monotonic() < deadline_s:
                with contextlib.suppress(httpx.HTTPError):
                    if (await self._client.get("/health")).is_success:
                        self._journal.note(f"service {child.pid}: serves")
                        return
                await asyncio.sleep(0.03)
            if not child.ended_by_us:
                break
        self._fail("the service did not start")
        raise DidNotStart(f"The service did not start: see {self._log}")

    async def _spawn(self) -> Child:
        child = await Child.start(self._arguments, self._environment, self._log, self._notice)
        self._child = child
        self._limit_files()
        self.counts["starts of the service"] += 1
        self._journal.note(f"service {child.pid}: started")
        return child

    def _notice(self, line: str) -> None:
        if "Traceback (most recent call last)" in line or "unforeseen error" in line:
            self._fail(f"the service's log: {line}")

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        self._journal.note(f"WRONG {what}")

    # --- Its disk ---------------------------------------------------------------------------------

    async def fill_disk(self, full: FullDisk) -> None:
        """Let none of its files grow beyond a limit for a while.

        The limit of a process's files (RLIMIT_FSIZE) can be set from outside by the same user and
        needs no rights. Python ignores SIGXFSZ, so a write beyond it fails with EFBIG when part of
        it is done, as it would with ENOSPC on a full disk.
        """
        if self._file_limit is not None:
            return
        self.counts["disk-full phases"] += 1
        self._journal.note(f"disk: full at {full.limit} bytes a file")
        self._file_limit = full.limit
        self._limit_files()
        try:
            await asyncio.sleep(full.seconds)
        finally:
            self._file_limit = None
            self._limit_files()
            self._journal.note("disk: has room again")

    def _limit_files(self) -> None:
        if self._child is None or not self._child.is_alive:
            return
        limit = resource.RLIM_INFINITY if self._file_limit is None else self._file_limit
        with contextlib.suppress(ProcessLookupError):
            _, most = resource.prlimit(self._child.pid, resource.RLIMIT_FSIZE)
            soft = most if limit == resource.RLIM_INFINITY else limit
            resource.prlimit(self._child.pid, resource.RLIMIT_FSIZE, (soft, most))

    def _note_damage(self, how: str, batch_id: str | None) -> None:
        if batch_id is None:
            return
        self.counts["damaged checkpoints"] += 1
        entry = self._ledger.of_batch(batch_id)
        if entry is not None:
            entry.damaged = True
            self._journal.note(f"batch {batch_id} ({entry.status}): checkpoint {how}")
