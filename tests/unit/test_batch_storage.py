"""What keeping batches means, the same for files and for a database; and what only a database can.

The database's clock is set by the tests.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.batch import ENDED, Batch, BatchStatus
from models.hospital import HospitalRow
from models.outlook import Outlook
from models.row import Row, Rows, RowStatus
from scripts.postgres import wait_until
from services.pacing import Pace
from services.storage import schema
from services.storage.contract import AlreadyUploaded, BatchStorage, LostBatch, StorageError
from services.storage.database import Database
from services.storage.json_files import JsonFiles
from services.storage.postgres import LEASE_S, Claim, NotStored, PostgresBatches
from services.storage.schema import SchemaMismatch, check_schema, migrate
from services.storage.turns import Turns
from tests.shared_harness import EMPTY, server
from tests.unit.strategies import batches, batches_in_parts
from tests.virtual_time import run_virtual

DIRECTORY = "http://directory.test"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
UNFINISHED = [
    BatchStatus.INITIALIZING,
    BatchStatus.PROCESSING,
    BatchStatus.ACTIVATING,
    BatchStatus.ABANDONING,
]
SETTABLE_CLOCK = """
CREATE TABLE test_clock AS SELECT clock_timestamp() AS now;
CREATE OR REPLACE FUNCTION hospital_bulk.clock() RETURNS timestamptz LANGUAGE sql
    AS 'SELECT now FROM public.test_clock';
