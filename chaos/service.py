"""The service on files: ended and started, its disk filled, its checkpoints damaged."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from chaos.checkpoints import Checkpoints
from chaos.child import Child
from chaos.journal import Journal
from chaos.ledger import Ledger, Seen
from chaos.process import AFTER_ANSWER, Process
from chaos.scale import SERVICE
from chaos.schedule import Bounce, End, FullDisk, Step


class Service(Process):
    """One service that comes and goes on one port and one folder; see `system.System`."""

    def __init__(
        self, folder: Path, port: int, directory_url: str, ledger: Ledger, journal: Journal
    ) -> None:
        self.checkpoints = Checkpoints(folder / "batch_storage")
        environment = {
            "HOSPITAL_API_BASE_URL": directory_url,
            "BATCH_STORAGE_DIR": str(self.checkpoints.folder),
        } | {name.upper(): str(value) for name, value in SERVICE.items()}
        super().__init__("service", port, environment, folder / "service.log", journal)
        self._ledger = ledger
        self._file_limit: int | None = None
        self.visited_until_s = 0.0

    def transport(self) -> httpx.AsyncBaseTransport | None:
        return None

    @contextlib.asynccontextmanager
    async def readable(self) -> AsyncIterator[None]:
        yield

    def kept(self) -> list[Seen]:
        return self.checkpoints.kept(self._ledger.batch_ids)

    async def compare_views(self) -> None:
        """There is one process, and it has been asked."""

    async def befall(self, step: Step) -> None:
        match step:
            case Bounce():
                await self.bounce(step)
            case FullDisk():
                await self.fill_disk(step)
            case _:
                raise AssertionError(step)

    async def end_one(self, end: End, why: str, batch_id: str | None) -> None:
        await self.end_at_once(end, why)

    async def end_after_answer(self, end: End, batch_id: str | None) -> None:
        await self.end_one(end, AFTER_ANSWER, batch_id)

    async def bounce(self, bounce: Bounce) -> None:
        """End it and start it again; not while it is being started already."""
        if self._lock.locked():
            self._journal.note("service: still being started, left alone")
            return
        async with self._lock:
            await self._end(bounce.end)
            for damage, luck in bounce.damages:
                self._ledger.see_kept(self.kept(), time.time())
                self._note_damage(damage.value, self.checkpoints.damage(damage, luck))
            await asyncio.sleep(bounce.down_s)
            self._environment["DIRECTORY_BATCH_LIMIT"] = str(bounce.part_rows)
            for end in bounce.starts_cut_short:
                await self._spawn()
                await asyncio.sleep(end.after_s)
                await self._end(end, "during start-up")
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

    async def _spawn(self) -> Child:
        child = await super()._spawn()
        self._limit_files()
        return child

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
