"""The same random histories on PostgreSQL, with two processes of the service at work.

Clients ask either; either is killed, stopped, cut off from the database, or frozen for so long that
the other takes over. What is stored is the truth that is looked at: a process's own view may be
older. Nothing is ever sent by a process for a batch that another one holds.

HISTORIES sets how many are tried. Unless it is set they are the same in every run.
"""

import asyncio
from collections import Counter
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from models.batch import INTERRUPTED, Batch, BatchStatus
from services.storage.postgres import LEASE_S
from tests.integration.test_histories import (
    DIRECTORY,
    HISTORIES,
    SETTINGS,
    WANTED,
    Histories,
    any_batch,
    contents,
    moments,
    quiet,
    sizes,
    try_histories,
)
from tests.shared_harness import SharedHarness

AT_LEAST = 1  # history that must have had each of these, of the 25 in an ordinary run
ALSO_WANTED = ("taken over", "frozen and taken over", "cut off", "cancelled through another")
STUCK_S = 3600.0

__all__ = ["quiet"]


class SharedHistories(Histories):
    """One history: a directory, a database, and two processes of the service."""

    seen: ClassVar[Counter[str]] = Counter()
    harness: SharedHarness

    def __init__(self) -> None:
        self.told: set[UUID] = set()  # batches that a client was told of
        self.resumes = Counter[UUID]()
        super().__init__()

    def make_harness(self) -> SharedHarness:
        harness = SharedHarness(self.storage, DIRECTORY, processes=2, **SETTINGS)
        harness.heard, harness.missed = self.heard, self.missed
        return harness

    def heard(self, batch: Batch) -> None:
        """Hear of every change of what is stored."""
        self.contents[batch.id] = contents(batch)
        self.last_seen[batch.id] = batch.status

    def missed(self, batch: Batch) -> None:
        """Forget what was refused though it was stored: nobody was told that it was accepted."""
        if batch.status is BatchStatus.INITIALIZING:
            assert batch.id not in self.told
            assert not self.held(batch.id)
            del self.contents[batch.id], self.last_seen[batch.id]
            self.uploaded.pop(batch.id, None)
            self.part_rows.pop(batch.id, None)
            self.batch_of = {k: one for k, one in self.batch_of.items() if one != batch.id}

    @rule(which=any_batch)
    def another_process_is_asked(self, which: int) -> None:
        if not self.harness.processes[which % 2].is_frozen:
            self.harness.ask(which)

    @rule()
    def one_freezes(self) -> None:
        if not any(process.is_frozen for process in self.harness.processes):
            self.harness.asked.freeze()
            self.another_process_is_asked(0)
            self.another_process_is_asked(1)

    @rule()
    def it_goes_on(self) -> None:
        for process in self.harness.processes:
            process.thaw()

    @rule(rows=sizes, seconds=moments, later=moments)
    def upload_and_freeze(self, rows: int, seconds: float, later: float) -> None:
        self.do(self.upload_now(rows, twins=False))
        self.do(self.until_a_create_is_under_way())
        self.do(asyncio.sleep(seconds))
        self.one_freezes()
        taken_over = len(self.harness.observer.taken_over)
        self.do(asyncio.sleep(LEASE_S + later))
        if len(self.harness.observer.taken_over) > taken_over:
            self.had.add("frozen and taken over")
        self.it_goes_on()

    @rule(number=st.integers(1, 3), after=st.integers(0, 5), for_good=st.booleans())
    def answers_are_lost(self, number: int, after: int, for_good: bool) -> None:
        self.harness.asked.database.lose_answers(number, after, for_good=for_good)

    @invariant()
    def nothing_was_sent_for_a_lost_batch(self) -> None:
        assert self.harness.wrongs == []

    async def until_a_create_is_under_way(self) -> None:
        await super().until_a_create_is_under_way()
        self.harness.ask_who_creates()

    def do(self, work: Any) -> None:
        super().do(work)
        if self.harness.observer.taken_over:
            self.had.add("taken over")

    def set_disk_full(self, full: bool) -> None:
        """Have the database away for the process that is asked, or back for both."""
        for process in self.harness.processes:
            if not full or process is self.harness.asked:
                process.cut_off(full)
        if full:
            self.had.add("cut off")

    async def cancel_now(self, batch_id: UUID) -> None:
        resumes = self.resumes[batch_id]
        is_ours = batch_id in self.harness.service._claims
        await self.harness.service.refresh(batch_id)
        await self.harness.service.cancel(batch_id)
        self.had.add("cancel" if is_ours else "cancelled through another")
        if self.resumes[batch_id] == resumes:  # else it may have been cancelled before that
            self.cancelled.add(batch_id)

    async def resume_now(self, batch_id: UUID) -> None:
        self.resumes[batch_id] += 1
        await super().resume_now(batch_id)

    async def send_now(self, number: int) -> None:
        await super().send_now(number)
        self.told.add(self.batch_of[str(number)])

    def learn_of(self, batch: Batch) -> None:
        self.note(self.known(batch.id) or batch)

    def known_batches(self) -> list[Batch]:
        return sorted(self.harness.observer.batches.values(), key=lambda batch: batch.created_at)

    def known(self, batch_id: UUID) -> Batch | None:
        return self.harness.observer.batches.get(batch_id)

    async def end_well(self) -> None:
        self.it_goes_on()
        await super().end_well()
        self.nothing_was_sent_for_a_lost_batch()

    async def clients_are_answered(self) -> None:
        if self.clients:
            _, waiting = await asyncio.wait(self.clients, timeout=STUCK_S)
            assert not waiting, "a client is never answered"

    async def everything_at_rest(self) -> None:
        await self.clients_are_answered()
        until_s = self.loop.time() + STUCK_S
        await asyncio.sleep(1)
        while self.is_at_work():
            assert self.loop.time() < until_s, "a batch is stuck"
            await asyncio.sleep(1)

    def is_at_work(self) -> bool:
        return any(len(service._claims) for service in self.harness.services) or any(
            batch.status in INTERRUPTED for batch in self.known_batches()
        )


@pytest.mark.usefixtures("quiet")
def test_no_history_of_two_processes_breaks_the_promise():
    number = HISTORIES or 25

    try_histories(SharedHistories, number)

    wanted = (*WANTED, *ALSO_WANTED)
    seen = SharedHistories.seen
    rare = {kind: seen[kind] for kind in wanted if seen[kind] < AT_LEAST}
    assert not rare, f"of {number} histories too few had: {rare}"
