"""Pages that are encoded once never tell what is no longer so, and do not pile up."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.api import RowSelection, RowState
from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from routers.progress_document import Pages
from tests.unit.strategies import law

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
ALL = RowSelection()


def a_row(number: int, status: RowStatus = RowStatus.PENDING, **changes: Any) -> Row:
    return Row(HospitalRow(number, f"Clinic {number}", "1 Main Street", None), status, **changes)


def a_batch(rows: int | Sequence[Row], number: int = 1) -> Batch:
    listed = [a_row(row + 1) for row in range(rows)] if isinstance(rows, int) else rows
    batch = Batch(UUID(int=number), "http://directory.test", Rows(listed), NOON, NOON)
    batch.status = BatchStatus.PROCESSING
    return batch


def told(pages: Pages, batch: Batch, selection: RowSelection = ALL) -> list[dict[str, Any]]:
    return list(json.loads(pages.json(batch, selection)))


def states(rows: Sequence[Row], *, is_correctable: bool = False) -> list[dict[str, Any]]:
    """Return what is to be told of *rows*, each by itself."""
    every = (RowState.of(row, is_correctable=is_correctable) for row in rows)
    return [state.model_dump(mode="json") for state in every]


REFUSED = a_row(2, RowStatus.FAILED, error="422: too short", refused=True)
CHANGES = {
    "status": a_row(2, RowStatus.PROCESSING),
    "id": a_row(2, RowStatus.CREATED, hospital_id=7),
    "another id": a_row(2, RowStatus.CREATED, hospital_id=8),
    "time": a_row(2, seconds=1.25),
    "error": a_row(2, RowStatus.FAILED, error="out of tries"),
    "refusal": REFUSED,
    "content": replace(REFUSED, hospital=HospitalRow(2, "Clinic Two", "2 Main Street", "5550100")),
    "skipped": a_row(2, skipped=True),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("status", [BatchStatus.PROCESSING, BatchStatus.RESUMABLE])
def test_a_row_that_changed_is_told_at_once(change: str, status: BatchStatus):
    pages, batch = Pages(), a_batch(3)
    batch.status = status
    told(pages, batch)

    batch.rows.put(CHANGES[change])

    is_correctable = status is BatchStatus.RESUMABLE
    assert told(pages, batch) == states(batch.rows, is_correctable=is_correctable)


def test_what_can_be_corrected_is_told_while_the_batch_is_at_rest_only():
    pages, batch = Pages(), a_batch([a_row(1), REFUSED])

    def correctable() -> bool:
        return told(pages, batch)[1]["to_correct"] is not None

    assert not correctable()
    batch.status = BatchStatus.FAILED
    assert correctable()
    batch.rows.put(replace(REFUSED, hospital=HospitalRow(2, "Clinic", "2 Main Street", None)))
    assert told(pages, batch)[1]["to_correct"]["address"] == "2 Main Street"
    batch.status = BatchStatus.PROCESSING
    assert not correctable()


@pytest.mark.parametrize(("changed", "page"), [(10, 0), (11, 1), (20, 1), (21, 2)])
def test_a_change_beside_the_border_of_a_page_is_told_on_its_own(changed: int, page: int):
    pages, batch = Pages(), a_batch(25)
    selections = [RowSelection(offset, 10) for offset in (0, 10, 20)]
    before = [told(pages, batch, selection) for selection in selections]

    batch.rows.put(a_row(changed, RowStatus.CREATED, hospital_id=7))

    after = [told(pages, batch, selection) for selection in selections]
    assert [number for number in range(3) if after[number] != before[number]] == [page]
    assert [row for rows in after for row in rows] == states(batch.rows)


def test_the_failed_ones_move_up_when_one_before_them_is_none_any_more():
    pages, batch = Pages(), a_batch([a_row(n + 1, RowStatus.FAILED) for n in range(5)])
    second = RowSelection(2, 2, only_failed=True)
    assert [row["row"] for row in told(pages, batch, second)] == [3, 4]

    batch.rows.put(a_row(1, RowStatus.CREATED, hospital_id=7))
    assert [row["row"] for row in told(pages, batch, second)] == [4, 5]

    batch.rows.put(a_row(1, RowStatus.FAILED))
    assert [row["row"] for row in told(pages, batch, second)] == [3, 4]


a_state: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    status=st.sampled_from(RowStatus),
    hospital_id=st.none() | st.integers(1, 2),
    error=st.none() | st.just("out of tries"),
    refused=st.booleans(),
    seconds=st.sampled_from([0.0, 0.25]),
)
a_selection = st.builds(RowSelection, st.integers(0, 4), st.integers(0, 4), st.booleans())
a_step = st.one_of(
    st.tuples(st.integers(1, 6), a_state),
    st.sampled_from([BatchStatus.PROCESSING, BatchStatus.RESUMABLE, BatchStatus.FAILED]),
    a_selection,
)


@law
@given(st.lists(a_step, max_size=30), st.sampled_from([0, 600, 4096]))
def test_whatever_happens_what_is_told_is_what_is(steps: list[Any], kept_bytes: int):
    pages, batch = Pages(kept_bytes), a_batch(6)
    for step in steps:
        match step:
            case (number, state):
                batch.rows.put(a_row(number, **state))
            case BatchStatus():
                batch.status = step
            case _:
                expected = states(step.of(batch), is_correctable=batch.is_correctable)
                assert told(pages, batch, step) == expected


class TestKept:
    """A page that is told from what is kept is the very one of before."""

    def test_what_has_not_changed_is_not_encoded_again(self):
        pages, batch = Pages(), a_batch(20)

        assert pages.json(batch, ALL) is pages.json(batch, ALL)

    def test_what_was_told_last_is_kept_up_to_the_limit(self):
        batches = [a_batch(20, number) for number in range(3)]
        size = len(Pages().json(batches[0], ALL))
        pages = Pages(2 * size)
        first, second = (pages.json(batch, ALL) for batch in batches[:2])
        assert pages.json(batches[0], ALL) is first

        pages.json(batches[2], ALL)

        assert pages.json(batches[0], ALL) is first
        assert pages.json(batches[1], ALL) is not second

    def test_of_a_page_that_changes_all_the_time_only_the_last_is_kept(self):
        steady, restless = a_batch(20, 1), a_batch(20, 2)
        pages = Pages(3 * len(Pages().json(steady, ALL)))
        first = pages.json(steady, ALL)

        for hospital_id in range(100, 200):
            restless.rows.put(a_row(1, RowStatus.CREATED, hospital_id=hospital_id))
            pages.json(restless, ALL)

        assert pages.json(steady, ALL) is first

    def test_of_a_batch_that_is_gone_no_page_is_left(self):
        steady, gone, other = (a_batch(20, number) for number in range(3))
        pages = Pages(2 * len(Pages().json(steady, ALL)))
        first = pages.json(steady, ALL)
        pages.json(gone, ALL)

        del gone
        pages.json(other, ALL)

        assert pages.json(steady, ALL) is first

    def test_a_page_that_is_larger_than_all_may_be_is_told_and_not_kept(self):
        pages, batch = Pages(10), a_batch(20)

        assert pages.json(batch, ALL) == pages.json(batch, ALL)
        assert pages.json(batch, ALL) is not pages.json(batch, ALL)
