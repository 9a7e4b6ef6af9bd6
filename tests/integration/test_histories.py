"""Random histories of all that clients do, of crashes and of faults, checked against the promise.

A model-based test: Hypothesis makes up histories, shrinks those that break the promise, and prints
them. Everything runs in one process on a virtual clock, with the real settings (5 s creates, 15 s
settling, 30 creates a minute); directory batches are so small that most files go in several parts,
and the service may have another size for them each time it starts. After every step, and once the
directory is well again and every open batch was resumed: each completed batch is in the directory
exactly once and active, each part of it in its own directory batches, nothing of an abandoned batch
is left, no row that is not ours was touched, and no batch is stuck. A cancelled batch does not go
on, a corrected row stays corrected, and a skipped one is never sent. An upload that is sent again
becomes no second batch.

HISTORIES sets how many are tried. Unless it is set they are the same in every run.
"""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeAlias
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from directory.app import DirectorySettings
from directory.faults import FaultKind, FaultRule
from directory.store import Hospital
from models.batch import INTERRUPTED, Batch, BatchStatus
from models.caller import ANYBODY
from models.errors import BulkError
from services.batch_service import BatchService
from tests.harness import Harness
from tests.virtual_time import VirtualTimeLoop

MEMORY = "/dev/shm"
HISTORIES = int(os.environ.get("HISTORIES", 0))
AT_LEAST = 20  # histories that must have had each of WANTED, of the 200 in an ordinary run ...
RAREST, RAREST_AT_LEAST = "part activated in part", 10  # ... which has some 20 to 40
WANTED = (
    "kill between send and answer",
    "directory restart before activation",
    "overlap",
    "cancel",
    "correction",
    "skipped row loaded past",
    "retention",
    "upload sent again",
    "file of several parts",
    "kill or stop between two activations",
    "parts under another setting",
    RAREST,
    "abandon of several parts",
)
CLEANUP_HOURS, RETENTION_HOURS = 0.02, 0.03
UNSOUND = "X"  # the name of a row that no file may have
STOPPED = (BatchStatus.RESUMABLE, BatchStatus.FAILED, BatchStatus.ABANDONING)
ROUNDS = 8  # of resuming all that can be resumed, once everything is well again

moments = st.sampled_from([0.0, 0.01, 1.0, 4.99, 5.0, 5.01, 9.0, 14.99, 15.01, 20.0, 31.0, 61.0])
turns = st.integers(1, 60)
sizes = st.integers(1, 7)  # of files
limits = st.sampled_from([1, 2, 2, 3])  # of directory batches, by the service
MOST_IN_A_BATCH = 3  # by the directory
any_batch = st.integers(0, 20)

DIRECTORY = DirectorySettings(batch_limit=MOST_IN_A_BATCH)
SETTINGS: dict[str, Any] = {
    "directory_batch_limit": 2,
    "progress_cleanup_hours": CLEANUP_HOURS,
    "resumable_retention_hours": RETENTION_HOURS,
}

# What the directory may do at which endpoint. A late commit is within SETTLE_SECONDS: what comes
# later than that nobody can see coming, and README says so.
CREATE_FAULTS = [kind for kind in FaultKind if kind is not FaultKind.PARTIAL]
LIST_FAULTS = ["drop_before", "error_before", "garbled", "truncated", "hang", "slow", "refuse"]
CHANGE_FAULTS = [*LIST_FAULTS, "drop_after", "error_after", "late", "late_error", "lose", "gateway"]
# What tempts most to send a row twice, or to leave one behind.
TEMPTING = [
    ("create", "late", 14.0),
    ("create", "late_error", 14.0),
    ("create", "hang", 40.0),
    ("create", "drop_after", 5.0),
    ("create", "lose", 5.0),
    ("create", "full", 5.0),
    ("create", "gateway", 5.0),
    ("activate", "late", 14.0),
    ("activate", "lose", 5.0),
    ("activate", "partial", 5.0),
]
faults = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(CREATE_FAULTS)),
    st.tuples(st.just("list_batch"), st.sampled_from(LIST_FAULTS)),
    st.tuples(st.just("activate"), st.sampled_from([*CHANGE_FAULTS, "partial"])),
    st.tuples(st.sampled_from(["delete", "delete_batch", "get"]), st.sampled_from(CHANGE_FAULTS)),
)


Content: TypeAlias = tuple[str, str, str]
Contents: TypeAlias = Counter[Content]


