"""The list of batches, page by page."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows
from services.batch_list import Place, page
from tests.unit.strategies import law

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROW = Row(HospitalRow(1, "Clinic", "Sea Road 5", None))

STATUSES = st.sampled_from([s for s in BatchStatus if s is not BatchStatus.VALIDATING])


def batch(batch_id: UUID, number: int = 0, status: BatchStatus = BatchStatus.COMPLETED) -> Batch:
    """Return a batch that was accepted at one of few moments, so that some share theirs."""
    moment = NOON + timedelta(microseconds=number % 4)
    return Batch(batch_id, "http://directory.test", Rows([ROW]), moment, moment, status)


any_batch = st.builds(batch, st.uuids(), st.integers(0, 3), STATUSES)
some_batches = st.lists(any_batch, max_size=12, unique_by=lambda one: one.id)


def follow(
    batches: Collection[Batch], limit: int, statuses: Collection[BatchStatus] = ()
) -> list[Batch]:
    """Return what a client gets that follows the cursor to the end."""
    found: list[Batch] = []
    after = None
    while True:
        shown = page(batches, statuses=statuses, after=after, limit=limit)
        assert len(shown.batches) == limit or shown.next is None
        found += shown.batches
        assert len(found) <= len(batches)
        if shown.next is None:
            return found
        after = Place.from_cursor(shown.next.cursor)


@law
@given(some_batches, st.integers(1, 5), st.sets(STATUSES))
def test_the_pages_are_all_batches_of_the_wanted_statuses_newest_first(
    batches: list[Batch], limit: int, statuses: set[BatchStatus]
):
    found = follow(batches, limit, statuses)

    wanted = [b for b in batches if not statuses or b.status in statuses]
    assert sorted(b.id for b in found) == sorted(b.id for b in wanted)
    assert [b.created_at for b in found] == sorted((b.created_at for b in found), reverse=True)


@law
@given(some_batches, st.integers(0, 12), st.integers(0, 12), st.integers(1, 3))
def test_batches_that_come_and_go_neither_repeat_nor_hide_others(
    batches: list[Batch], one: int, two: int, limit: int
):
    """What goes between two pages may even be the batch that the page before ended with."""
    stay, going, coming = batches[:one], batches[one:][:two], batches[one:][two:]
    present, found = [*stay, *going], list[UUID]()
    after = None
    while True:
        shown = page(present, after=after, limit=limit)
        found += [b.id for b in shown.batches]
        assert len(found) == len(set(found))
        if shown.next is None:
            break
        after = shown.next
        present = [*present, *coming[:1]]
        coming = coming[1:]
        present = [b for b in present if b not in going[:1]]
        going = going[1:]

    assert {b.id for b in stay} <= set(found)


def test_the_last_page_has_no_next_one_also_when_it_is_full():
    batches = [batch(UUID(int=n)) for n in range(4)]

    assert page(batches, limit=4).next is None
    assert page(batches, limit=3).next is not None
    assert page([], limit=1) == ([], None)


@given(st.integers(-(2**63), 2**63 - 1), st.uuids())
def test_a_cursor_is_read_back_and_needs_no_quoting(created_us: int, batch_id: UUID):
    cursor = Place(created_us, batch_id).cursor

    assert Place.from_cursor(cursor) == (created_us, batch_id)
    assert cursor.replace("-", "a").replace("_", "a").isalnum()
    assert cursor.isascii()


@given(st.text(max_size=40))
def test_what_is_no_cursor_is_refused(text: str):
    with pytest.raises(ValueError, match="no cursor"):
        Place.from_cursor(text + "!")


@pytest.mark.parametrize(
    "text", ["", "A" * 31, "A" * 33, "A" * 32 + "\n", "A" * 31 + "=", "é" * 32]
)
def test_what_is_nearly_a_cursor_is_refused(text: str):
    with pytest.raises(ValueError, match="no cursor"):
        Place.from_cursor(text)