"""
# Statements that wait for what another one has locked.
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

Open = Callable[[], PostgresBatches]


def a_batch(rows: int = 3, **fields: object) -> Batch:
    lines = [
        Row(HospitalRow(n, f"Hospital {n}", f"{n} Main Street", None)) for n in range(1, rows + 1)
    ]
    batch = Batch(uuid4(), DIRECTORY, Rows(lines), NOON, NOON, BatchStatus.PROCESSING)
    return replace(batch, **fields)  # type: ignore[arg-type]


def in_parts(rows: int = 9, **fields: object) -> Batch:
    return a_batch(rows, part_rows=2, opened_parts=1, **fields)


def with_created(batch: Batch, *numbers: int) -> Batch:
    """Return the batch as it is when some of its rows were created."""
    changed = batch.snapshot(0.0)
    for number in numbers:
        changed.rows.put(batch.row(number).moved(RowStatus.CREATED, hospital_id=100 + number))
    return changed


@pytest.fixture(scope="module")
def url() -> str:
    url = server().create_database(f"storage_{uuid4().hex}")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SETTABLE_CLOCK)
    return url


@pytest.fixture(scope="module")
def pool(url: str) -> Iterator[Database]:
    database = Database(url)
    database.open()
    yield database
    database.close()


@pytest.fixture
def database(pool: Database) -> Database:
    """An empty database."""
    pool.run(EMPTY)
    pool.run("DELETE FROM procrastinate_jobs")
    return pool


@pytest.fixture
def open_storage(database: Database) -> Open:
    """Have another process use the database."""

    def opened() -> PostgresBatches:
        storage = PostgresBatches(database, DIRECTORY)
        storage.be_seen()
        return storage

    return opened


def pass_time(database: Database, seconds: float) -> None:
    database.run("UPDATE test_clock SET now = now + make_interval(secs => %(s)s)", s=seconds)


def stored(storage: PostgresBatches, batch: Batch) -> Batch:
    """Return a batch as it is stored."""
    found = storage.read(batch.id)
    assert found is not None
    return replace(found.head, rows=Rows(found.rows))


@dataclass
class Kept:
    """One way to keep batches, as one process has it.

    Attributes:
        hold: Become the one that may write a batch.
        accept: Let others know of a batch that was added.
        load: Returns what another process would find.
        break_it: Have nothing be written any more.
    """

    storage: BatchStorage
    hold: Callable[[UUID], object]
    accept: Callable[[UUID], object]
    load: Callable[[], list[Batch]]
    break_it: Callable[[], None]

    def add(self, batch: Batch) -> None:
        self.storage.add(batch)
        self.hold(batch.id)


def on_files(folder: Path) -> Kept:
    files = JsonFiles(folder)
    files.open()

    def load() -> list[Batch]:
        # A second one, as a successor would have; it changes nothing.
        return JsonFiles(folder).load()

    return Kept(files, lambda _: None, lambda _: None, load, files.close)


def on_postgres(database: Database, url: str) -> Kept:
    own = Database(url)
    own.open()
    storage, other = PostgresBatches(own, DIRECTORY), PostgresBatches(database, DIRECTORY)
    storage.be_seen()

    def load() -> list[Batch]:
        found = [(batch_id, other.read(batch_id)) for batch_id in other.versions()]
        return [replace(one.head, rows=Rows(one.rows)) for _, one in found if one]

    accept = partial(storage.release, is_clean=True)
    return Kept(storage, storage.claim, accept, load, own.close)


@pytest.fixture(params=["files", "postgres"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    if request.param == "files":
        kept = on_files(tmp_path / "batches")
    else:
        database = request.getfixturevalue("database")
        kept = on_postgres(database, request.getfixturevalue("url"))
    yield kept
    kept.break_it()


@pytest.fixture(params=[a_batch, in_parts])
def batch(request: pytest.FixtureRequest) -> Batch:
    made: Batch = request.param()
    return made


class TestBothWays:
    def test_what_was_added_is_found_the_same(self, kept: Kept, batch: Batch):
        kept.storage.add(batch)
        kept.accept(batch.id)

        assert [batch] == kept.load()

    def test_the_last_save_counts(self, kept: Kept, batch: Batch):
        later = replace(with_created(batch, 1, 3), status=BatchStatus.RESUMABLE, resume_count=2)
        kept.add(batch)

        kept.storage.save(with_created(batch, 1))
        kept.storage.save(later)

        assert [later] == kept.load()

    def test_only_rows_that_changed_may_be_named(self, kept: Kept, batch: Batch):
        first, second = with_created(batch, 2), with_created(batch, 2, 3)
        kept.add(batch)

        kept.storage.save(first, {2})
        kept.storage.save(replace(second, failure_reason="why"), {3})

        assert [replace(second, failure_reason="why")] == kept.load()

    def test_a_batch_may_change_though_no_row_does(self, kept: Kept, batch: Batch):
        kept.add(batch)

        kept.storage.save(replace(batch, further={0: 1}, resume_count=2), set())

        assert [replace(batch, further={0: 1}, resume_count=2)] == kept.load()

    def test_nobody_asked_to_cancel_it(self, kept: Kept, batch: Batch):
        kept.add(batch)

        assert kept.storage.save(batch) is False

    def test_that_it_is_cancelled_is_kept_until_it_is_resumed(self, kept: Kept, batch: Batch):
        kept.add(batch)

        kept.storage.save(replace(batch, cancelled=True), set())
        assert [replace(batch, cancelled=True)] == kept.load()

        kept.storage.save(batch, set())
        assert [batch] == kept.load()

    def test_a_deleted_batch_is_gone_and_others_stay(self, kept: Kept, batch: Batch):
        other = in_parts()
        kept.add(batch)
        kept.add(other)

        kept.storage.delete(batch.id)

        assert [other] == kept.load()

    def test_what_cannot_be_written_is_told_and_leaves_the_rest_as_it_was(
        self, kept: Kept, batch: Batch
    ):
        kept.add(batch)
        kept.storage.check_writable()

        kept.break_it()

        with pytest.raises(StorageError):
            kept.storage.add(a_batch())
        with pytest.raises(StorageError):
            kept.storage.save(with_created(batch, 1))
        with pytest.raises(StorageError):
            kept.storage.delete(batch.id)
        with pytest.raises(StorageError):
            kept.storage.check_writable()
        assert [batch] == kept.load()


def pending(batch: Batch) -> Rows:
    return Rows(Row(row.hospital) for row in batch.rows)


class TestDocuments:
    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(batch=batches | batches_in_parts, owner=st.none() | st.text(min_size=1, max_size=5))
    def test_any_batch_is_found_the_same(
        self, database: Database, open_storage: Open, batch: Batch, owner: str | None
    ):
        # What PostgreSQL has no text for cannot come in either: keys' names have no NUL.
        name = owner.replace("\0", "") if owner else None
        added = replace(batch, id=uuid4(), directory_url=DIRECTORY, owner=name, rows=pending(batch))
        whole = replace(added, rows=batch.rows)
        storage = open_storage()
        storage.add(added)
        storage.claim(added.id)

        storage.save(whole)

        assert whole == stored(storage, added)


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


class TestTurns:
    PACE = Pace(limit=5, period_s=60.0)

    def turns(self, database: Database, lane: str = "create", directory: str = DIRECTORY) -> Turns:
        return Turns(database, directory, lane, self.PACE)

    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([0, 1, 7_000, 29_500, 59_999, 60_000, 60_001]),
                st.sampled_from([0, 0, 0, 500, 30_000, 3_600_000]),
                st.integers(1, 7),
            ),
            max_size=12,
        )
    )
    def test_no_window_has_more_than_allowed_also_when_the_clock_is_set_back(
        self, database: Database, steps: list[tuple[int, int, int]]
    ):
        database.run(EMPTY)
        turns, now_ms, sent_ms, set_back = self.turns(database), 0, list[int](), False

        for passed_ms, back_ms, wanted in steps:
            now_ms += passed_ms
            set_back = set_back or back_ms > 0
            pass_time(database, (passed_ms - back_ms) / 1000)
            taken, ages_s = run_virtual(turns.take(wanted))

            free = 5 - sum(sent > now_ms - 60_000 for sent in sent_ms)
            sent_ms += [now_ms] * taken
            assert 0 <= taken <= min(wanted, free)
            assert ages_s == sorted(ages_s, reverse=True)
            if not set_back:
                assert taken == min(wanted, free)
                within = [(now_ms - sent) / 1000 for sent in sent_ms if sent > now_ms - 60_000]
                assert ages_s == pytest.approx(within)

    def test_a_clock_that_is_set_back_costs_one_period(self, database: Database):
        turns = self.turns(database)
        run_virtual(turns.take(5))
        pass_time(database, -86400)

        assert run_virtual(turns.take(1))[0] == 0
        pass_time(database, 60)
        assert run_virtual(turns.take(7))[0] == 5

    def test_processes_that_take_at_once_share(self, database: Database):
        ready = threading.Barrier(6)

        def take(_: int) -> int:
            ready.wait()
            return run_virtual(self.turns(database).take(2))[0]

        with ThreadPoolExecutor(6) as threads:
            assert sum(threads.map(take, range(6))) == 5

    def test_each_endpoint_of_each_directory_has_its_own(self, database: Database):
        ways = [("create", DIRECTORY), ("look", DIRECTORY), ("create", "http://another.test")]
        for lane, directory in ways:
            assert run_virtual(self.turns(database, lane, directory).take(9))[0] == 5

    def test_what_is_given_back_is_taken_again(self, database: Database):
        async def give_back_and_take() -> int:
            turns.give_back(2)
            return (await turns.take(5))[0]

        turns = self.turns(database)
        run_virtual(turns.take(2))
        pass_time(database, 30)
        run_virtual(turns.take(3))

        assert run_virtual(give_back_and_take()) == 2
        pass_time(database, 59.9)  # the oldest were given back, so that none counts too short
        assert run_virtual(turns.take(1))[0] == 0


class TestSchema:
    @pytest.fixture
    def fresh(self) -> Iterator[str]:
        yield server().create_database("fresh")
        server().drop_database("fresh")

    def test_a_database_is_migrated_once(self, fresh: str):
        with pytest.raises(SchemaMismatch, match=r"lacks (\d+) of \1 .*database migrate"):
            check_schema(fresh)

        assert "0001_batches" in migrate(fresh)
        assert migrate(fresh) == []

        check_schema(fresh)

    def test_many_may_migrate_at_once(self, fresh: str):
        with ThreadPoolExecutor(3) as threads:
            applied = list(threads.map(migrate, [fresh] * 3))

        assert sorted(map(bool, applied)) == [False, False, True]
        check_schema(fresh)

    def test_a_migration_is_applied_whole_or_not_at_all(
        self, fresh: str, monkeypatch: pytest.MonkeyPatch
    ):
        migrate(fresh)
        wanted = schema._wanted()
        broken = wanted | {"0002_next": "CREATE TABLE half (); SELECT 1/0;"}
        monkeypatch.setattr(schema, "_wanted", lambda: broken)
        with pytest.raises(SchemaMismatch, match="could not be migrated"):
            migrate(fresh)
        with pytest.raises(SchemaMismatch, match="lacks 1 of"):
            check_schema(fresh)

        monkeypatch.setattr(
            schema, "_wanted", lambda: wanted | {"0002_next": "CREATE TABLE half ()"}
        )

        assert migrate(fresh) == ["0002_next"]
        check_schema(fresh)

    def test_a_database_of_a_newer_version_is_refused(self, fresh: str):
        migrate(fresh)
        with psycopg.connect(fresh, autocommit=True) as connection:
            connection.execute("INSERT INTO hospital_bulk_migrations VALUES ('0999_later')")

        with pytest.raises(SchemaMismatch, match=r"newer version of this service \(0999_later\)"):
            check_schema(fresh)

    def test_one_that_cannot_be_reached_is_told_without_the_password(self):
        url = "postgresql://postgres:s3cret@127.0.0.1:1/any"
        for work in (check_schema, migrate):
            with pytest.raises(SchemaMismatch) as told:
                work(url)
            assert "s3cret" not in str(told.value)
