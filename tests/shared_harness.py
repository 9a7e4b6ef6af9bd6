"""The whole service on PostgreSQL, several processes of it at once, on a virtual clock.

The processes are in one, and so are their connections: one for all, since nothing is done in
threads. The database's clock follows the loop's. What needs sockets that wait is replaced:
notifications are heard as they come in, and a batch that is offered is taken at once, by the
processes in turn.
"""

import asyncio
import atexit
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
from psycopg import Connection, Notify
from psycopg.rows import TupleRow

from config import Settings
from directory.app import DirectorySettings
from models.batch import Batch
from models.errors import BulkError
from models.row import Rows
from scripts.postgres import PostgresServer
from services.batch_service import BatchService
from services.database_peers import DatabasePeers
from services.hospital_api import HospitalApi
from services.meters import Meters
from services.progress_tracker import ProgressTracker
from services.storage.contract import StorageError
from services.storage.database import OPTIONS, Database
from services.storage.postgres import CHANNEL, NotStored, PostgresBatches
from services.storage.schema import migrate
from services.storage.turns import shared_budgets
from tests.harness import BASE_URL, EPOCH, Harness, Line
from tests.virtual_time import Held
from wiring.service import Sharing, build_service

# The processes agree on the time by the database's clock, and by nothing else.
VIRTUAL_CLOCK = """
CREATE OR REPLACE FUNCTION hospital_bulk.clock() RETURNS timestamptz LANGUAGE sql
AS $$ SELECT current_setting('hospital_bulk.now')::timestamptz $$
"""
EMPTY = """
TRUNCATE hospital_bulk.batches, hospital_bulk.rows, hospital_bulk.turns, hospital_bulk.processes
"""


@functools.cache
def server() -> PostgresServer:
    """Return a server for all tests of this process of pytest."""
    started = PostgresServer(durable=False)
    started.start()
    atexit.register(started.close)
    return started


@functools.cache
def virtual_connections() -> tuple[Connection[TupleRow], Connection[TupleRow]]:
    """Return two connections to a migrated database with a clock that is set by whoever asks."""
    url = server().create_database("virtual")
    migrate(url)
    ours, theirs = (psycopg.connect(url, **OPTIONS) for _ in range(2))
    ours.execute(VIRTUAL_CLOCK)
    ours.execute("SET synchronous_commit = off")  # that is a matter of its own
    return ours, theirs


_clocks: dict[Connection[TupleRow], str] = {}


def _set_clock(connection: Connection[TupleRow]) -> None:
    now = EPOCH + timedelta(seconds=asyncio.get_running_loop().time())
    if _clocks.get(connection) != str(now):
        _clocks[connection] = str(now)
        connection.execute("SELECT set_config('hospital_bulk.now', %s, false)", (str(now),))


class VirtualDatabase(Database):
    """One process's way to the database; it can be away, and its process frozen or dead."""

    def __init__(self, connection: Connection[TupleRow]) -> None:
        self._connection = connection
        self.is_away = False
        self.is_dead = False
        self.answers_to_lose = 0
        self._answers_before = 0
        self._breaks = False
        self.thawed: asyncio.Future[None] | None = None

    def lose_answers(self, number: int = 1, after: int = 0, *, for_good: bool = False) -> None:
        """Have the process not hear what comes of some statements, after some others.

        Args:
            number: How many.
            after: How many others.
            for_good: After them the database is away for it.
        """
        self.answers_to_lose, self._answers_before = number, after
        self._breaks = for_good

    @contextmanager
    def _lent(self, deadline_s: float) -> Iterator[Connection[TupleRow]]:
        if self.is_dead:
            raise asyncio.CancelledError  # so ends whatever of its process is still about
        if self.thawed is not None:
            raise Held(self.thawed)
        if self.is_away:
            raise StorageError("the database cannot be reached")
        _set_clock(self._connection)
        try:
            yield self._connection
        except psycopg.Error as error:
            raise StorageError(f"the database failed: {type(error).__name__}") from error
        if self._answers_before:
            self._answers_before -= 1
        elif self.answers_to_lose:
            self.answers_to_lose -= 1
            self.is_away = self._breaks and not self.answers_to_lose
            raise StorageError("the database's answer was lost")