class Histories(RuleBasedStateMachine):
    """One history: a directory, a service on it that comes and goes, and what clients were told."""

    seen: ClassVar[Counter[str]] = Counter()  # histories that had each of WANTED, over all of them

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="history-"))
        self.storage = self.folder / "batch_storage"
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.loop: VirtualTimeLoop = self.runner.get_loop()  # type: ignore[assignment]
        self.harness = self.make_harness()
        self.sent: list[Contents] = []  # of each upload, whatever became of it
        self.files: list[str] = []  # the same, to be sent again
        self.batch_of: dict[str, UUID] = {}  # of the name that each upload has
        self.uploaded: dict[UUID, Contents] = {}  # of each batch that the service ever knew
        self.contents: dict[UUID, Contents] = {}  # the same, as corrected since
        self.last_seen: dict[UUID, BatchStatus] = {}
        self.watched: set[UUID] = set()  # of this process
        self.cancelled: set[UUID] = set()  # and told so, and not resumed since
        self.corrected: dict[tuple[UUID, int], str] = {}  # names that a client was told
        self.asked_to_abandon: set[UUID] = set()
        self.abandoned: set[UUID] = set()
        self.completed: dict[UUID, int] = {}  # -> restarts of the directory before that
        self.part_rows: dict[UUID, int | None] = {}
        # What others changed of a batch in the directory: in which directory batches, and how often
        # these were looked at by then. What happens between the last look and `completed` goes
        # unseen, and README says so.
        self.changes: dict[UUID, list[tuple[list[UUID], int]]] = {}
        self.restarts = 0
        self.had: set[str] = set()
        self.clients: dict[asyncio.Task[Any], BatchService] = {}  # and whom each asked
        self.foreign: list[Hospital] = []
        self.do(self.begin())

    def make_harness(self) -> Harness:
        return Harness(self.storage, DIRECTORY, **SETTINGS)

    # What happens. Time passes only where a rule says so.

    @initialize(files=st.lists(sizes, min_size=1, max_size=3))
    def some_files_are_uploaded(self, files: list[int]) -> None:
        for rows in files:
            self.do(self.upload_now(rows, twins=False))

    @rule(rows=sizes, twins=st.booleans(), number=turns)
    def upload(self, rows: int, twins: bool, number: int) -> None:
        """What comes next may come before the upload is answered."""
        self.client(self.upload_now(rows, twins))
        self.do(self.loop.turns(number % 12))

    @rule(seconds=moments)
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    @rule(number=turns)
    def a_little_happens(self, number: int) -> None:
        self.do(self.loop.turns(number))

    @rule(seconds=moments, number=turns, down=moments, auto=st.booleans(), limit=limits)
    def kill(self, seconds: float, number: int, down: float, auto: bool, limit: int) -> None:
        self.do(asyncio.sleep(seconds))
        self.do(self.kill_now(number, down, auto_resume=auto, directory_batch_limit=limit))

    @rule(rows=sizes, number=st.integers(1, 12), down=moments, auto=st.booleans())
    def upload_and_kill(self, rows: int, number: int, down: float, auto: bool) -> None:
        self.do(self.upload_now(rows, twins=False))
        self.do(self.until_a_create_is_under_way())
        self.do(self.kill_now(number, down, auto_resume=auto))

    @rule(
        rows=st.integers(4, 7),
        skip=st.integers(0, 2),
        number=turns,
        down=moments,
        kind=st.sampled_from(["slow", "late", "partial", "partial"]),
        kill=st.booleans(),
        limit=limits,
    )
    def upload_and_interrupt_the_activation(
        self, rows: int, skip: int, number: int, down: float, kind: str, kill: bool, limit: int
    ) -> None:
        """Some parts are active by then, one may become so later."""
        self.first_of_all(
            FaultRule(endpoint="activate", kind=kind, skip=skip, times=1, seconds=4.0)
        )
        self.do(self.upload_now(rows, twins=False))
        self.do(self.until_one_is_activating())
        if kill:
            self.do(self.kill_now(number % 12, down, auto_resume=True, directory_batch_limit=limit))
        else:
            self.do(self.stop_now(limit))

    @rule(
        rows=sizes,
        tempting=st.sampled_from(TEMPTING),
        times=st.integers(1, 2),
        seconds=moments,
    )
    def upload_into_trouble(
        self, rows: int, tempting: tuple[str, str, float], times: int, seconds: float
    ) -> None:
        endpoint, kind, later_s = tempting
        trouble = FaultRule(endpoint=endpoint, kind=kind, times=times, seconds=later_s)
        self.first_of_all(trouble)
        self.do(self.upload_now(rows, twins=False))
        self.do(asyncio.sleep(seconds))

    @rule(limit=limits)
    def stop_and_start(self, limit: int) -> None:
        self.do(self.stop_now(limit))

    @rule(which=any_batch)
    def resume(self, which: int) -> None:
        self.call(self.resume_now, which)

    @rule(which=any_batch, number=turns)
    def cancel(self, which: int, number: int) -> None:
        """Most likely a batch that runs."""
        running = [b.id for b in self.known_batches() if b.status is BatchStatus.PROCESSING]
        batches = running or list(self.contents)
        if batches:
            self.client(self.cancel_now(batches[which % len(batches)]))
            self.do(self.loop.turns(number % 12))

    @rule(rows=sizes, seconds=moments, kill=st.booleans(), number=turns, abandon=st.booleans())
    def upload_and_cancel(
        self, rows: int, seconds: float, kill: bool, number: int, abandon: bool
    ) -> None:
        self.do(self.upload_now(rows, twins=False))
        self.do(self.until_a_create_is_under_way())
        self.cancel(0, number)
        if kill:
            self.do(self.kill_now(0, 0.0, auto_resume=True))
        self.do(asyncio.sleep(seconds))
        if abandon:
            self.abandon(0)

    @rule(which=any_batch, number=turns)
    def correct(self, which: int, number: int) -> None:
        rows = [
            (batch.id, row.hospital.row)
            for batch in self.known_batches()
            for row in batch.rows
            if row.is_excluded
        ]
        if rows:
            self.client(self.correct_now(*rows[which % len(rows)]))
            self.do(self.loop.turns(number % 12))

    @rule(rows=sizes, times=st.integers(1, 2), kill=st.booleans())
    def upload_what_is_refused_and_correct_it(self, rows: int, times: int, kill: bool) -> None:
        self.first_of_all(FaultRule(endpoint="create", kind="reject", times=times))
        self.do(self.upload_now(rows, twins=False))
        self.do(asyncio.sleep(20))
        self.correct(0, 12)
        if kill:
            self.do(self.kill_now(0, 0.0, auto_resume=True))

    @rule(rows=sizes, seconds=moments)
    def upload_with_an_unsound_row(self, rows: int, seconds: float) -> None:
        self.do(self.upload_now(rows, twins=False, unsound=True))
        self.do(asyncio.sleep(seconds))

    @rule(which=any_batch, times=st.integers(1, 3), number=turns)
    def send_again(self, which: int, times: int, number: int) -> None:
        """An upload whose batch runs, or that became none as far as its client knows."""
        under_way = [sent for sent in range(1, len(self.files) + 1) if self.is_under_way(sent)]
        if under_way:
            for _ in range(times):
                self.client(self.send_now(under_way[-1 - which % len(under_way)]))
            self.do(self.loop.turns(number % 12))

    def is_under_way(self, number_sent: int) -> bool:
        batch_id = self.batch_of.get(str(number_sent))
        batch = self.known(batch_id) if batch_id else None
        return batch_id is None or (batch is not None and batch.status in INTERRUPTED)

    @rule()
    def much_time_passes(self) -> None:
        self.do(asyncio.sleep(RETENTION_HOURS * 3600))
        self.cleanup()
        self.do(asyncio.sleep(1))

    @rule(which=any_batch)
    def abandon(self, which: int) -> None:
        self.call(self.abandon_now, which)

    @rule()
    def cleanup(self) -> None:
        self.client(self.harness.service.cleanup(ANYBODY))

    @rule(
        fault=faults,
        times=st.integers(1, 4),
        skip=st.integers(0, 3),
        seconds=st.sampled_from([0.5, 4.0, 14.0]),
    )
    def the_directory_will_fail(
        self, fault: tuple[str, str], times: int, skip: int, seconds: float
    ) -> None:
        endpoint, kind = fault
        made: dict[str, Any] = {"endpoint": endpoint, "kind": kind, "times": times, "skip": skip}
        if kind != "hang":
            made["seconds"] = seconds
        desk = self.harness.directory.desk
        desk.faults.replace([*desk.faults.rules, FaultRule(**made)])

    @rule()
    def the_directory_is_mended(self) -> None:
        self.harness.directory.desk.faults.replace([])

    @rule(seconds=moments, number=turns, down=moments)
    def the_directory_restarts(self, seconds: float, number: int, down: float) -> None:
        self.do(asyncio.sleep(seconds))
        self.do(self.loop.turns(number))
        self.completed_batches_are_in_the_directory_exactly_once()
        self.do(self.restart_directory(down))

    @rule(rows=sizes, number=turns, down=moments)
    def upload_and_the_directory_restarts(self, rows: int, number: int, down: float) -> None:
        self.do(self.upload_now(rows, twins=False))
        self.do(self.until_a_create_is_under_way())
        self.the_directory_restarts(4.99, number % 12 + 1, down)

    @rule(wake=st.sampled_from([3.0, 27.0, 60.0]), status=st.sampled_from([None, 502, 503]))
    def the_directory_falls_asleep(self, wake: float, status: int | None) -> None:
        self.harness.directory.desk.gate.fall_asleep(wake, status, self.loop.time())

    @rule(which=any_batch)
    def the_directory_loses_a_row(self, which: int) -> None:
        open_batches = [one for one in self.contents if one not in self.completed]
        rows = [(one, row) for one in open_batches for row in self.held(one)]
        if rows:
            batch_id, row = rows[which % len(rows)]
            changed = [UUID(row["creation_batch_id"])]
            self.changes.setdefault(batch_id, []).append((changed, self.looks(changed)))
            self.harness.directory.desk.store.remove(row["id"])

    @rule(up=st.booleans())
    def the_wire_is_plugged(self, up: bool) -> None:
        self.harness.wire.up = up

    @rule(full=st.booleans())
    def the_disk_is_full(self, full: bool) -> None:
        self.set_disk_full(full)

    @rule(step=st.sampled_from([-86400.0, -30.0, 30.0, 86400.0]))
    def the_clock_is_set(self, step: float) -> None:
        self.harness.clock_offset += timedelta(seconds=step)

    # What must hold at every moment.

    @invariant()
    def completed_batches_are_in_the_directory_exactly_once(self) -> None:
        self.learn_of_batches()
        for batch_id in self.contents.keys() - self.abandoned - self.completed.keys():
            batch = self.known(batch_id)
            if batch is None and self.may_be_abandoned(batch_id) and not self.held(batch_id):
                self.abandoned.add(batch_id)  # unasked, or its client was not told
                if batch_id not in self.asked_to_abandon:
                    self.had.add("retention")
            elif batch is None or batch.status is BatchStatus.COMPLETED:
                changes = self.changes.get(batch_id, [])
                unseen = any(self.looks(changed) == before for changed, before in changes)
                self.completed[batch_id] = -1 if unseen else self.restarts
        for batch_id, restarts in self.completed.items():
            if restarts == self.restarts:  # else the directory has forgotten it since
                self.assert_exactly_once(batch_id)

    @invariant()
    def abandoned_batches_left_no_row(self) -> None:
        for batch_id in self.abandoned:
            assert self.held(batch_id) == []

    @invariant()
    def cancelled_batches_do_not_go_on(self) -> None:
        for batch_id in self.cancelled:
            batch = self.known(batch_id)
            assert batch is None or batch.cancelled or batch.status in STOPPED
            assert batch is None or batch.status not in (
                BatchStatus.ACTIVATING,
                BatchStatus.COMPLETED,
            )

    @invariant()
    def corrected_rows_stay_corrected(self) -> None:
        for (batch_id, number), name in self.corrected.items():
            batch = self.known(batch_id)
            assert batch is None or batch.row(number).hospital.name == name

    @invariant()
    def skipped_rows_are_never_sent(self) -> None:
        names = {row["name"] for row in self.harness.directory.desk.store.all()}
        assert UNSOUND not in names

    @invariant()
    def no_foreign_row_was_touched(self) -> None:
        store = self.harness.directory.desk.store
        assert [store.get(row["id"]) for row in self.foreign] == self.foreign

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.do(self.end_well())
                self.seen.update(self.had)
        finally:
            self.do(self.leave())
            self.runner.close()
            shutil.rmtree(self.folder)

    # How it is done.

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        self.runner.run(work)
        if sum(map(self.is_worked_on, self.contents)) > 1:
            self.had.add("overlap")

    def is_worked_on(self, batch_id: UUID) -> bool:
        return any(batch_id in service._claims for service in self.harness.services)

    async def begin(self) -> None:
        await self.harness.start()
        self.put_foreign_rows()

    async def leave(self) -> None:
        self.set_disk_full(False)
        await self.harness.end()
        self.harness.directory.desk.restart(0)
        await self.harness.wire.settle()
        await self.harness.control.aclose()

    def client(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have a client call the service; it may be told anything but something unforeseen."""

        async def call() -> None:
            with suppress(BulkError):
                await work

        task = self.loop.create_task(call())
        self.clients[task] = self.harness.service
        task.add_done_callback(self.answered)

    def answered(self, task: asyncio.Task[Any]) -> None:
        del self.clients[task]
        if not task.cancelled():
            task.result()

    def call(self, work: Any, which: int) -> None:
        """Have a client do something about a batch, most likely one that was set aside."""
        batches = [b.id for b in self.harness.service.resumable(ANYBODY)] or list(self.contents)
        if batches:
            self.client(work(batches[which % len(batches)]))

    def first_of_all(self, trouble: FaultRule) -> None:
        faults = self.harness.directory.desk.faults
        faults.replace([trouble, *faults.rules])

    async def upload_now(self, rows: int, twins: bool, unsound: bool = False) -> None:
        number = len(self.sent) + 1
        names = [f"Hospital {number}-{1 if twins else row}" for row in range(1, rows + 1)]
        self.sent.append(Counter((name, "1 Main Street", "5550100") for name in names))
        lines = [f"{name},1 Main Street,5550100" for name in names]
        if unsound:
            lines.insert(number % len(lines), f"{UNSOUND},1 Main Street,5550100")
        self.files.append("name,address,phone\n" + "\n".join(lines) + "\n")
        with suppress(BulkError):
            await self.send_now(number)

    async def send_now(self, number: int) -> None:
        """Upload a file under its own name, for the first time or again."""
        before = str(number) in self.batch_of
        content = self.files[number - 1]
        self.learn_of(
            await self.harness.upload(content, skip_invalid=True, idempotency_key=str(number))
        )
        if before:
            self.had.add("upload sent again")

    async def resume_now(self, batch_id: UUID) -> None:
        self.cancelled.discard(batch_id)
        await self.harness.service.refresh(batch_id)
        await self.harness.service.resume(batch_id)

    async def cancel_now(self, batch_id: UUID) -> None:
        await self.harness.service.refresh(batch_id)
        await self.harness.service.cancel(batch_id)
        self.cancelled.add(batch_id)
        self.had.add("cancel")

    async def correct_now(self, batch_id: UUID, number: int) -> None:
        name = f"Hospital {batch_id}-{number} corrected"
        await self.harness.service.refresh(batch_id)
        await self.harness.service.correct(batch_id, number, {"name": name})
        self.corrected[batch_id, number] = name
        self.had.add("correction")

    async def abandon_now(self, batch_id: UUID) -> None:
        self.asked_to_abandon.add(batch_id)
        await self.harness.service.refresh(batch_id)
        await self.harness.service.abandon(batch_id)
        self.abandoned.add(batch_id)
        if self.part_rows[batch_id] is not None:
            self.had.add("abandon of several parts")

    async def until_a_create_is_under_way(self) -> None:
        for _ in range(100):
            if self.harness.creates_under_way:
                return
            await self.loop.turns(1)

    async def until_one_is_activating(self) -> None:
        for _ in range(100):
            if any(self.is_half_active(batch) for batch in self.known_batches()):
                return
            await asyncio.sleep(0.3)

    def is_half_active(self, batch: Batch) -> bool:
        """Whether some parts of a batch are active and others are not, while it runs."""
        active = {row["active"] for row in self.held(batch.id)} if batch.parts > 1 else ()
        return batch.status in INTERRUPTED and len(active) > 1

    def note_activations_under_way(self) -> None:
        self.learn_of_batches()
        if any(self.is_half_active(batch) for batch in self.known_batches()):
            self.had.add("kill or stop between two activations")

    async def kill_now(self, after: int, down: float, **changes: Any) -> None:
        await self.loop.turns(after)
        if self.harness.line.creates_under_way:
            self.had.add("kill between send and answer")
        self.note_activations_under_way()
        for client, service in self.clients.items():
            if service is self.harness.service:
                client.cancel()  # what serves it dies with the service
        await self.harness.kill()
        self.set_disk_full(False)
        await asyncio.sleep(down)
        await self.start(**changes)

    async def start(self, **changes: Any) -> None:
        await self.harness.start(**changes)
        self.watched.clear()
        self.learn_of_batches()
        limit = self.harness.settings.directory_batch_limit
        for batch in self.known_batches():
            if batch.part_rows not in (None, limit) and batch.status in INTERRUPTED:
                self.had.add("parts under another setting")

    async def stop_now(self, limit: int) -> None:
        self.set_disk_full(False)
        self.note_activations_under_way()
        await self.harness.stop()
        await self.start(directory_batch_limit=limit)

    async def restart_directory(self, down: float) -> None:
        open_batches = [b for i in self.contents if (b := self.known(i)) and not b.is_activated]
        if any(batch.created_count for batch in open_batches):
            self.had.add("directory restart before activation")
        self.restarts += 1
        for batch in self.known_batches():
            # Of a batch that has lost all its rows the look at any part tells.
            parts = [n for n in range(batch.parts) if any(not r.skipped for r in batch.rows_of(n))]
            changed = [batch.directory_batch_ids(part)[0] for part in parts]
            self.changes[batch.id] = [(changed, self.looks(changed))]
        self.harness.directory.desk.restart(down)
        self.put_foreign_rows()

    def put_foreign_rows(self) -> None:
        """Rows that are none of ours; some look like one of ours."""
        store = self.harness.directory.desk.store
        self.foreign = []
        for batch_id, active in ((None, True), (str(UUID(int=1)), False), (str(UUID(int=1)), True)):
            fields = {"name": "Hospital 1-1", "address": "1 Main Street", "phone": "5550100"}
            row = store.draft(fields, batch_id, "2026-01-01T00:00:00")
            row["active"] = active
            store.add(row)
            self.foreign.append(row.copy())

    def set_disk_full(self, full: bool) -> None:
        """Have every write fail, as far as this works without special rights."""
        away = self.storage.with_name("away")
        if full and self.storage.exists():
            self.storage.rename(away)
        elif not full and away.exists():
            away.rename(self.storage)

    def learn_of_batches(self) -> None:
        """Note every batch that the service knows, also those whose client was never told."""
        for batch in self.known_batches():
            self.learn_of(batch)

    def learn_of(self, batch: Batch) -> None:
        """Note a batch as it is now, and from now on at every change of it in this process."""
        self.note(batch)
        watched = self.harness.service

        def look() -> None:
            if self.harness.service is watched:
                self.contents[batch.id] = contents(batch)
                self.last_seen[batch.id] = batch.status

        look()
        if batch.id not in self.watched:
            self.watched.add(batch.id)
            watched.watch(batch.id, lambda _: look())

    def note(self, batch: Batch) -> None:
        self.uploaded.setdefault(batch.id, contents(batch))
        assert batch.idempotency_key is not None
        assert self.batch_of.setdefault(batch.idempotency_key, batch.id) == batch.id
        assert self.part_rows.setdefault(batch.id, batch.part_rows) == batch.part_rows
        if batch.status is BatchStatus.COMPLETED and any(row.skipped for row in batch.rows):
            self.had.add("skipped row loaded past")
        if batch.parts > 1:
            self.had.add("file of several parts")
            if batch.further:
                self.had.add(RAREST)

    def known_batches(self) -> list[Batch]:
        return self.harness.service._tracker.seen_by(ANYBODY)

    def may_be_abandoned(self, batch_id: UUID) -> bool:
        """Retention abandons what was stopped, asked or not."""
        return batch_id in self.asked_to_abandon or self.last_seen[batch_id] in STOPPED

    def known(self, batch_id: UUID) -> Batch | None:
        with suppress(BulkError):
            return self.harness.service.get(batch_id)
        return None

    def held(self, batch_id: UUID) -> list[Hospital]:
        return self.held_of(self.contents[batch_id])

    def held_of(self, ours: Contents) -> list[Hospital]:
        """Return what the directory holds of an upload, in whatever directory batch."""
        rows = self.harness.directory.desk.store.all()
        return [row for row in rows if content(row) in ours and row not in self.foreign]

    def looks(self, directory_batch_ids: list[UUID]) -> int:
        """Return how often any of some directory batches was listed."""
        requests = self.harness.wire.requests
        return sum(requests.count(f"GET /hospitals/batch/{one}") for one in directory_batch_ids)

    def assert_exactly_once(self, batch_id: UUID) -> None:
        self.assert_held_exactly_once(self.contents[batch_id])
        batch = self.known(batch_id)
        if batch is None:
            return
        for part in range(batch.parts):
            ids = set(map(str, batch.directory_batch_ids(part)))
            held = [row for row in self.held(batch_id) if row["creation_batch_id"] in ids]
            rows = [row for row in batch.rows_of(part) if not row.skipped]
            assert Counter(map(content, held)) == Counter(row.hospital.content for row in rows)

    def assert_held_exactly_once(self, ours: Contents) -> None:
        held = self.held_of(ours)
        assert Counter(map(content, held)) == ours
        assert all(row["active"] for row in held)

    async def end_well(self) -> None:
        """Mend everything, resume what can be resumed, and look at what came of it."""
        self.set_disk_full(False)
        self.harness.wire.up = True
        self.harness.directory.desk.faults.replace([])
        await self.clients_are_answered()
        for _ in range(ROUNDS):
            self.learn_of_batches()
            await self.everything_at_rest()
            await self.harness.service.refresh_all()
            for batch in self.harness.service.resumable(ANYBODY):
                await self.resume_now(batch.id)
            await self.harness.service.cleanup(ANYBODY)
        await self.everything_at_rest()
        await asyncio.sleep(100)
        for batch_id in self.contents:
            await self.assert_ended(batch_id)
        for unseen in [sent for sent in self.sent if sent not in self.uploaded.values()]:
            # Refused, or completed and cleaned up between two looks at the service.
            if self.held_of(unseen):
                self.assert_held_exactly_once(unseen)
        self.completed_batches_are_in_the_directory_exactly_once()
        self.abandoned_batches_left_no_row()
        self.skipped_rows_are_never_sent()
        self.no_foreign_row_was_touched()

    async def clients_are_answered(self) -> None:
        if self.clients:
            await asyncio.wait(self.clients)

    async def everything_at_rest(self) -> None:
        await self.clients_are_answered()
        await asyncio.sleep(1)
        while len(self.harness.service._claims):
            await self.harness.service._claims.wait_for_all()
            await asyncio.sleep(1)  # one old batch after the other is abandoned

    async def assert_ended(self, batch_id: UUID) -> None:
        batch = self.known(batch_id)
        if batch is not None and batch.status is BatchStatus.FAILED:
            assert all(row.is_done or row.is_excluded for row in batch.rows)
            await self.end_refused(batch)
        elif batch is not None:
            assert batch.status is BatchStatus.COMPLETED, batch.failure_reason

    async def end_refused(self, batch: Batch) -> None:
        """Take every other batch back if none of it is active; else correct what was refused."""
        is_active = any(hospital["active"] for hospital in self.held(batch.id))
        if list(self.contents).index(batch.id) % 2 and not is_active:
            return await self.abandon_now(batch.id)
        for row in [row for row in batch.rows if row.refused]:
            await self.correct_now(batch.id, row.hospital.row)
        await self.resume_now(batch.id)
        await self.everything_at_rest()
        self.learn_of_batches()
        assert self.last_seen[batch.id] is BatchStatus.COMPLETED, batch.failure_reason


def contents(batch: Batch) -> Contents:
    """Return what the directory is to hold of a batch."""
    return Counter(row.hospital.content for row in batch.rows if not row.skipped)


def content(row: Hospital) -> Content:
    return (row["name"] or "", row["address"] or "", row["phone"] or "")


@pytest.fixture
def quiet() -> Iterator[None]:
    """Histories by the hundred would log by the ten thousand lines."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service would wait for the disk fifty thousand times, and no history has a power cut."""
    if os.access(MEMORY, os.W_OK):
        monkeypatch.setattr(tempfile, "tempdir", MEMORY)


def try_histories(machine: type[Histories], number: int) -> None:
    machine.seen.clear()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=number,
            stateful_step_count=36,
            deadline=None,
            derandomize=not HISTORIES,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.usefixtures("quiet", "in_memory")
def test_no_history_breaks_the_promise():
    number = HISTORIES or 200

    try_histories(Histories, number)

    seen = {kind: Histories.seen[kind] for kind in WANTED}
    least = {kind: RAREST_AT_LEAST if kind == RAREST else AT_LEAST for kind in WANTED}
    rare = {kind: times for kind, times in seen.items() if times < least[kind]}
    assert not rare, f"of {number} histories too few had: {rare}"
