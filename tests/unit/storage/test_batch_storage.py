"""What keeping batches means, the same for files and for a database."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.batch import Batch, BatchStatus
from models.row import Row, Rows
from services.storage.contract import BatchStorage, StorageError
from services.storage.database import Database
from services.storage.json_files import JsonFiles
from services.storage.postgres import PostgresBatches
from tests.unit.storage.samples import (
    DIRECTORY,
    Open,
    a_batch,
    in_parts,
    stored,
    with_created,
)
from tests.unit.strategies import batches, batches_in_parts


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