class Observer:
    """What is stored of every batch, at every moment, and who holds it."""

    def __init__(
        self,
        database: VirtualDatabase,
        changed: Callable[[Batch], None],
        removed: Callable[[Batch], None],
    ) -> None:
        self._database = database
        self._storage = PostgresBatches(database, BASE_URL)
        self._changed = changed
        self._removed = removed
        self.batches: dict[UUID, Batch] = {}
        self.taken_over: set[UUID] = set()  # or handed over
        self._last_holders: dict[UUID, UUID] = {}
        self._holders: dict[UUID, tuple[str, float]] = {}  # and since when

    def look(self, batch_id: UUID) -> None:
        try:
            stored = self._storage.read(batch_id)
        except NotStored:
            if batch_id in self.batches:
                self._removed(self.batches.pop(batch_id))
            return
        assert stored is not None
        stored.head.rows = Rows(stored.rows)
        self.batches[batch_id] = stored.head
        (holder,) = self._database.one(_HOLDER, id=batch_id) or (None,)
        before = self._holders.get(batch_id, ("None",))[0]
        if batch_id not in self._holders or before != str(holder):
            self._holders[batch_id] = str(holder), asyncio.get_running_loop().time()
            if holder is not None:
                if self._last_holders.get(batch_id, holder) != holder:
                    self.taken_over.add(batch_id)
                self._last_holders[batch_id] = holder
        self._changed(stored.head)

    def may_change(self, process: str, directory_batch_id: UUID) -> bool:
        """Return whether a process held a directory batch's batch until now at least."""
        for batch in self.batches.values():
            if directory_batch_id in batch.opened_directory_batch_ids:
                holder, since_s = self._holders[batch.id]
                return holder == process or since_s == asyncio.get_running_loop().time()
        return False


class ProcessLine(Line):
    """A process's way to the wire, where it is noted what it had no right to send."""

    def __init__(self, way: httpx.AsyncBaseTransport, process: "Process") -> None:
        super().__init__(way)
        self._process = process
        self.sent: list[tuple[str, float]] = []  # what was to change something, and when

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_cut:
            raise asyncio.CancelledError
        # What changes something was allowed a moment before its process froze: it has left.
        while request.method == "GET" and self._process.database.thawed is not None:
            await asyncio.shield(self._process.database.thawed)
        if request.method != "GET":
            self.sent.append((request.method, asyncio.get_running_loop().time()))
        self._process.note(request)
        return await super().handle_async_request(request)


class Process:
    """One process of the service, wired as `wiring.on_database` does."""

    def __init__(self, harness: "SharedHarness", settings: Settings) -> None:
        self._harness = harness
        self.settings = settings
        self.database = VirtualDatabase(virtual_connections()[0])
        self.storage = PostgresBatches(self.database, settings.hospital_api_base_url)
        self.line = ProcessLine(harness.wire, self)
        self.meters = Meters()
        self.is_deaf = False  # nothing that others tell arrives
        self._missed: list[tuple[UUID, str]] = []
        tracker = ProgressTracker(self.storage, harness.wall_clock, self.meters)
        self._peers = DatabasePeers(self.storage, tracker, self._offer, self.meters)
        budgets = shared_budgets(self.database, settings.hospital_api_base_url)
        self.service = build_service(
            settings,
            self._api(),
            tracker,
            lambda: None,
            self.meters,
            Sharing(budgets, self._peers),
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()

    def _api(self) -> HospitalApi:
        return HospitalApi(
            self.settings.hospital_api_base_url,
            timeout_s=self.settings.http_timeout_seconds,
            connect_timeout_s=self.settings.http_connect_timeout_seconds,
            transport=self.line,
        )

    @property
    def has_room(self) -> bool:
        """Whether it takes batches that are offered."""
        away = self.database.is_dead or self.database.is_away
        return not (self.is_frozen or away or self.service.is_stopping)

    @property
    def is_frozen(self) -> bool:
        return self.database.thawed is not None

    async def start(self) -> None:
        await asyncio.to_thread(self.storage.be_seen)
        await self._peers.refresh_all()
        await self.service.start([])
        for work in (
            self._peers.be_seen(),
            self._peers.keep_up(takes_over=True),
            self._peers.follow(),
        ):
            self._tasks.add(asyncio.create_task(work))

    async def stop(self) -> None:
        """End as SIGTERM would."""
        self.thaw()
        await self.service.close()
        await self._end()
        with suppress(StorageError):
            await asyncio.to_thread(self.storage.leave)
        self.database.is_dead = True

    async def kill(self) -> None:
        """End as kill -9 would: nothing reaches the database or the wire any more."""
        self.database.is_dead = self.line.is_cut = True
        self.thaw()
        self.service._claims.cancel_all()
        await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        """Stop as SIGSTOP would."""
        if self.database.thawed is None:
            self.database.thawed = self._loop.create_future()

    def thaw(self) -> None:
        """Go on as if nothing had happened."""
        if self.database.thawed is not None:
            thawed, self.database.thawed = self.database.thawed, None
            thawed.set_result(None)
            missed, self._missed = self._missed, []
            for news in missed:
                self.hear(*news)

    def cut_off(self, is_away: bool) -> None:
        """Have the database away for this process, or back."""
        if self.database.is_away and not is_away:
            self._peers.hear_all()
        self.database.is_away = is_away
        self.database.lose_answers(0)

    def hear(self, batch_id: UUID, sender: str) -> None:
        if self.database.thawed is not None:
            self._missed.append((batch_id, sender))
        elif not (self.is_deaf or self.database.is_away or self.database.is_dead):
            self._peers.hear(batch_id, sender)

    def take(self, batch_id: UUID) -> None:
        """Do what a job of the engine does."""
        task = asyncio.create_task(self.service.take(batch_id))
        self._tasks.add(task)
        task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, BulkError):  # such a batch is left over
            self._harness.wrongs.append(f"a job failed: {error!r}")

    async def _offer(self, batch_id: UUID) -> None:
        if self.database.is_dead:
            raise asyncio.CancelledError
        self._harness.offer(batch_id)

    def note(self, request: httpx.Request) -> None:
        """Note a change of the directory that is not this process's to make any more."""
        if request.method == "GET" or request.url.path.startswith("/_directory"):
            return
        directory_batch_id = self._harness.directory_batch_of(request)
        if directory_batch_id is None:
            return
        if not self._harness.observer.may_change(self.storage.me, directory_batch_id):
            self._harness.wrongs.append(f"{request.method} {request.url.path} of a lost batch")


