"""What only a database can: several processes on the same batches."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import uuid4

import psycopg
import pytest

from models.batch import ENDED, Batch, BatchStatus
from models.outlook import Outlook
from models.row import Row
from scripts.postgres import wait_until
from services.storage.contract import AlreadyUploaded, LostBatch, StorageError
from services.storage.database import Database
from services.storage.postgres import LEASE_S, Claim, NotStored, PostgresBatches
from tests.unit.storage.samples import (
    DIRECTORY,
    Open,
    a_batch,
    in_parts,
    pass_time,
    stored,
    with_created,
)

UNFINISHED = [
    BatchStatus.INITIALIZING,
    BatchStatus.PROCESSING,
    BatchStatus.ACTIVATING,
    BatchStatus.ABANDONING,
]
# Statements that wait for what another one has locked.
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


class TestClaims:
    def test_of_many_processes_one_gets_a_batch(
        self, open_storage: Open, url: str, database: Database
    ):
        processes = [open_storage() for _ in range(4)]
        batch = a_batch(status=BatchStatus.RESUMABLE)
        processes[0].bring(batch)

        with ThreadPoolExecutor(4) as threads, psycopg.connect(url) as door:
            door.execute("SELECT FROM hospital_bulk.batches FOR UPDATE")
            claiming = [threads.submit(one.claim, batch.id) for one in processes]
            wait_until(lambda: database.read(WAITING) == [(4,)])
            door.commit()  # all at once
            claims = [one.result() for one in claiming]

        assert [Claim(is_clean=True, cancelled=False)] == [one for one in claims if one]
        assert [one.holds(batch.id) for one in processes] == [one is not None for one in claims]

    def test_what_was_let_go_may_be_claimed_at_once(self, open_storage: Open):
        first, second, batch = open_storage(), open_storage(), a_batch()
        first.bring(batch)
        first.claim(batch.id)
        assert second.claim(batch.id) is None

        first.release(batch.id, is_clean=True)

        assert second.claim(batch.id) == Claim(is_clean=True, cancelled=False)

    def test_the_next_one_hears_that_something_was_under_way(self, open_storage: Open):
        first, second, batch = open_storage(), open_storage(), a_batch()
        first.bring(batch)
        first.claim(batch.id)

        first.release(batch.id, is_clean=False)

        assert second.claim(batch.id) == Claim(is_clean=False, cancelled=False)

    def test_who_adds_a_batch_holds_it_until_it_is_let_go(self, open_storage: Open):
        first, second, batch = open_storage(), open_storage(), a_batch()

        first.add(batch)

        assert first.holds(batch.id)
        assert second.claim(batch.id) is None
        first.release(batch.id, is_clean=True)
        assert second.claim(batch.id) == Claim(is_clean=True, cancelled=False)

    @pytest.mark.parametrize("status", [s for s in BatchStatus if s is not BatchStatus.VALIDATING])
    def test_what_is_brought_from_another_storage_may_be_claimed_by_any(
        self, open_storage: Open, status: BatchStatus
    ):
        first, second, batch = open_storage(), open_storage(), a_batch(status=status)

        first.bring(batch)
        first.bring(replace(batch, failure_reason="once is enough"))

        assert batch == stored(second, batch)
        is_clean = status in ENDED  # else nobody knows what was under way
        assert second.claim(batch.id) == Claim(is_clean=is_clean, cancelled=False)

    def test_what_is_being_let_go_of_is_not_given_up_by_a_sign_of_life(
        self, open_storage: Open, database: Database, monkeypatch: pytest.MonkeyPatch
    ):
        """That would say that something may be under way."""
        storage, batch = open_storage(), a_batch()
        storage.add(batch)
        exchange = database.one

        def late(query: str, **values: object) -> object:
            storage.be_seen()
            return exchange(query, **values)

        with monkeypatch.context() as patched:
            patched.setattr(database, "one", late)
            assert storage.release(batch.id, is_clean=True) is not None

        claim = open_storage().claim(batch.id)
        assert claim is not None
        assert claim.is_clean

    def test_what_is_not_there_cannot_be_claimed(self, open_storage: Open):
        assert open_storage().claim(uuid4()) is None

    def test_a_process_is_lost_when_it_was_not_seen_for_as_long_as_the_lease(
        self, open_storage: Open, database: Database
    ):
        first, second, batch = open_storage(), open_storage(), a_batch()
        first.bring(batch)
        first.claim(batch.id)

        pass_time(database, LEASE_S - 0.01)
        assert second.claim(batch.id) is None

        first.be_seen()
        pass_time(database, LEASE_S - 0.01)
        assert second.claim(batch.id) is None

        pass_time(database, 0.01)
        assert second.claim(batch.id) == Claim(is_clean=False, cancelled=False)

    def test_what_a_process_that_left_held_may_be_claimed_at_once(self, open_storage: Open):
        first, second, batch = open_storage(), open_storage(), a_batch()
        first.bring(batch)
        first.claim(batch.id)

        first.leave()

        assert second.claim(batch.id) == Claim(is_clean=False, cancelled=False)

    def test_its_own_batch_a_process_may_claim_again(self, open_storage: Open):
        first, batch = open_storage(), a_batch()
        first.bring(batch)
        first.claim(batch.id)

        assert first.claim(batch.id) == Claim(is_clean=False, cancelled=False)
        first.save(with_created(batch, 1))

        assert with_created(batch, 1) == stored(first, batch)

    def test_processes_that_are_long_gone_are_forgotten(
        self, open_storage: Open, database: Database
    ):
        open_storage()
        pass_time(database, 25 * 3600)

        open_storage()

        assert database.read("SELECT count(*) FROM hospital_bulk.processes") == [(1,)]


class TestFences:
    @pytest.fixture
    def batch(self) -> Batch:
        return a_batch()

    @pytest.fixture
    def lost(self, open_storage: Open, database: Database, batch: Batch) -> PostgresBatches:
        """A process that held the batch, and does not know yet that another one does."""
        first, second = open_storage(), open_storage()
        first.bring(batch)
        first.claim(batch.id)
        pass_time(database, LEASE_S)
        second.be_seen()
        assert second.claim(batch.id)
        first.be_seen()
        return first

    @pytest.mark.parametrize(
        "work",
        [
            lambda storage, batch: storage.save(with_created(batch, 1)),
            lambda storage, batch: storage.save(with_created(batch, 1), {1}),
            lambda storage, batch: storage.delete(batch.id),
        ],
        ids=["save", "save some rows", "delete"],
    )
    def test_who_lost_a_batch_is_told_and_changes_nothing(
        self,
        lost: PostgresBatches,
        batch: Batch,
        work: Callable[[PostgresBatches, Batch], object],
    ):
        version = lost.versions()[batch.id]
        assert lost.check() == {}

        for _ in range(2):
            with pytest.raises(LostBatch):
                work(lost, batch)

        assert not lost.holds(batch.id)
        assert batch == stored(lost, batch)
        assert version == lost.versions()[batch.id]

    def test_who_lost_a_batch_does_not_let_it_go(
        self, lost: PostgresBatches, batch: Batch, open_storage: Open
    ):
        lost.release(batch.id, is_clean=True)

        assert open_storage().claim(batch.id) is None

    def test_an_earlier_hold_of_the_same_process_counts_no_more(
        self, lost: PostgresBatches, batch: Batch, database: Database
    ):
        """Another process had it in between."""
        pass_time(database, LEASE_S)
        stale = PostgresBatches(database, DIRECTORY)
        stale._me, stale._holds = lost._me, dict(lost._holds)
        assert lost.claim(batch.id)

        with pytest.raises(LostBatch):
            stale.save(with_created(batch, 1))
        assert lost.check() == {batch.id: False}

    def test_what_is_not_held_is_not_written(self, open_storage: Open, batch: Batch):
        storage = open_storage()
        storage.bring(batch)

        for work in (storage.save, lambda _: storage.delete(batch.id)):
            with pytest.raises(LostBatch):
                work(batch)

        assert batch == stored(storage, batch)


class TestCancelling:
    def test_who_holds_it_hears_at_its_next_save_and_check(self, open_storage: Open):
        holder, other, batch = open_storage(), open_storage(), a_batch()
        holder.bring(batch)
        holder.claim(batch.id)
        assert holder.check() == {batch.id: False}

        assert other.cancel(batch.id)

        assert holder.check() == {batch.id: True}
        assert holder.save(with_created(batch, 1), {1}) is True
        assert stored(other, batch).cancelled

    def test_saves_of_who_has_not_heard_yet_do_not_lose_it(self, open_storage: Open):
        holder, other, batch = open_storage(), open_storage(), a_batch()
        holder.bring(batch)
        holder.claim(batch.id)
        holder.save(batch)

        other.cancel(batch.id)
        holder.save(batch)  # it was on its way
        assert stored(other, batch).cancelled
        holder.save(replace(batch, cancelled=True))

        holder.release(batch.id, is_clean=True)
        assert other.claim(batch.id) == Claim(is_clean=True, cancelled=True)

    def test_a_resume_ends_it(self, open_storage: Open):
        holder, other = open_storage(), open_storage()
        batch = a_batch()
        holder.bring(batch)
        other.cancel(batch.id)
        holder.claim(batch.id)

        assert holder.save(batch) is False

        assert not stored(other, batch).cancelled
        assert holder.check() == {batch.id: False}

    @pytest.mark.parametrize("status", [s for s in BatchStatus if s is not BatchStatus.VALIDATING])
    def test_only_what_is_to_be_sent_can_be_cancelled(
        self, open_storage: Open, status: BatchStatus
    ):
        storage, batch = open_storage(), a_batch(status=status)
        storage.bring(batch)
        may_be = status in (BatchStatus.INITIALIZING, BatchStatus.PROCESSING)

        assert storage.cancel(batch.id) is may_be

        assert stored(storage, batch).cancelled is may_be

    def test_what_is_not_there_cannot_be_cancelled(self, open_storage: Open):
        assert open_storage().cancel(uuid4()) is False


class TestNamesOfUploads:
    def test_a_second_batch_of_the_same_name_is_refused(self, open_storage: Open):
        first, second = open_storage(), open_storage()
        for owner in (None, "ann"):
            first.bring(a_batch(owner=owner, idempotency_key="upload-1"))

            with pytest.raises(AlreadyUploaded):
                second.add(a_batch(owner=owner, idempotency_key="upload-1"))
        assert len(first.versions()) == 2

    def test_of_other_owners_or_without_a_name_it_is_not(self, open_storage: Open):
        storage = open_storage()
        for owner, key in [("ann", "one"), ("bob", "one"), ("ann", "two"), (None, "one")]:
            storage.bring(a_batch(owner=owner, idempotency_key=key))
        for _ in range(2):
            storage.bring(a_batch(owner="ann"))

        assert len(storage.versions()) == 6


class TestReading:
    def test_others_know_of_a_batch_when_its_client_may_be_told(
        self, open_storage: Open, database: Database
    ):
        adder, other, batch, untold = open_storage(), open_storage(), a_batch(), a_batch()
        adder.add(batch)
        adder.add(untold)
        assert batch.id in adder.versions()
        assert other.versions() == {}
        with pytest.raises(NotStored):
            other.read(batch.id)

        adder.accept(batch.id)
        adder.accept(batch.id)  # the answer to the first was lost
        assert set(other.versions()) == {batch.id}
        pass_time(database, LEASE_S + 1)  # the adder was killed before it told
        other.be_seen()
        assert other.claim(untold.id) is None
        other.free_unseen()

        assert database.read("SELECT id FROM hospital_bulk.batches") == [(batch.id,)]
        with pytest.raises(StorageError):
            adder.accept(untold.id)

    def test_a_batch_that_is_being_accepted_stays_known_to_its_process(
        self, open_storage: Open, url: str
    ):
        adder, batch = open_storage(), a_batch()
        adder.add(batch)
        with psycopg.connect(url) as other, ThreadPoolExecutor() as pool:
            other.execute("SELECT FROM hospital_bulk.batches FOR UPDATE")
            accepting = pool.submit(adder.accept, batch.id)
            wait_until(lambda: other.execute(WAITING).fetchone() == (1,))

            assert batch.id in adder.versions()
            other.rollback()
            accepting.result()

        assert batch.id in adder.versions()

    def test_only_what_changed_since_is_read(self, open_storage: Open):
        holder, reader, batch = open_storage(), open_storage(), in_parts()
        holder.bring(batch)
        holder.claim(batch.id)
        known = reader.versions()[batch.id]
        assert reader.read(batch.id, since=known) is None

        holder.save(with_created(batch, 2, 5), {2, 5})
        second = reader.read(batch.id, since=known)
        holder.save(with_created(batch, 2, 5, 7), {7})

        assert second is not None
        assert [2, 5] == [row.hospital.row for row in second.rows]
        third = reader.read(batch.id, since=second.version)
        assert third is not None
        assert [with_created(batch, 7).row(7)] == third.rows
        assert third.version == reader.versions()[batch.id]
        assert [*with_created(batch, 2, 5, 7).rows] == reader_rows(reader, batch)

    def test_all_that_can_be_done_to_a_batch_is_seen(self, open_storage: Open):
        holder, reader, batch = open_storage(), open_storage(), a_batch()
        holder.bring(batch)
        steps: list[Callable[[], object]] = [
            lambda: holder.claim(batch.id),
            lambda: holder.save(batch, set()),
            lambda: reader.cancel(batch.id),
            lambda: holder.release(batch.id, is_clean=True),
        ]
        versions = [reader.versions()[batch.id]]
        for step in steps:
            step()
            versions.append(reader.versions()[batch.id])

        assert sorted(set(versions)) == versions

    def test_what_its_runner_tells_of_it_is_read_with_its_age(
        self, open_storage: Open, database: Database
    ):
        holder, reader, batch = open_storage(), open_storage(), a_batch()
        holder.bring(batch)
        found = reader.read(batch.id)
        assert found is not None
        assert not found.is_held

        holder.claim(batch.id)
        holder.save(replace(batch, told=Outlook("sending", 12.5)), set())
        pass_time(database, 3)

        found = reader.read(batch.id)
        assert found is not None
        assert (found.is_held, found.told) == (True, Outlook("sending", 12.5))
        assert found.age_s == pytest.approx(3)

    def test_what_is_not_there_is_told(self, open_storage: Open):
        storage, batch = open_storage(), a_batch()
        storage.bring(batch)
        storage.claim(batch.id)
        storage.delete(batch.id)

        with pytest.raises(NotStored):
            storage.read(batch.id)
        assert storage.versions() == {}

    def test_what_cannot_be_understood_is_told(self, open_storage: Open, database: Database):
        storage, batch = open_storage(), a_batch()
        storage.bring(batch)
        database.run("UPDATE hospital_bulk.batches SET head = '{}'")

        with pytest.raises(StorageError, match=str(batch.id)):
            storage.read(batch.id)


def reader_rows(reader: PostgresBatches, batch: Batch) -> list[Row]:
    return [*stored(reader, batch).rows]


class TestLeftOver:
    @pytest.mark.parametrize("status", [s for s in BatchStatus if s is not BatchStatus.VALIDATING])
    def test_what_is_unfinished_and_held_by_nobody_is_left_over(
        self, open_storage: Open, status: BatchStatus
    ):
        storage, batch = open_storage(), a_batch(status=status)
        storage.bring(batch)

        assert storage.left_over() == ([batch.id] if status in UNFINISHED else [])

    def test_a_held_batch_is_left_over_when_its_process_is_lost(
        self, open_storage: Open, database: Database
    ):
        holder, other, batch = open_storage(), open_storage(), a_batch()
        holder.bring(batch)
        holder.claim(batch.id)

        other.free_unseen()
        assert other.left_over() == []
        pass_time(database, LEASE_S)
        other.be_seen()
        other.free_unseen()
        assert other.left_over() == [batch.id]
        assert other.claim(batch.id) == Claim(is_clean=False, cancelled=False)

    def test_batches_of_another_directory_are_not(self, open_storage: Open):
        storage = open_storage()
        storage.bring(a_batch(directory_url="http://another.test"))

        assert storage.left_over() == []

    def test_what_was_claimed_without_hearing_of_it_is(
        self, open_storage: Open, database: Database
    ):
        storage, batch = open_storage(), a_batch()
        storage.bring(batch)
        storage.claim(batch.id)
        assert storage.left_over() == []

        storage._holds.clear()  # as when the connection broke before the answer came
        storage.be_seen()

        assert open_storage().left_over() == [batch.id]

    def test_what_a_job_speaks_of_is_not(self, open_storage: Open, database: Database):
        storage, batch = open_storage(), a_batch()
        storage.bring(batch)
        database.run(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock)"
            " VALUES ('any', 'take', %(id)s)",
            id=str(batch.id),
        )

        assert storage.left_over() == []

        database.run("UPDATE procrastinate_jobs SET status = 'doing'")
        assert storage.left_over() == [batch.id]