class SharedHarness(Harness):
    """One directory, one database, and some processes of the service, one of which is asked.

    Args:
        folder: Not used by the service.
        processes: How many.
    """

    def __init__(
        self,
        folder: Path,
        directory: DirectorySettings | None = None,
        *,
        processes: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__(folder, directory, **settings)
        self._connection, other = virtual_connections()
        self._connection.execute(EMPTY)
        self.heard: Callable[[Batch], None] = lambda _: None
        self.missed: Callable[[Batch], None] = lambda _: None
        self.observer = Observer(
            VirtualDatabase(other), lambda one: self.heard(one), lambda one: self.missed(one)
        )
        self.processes: list[Process] = []
        self._gone: list[Process] = []  # whose last tasks find out when they wake up
        self.wrongs: list[str] = []
        self._count = processes
        self._offered = 0
        self._asked = 0

    @property
    def services(self) -> list[BatchService]:
        return [process.service for process in self.processes]

    @property
    def creates_under_way(self) -> int:
        return sum(process.line.creates_under_way for process in self.processes)

    def stored(self) -> int:
        """Return how many batches the database has, also those that nobody may know yet."""
        row = self._connection.execute("SELECT count(*) FROM hospital_bulk.batches").fetchone()
        assert row is not None
        return int(row[0])

    def damage(self, batch_id: UUID) -> None:
        """Have what is stored of a batch be of another version, which nobody here can read."""
        self._connection.execute(
            "UPDATE hospital_bulk.batches SET head = '{\"version\": 2}', version = version + 1 "
            "WHERE id = %s",
            (batch_id,),
        )

    def ask(self, which: int) -> None:
        """Have clients ask another process from now on."""
        self._asked = which % len(self.processes)
        process = self.processes[self._asked]
        self.settings = process.settings
        self.service, self.line, self.meters = process.service, process.line, process.meters

    def ask_who_creates(self) -> None:
        """Have clients ask a process from now on that has creates under way, if there is one."""
        for number, process in enumerate(self.processes):
            if process.line.creates_under_way:
                self.ask(number)
                break

    @property
    def asked(self) -> Process:
        return self.processes[self._asked]

    async def start(self, **changes: Any) -> None:
        """Start the process that is asked, in place of the one that has ended; at first all."""
        if not self.processes:
            self._connection.add_notify_handler(self._hear)
            self._connection.execute(f"LISTEN {CHANNEL}")
            self.settings = self.settings.model_copy(update=changes)
            self.processes = [Process(self, self.settings) for _ in range(self._count)]
            for process in self.processes:
                await process.start()
        else:
            self._gone.append(self.asked)
            settings = self.asked.settings.model_copy(update=changes)
            self.processes[self._asked] = Process(self, settings)
            await self.asked.start()
        self.ask(self._asked)

    async def stop(self) -> None:
        await self.asked.stop()

    async def kill(self) -> None:
        await self.asked.kill()

    async def end(self) -> None:
        """Kill all processes, and hear no more."""
        for process in self.processes:
            await process.kill()
        self._connection.remove_notify_handler(self._hear)

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            if not process.database.is_dead:
                await process.stop()
        self._connection.remove_notify_handler(self._hear)
        await self.wire.settle()
        await self.control.aclose()

    def offer(self, batch_id: UUID) -> None:
        """Have some process take a batch; if there is none, it is found by who comes next."""
        self._offered += 1
        ready = [process for process in self.processes if process.has_room]
        if ready:
            ready[self._offered % len(ready)].take(batch_id)

    def forget(self, process: Process) -> None:
        """Have a process count as lost, though it lives."""
        forget = "DELETE FROM hospital_bulk.processes WHERE id = %s"
        self._connection.execute(forget, (process.storage.me,))

    def _hear(self, notice: Notify) -> None:
        batch_id, _, sender = notice.payload.partition(" ")
        self.observer.look(UUID(batch_id))
        for process in self.processes:
            process.hear(UUID(batch_id), sender)

    def directory_batch_of(self, request: httpx.Request) -> UUID | None:
        """Return which directory batch a request is to change."""
        if request.method == "POST":
            return UUID(json.loads(request.content)["creation_batch_id"])
        parts = request.url.path.strip("/").split("/")
        if parts[1] == "batch":
            return UUID(parts[2])
        hospital = self.directory.desk.store.get(int(parts[1]))
        return UUID(hospital["creation_batch_id"]) if hospital else None


_HOLDER = "SELECT holder FROM hospital_bulk.batches WHERE id = %(id)s"
