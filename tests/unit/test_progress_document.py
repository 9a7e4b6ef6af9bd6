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

from models.api import RowState
from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from routers.progress_document import FirstPages
from tests.unit.strategies import law

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def a_row(number: int, status: RowStatus = RowStatus.PENDING, **changes: Any) -> Row:
    return Row(HospitalRow(number, f"Clinic {number}", "1 Main Street", None), status, **changes)


def a_batch(rows: int | Sequence[Row], number: int = 1) -> Batch:
    listed = [a_row(row + 1) for row in range(rows)] if isinstance(rows, int) else rows
    batch = Batch(UUID(int=number), "http://directory.test", Rows(listed), NOON, NOON)
    batch.status = BatchStatus.PROCESSING
    return batch


def told(pages: FirstPages, batch: Batch) -> list[dict[str, Any]]:
    return list(json.loads(pages.json(batch)))


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
    pages, batch = FirstPages(), a_batch(3)
    batch.status = status
    told(pages, batch)

    batch.rows.put(CHANGES[change])

    is_correctable = status is BatchStatus.RESUMABLE
    assert told(pages, batch) == states(batch.rows, is_correctable=is_correctable)


def test_what_can_be_corrected_is_told_while_the_batch_is_at_rest_only():
    pages, batch = FirstPages(), a_batch([a_row(1), REFUSED])

    def correctable() -> bool:
        return told(pages, batch)[1]["to_correct"] is not None

    assert not correctable()
    batch.status = BatchStatus.FAILED
    assert correctable()
    batch.rows.put(replace(REFUSED, hospital=HospitalRow(2, "Clinic", "2 Main Street", None)))
    assert told(pages, batch)[1]["to_correct"]["address"] == "2 Main Street"
    batch.status = BatchStatus.PROCESSING
    assert not correctable()


a_state: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    status=st.sampled_from(RowStatus),
    hospital_id=st.none() | st.integers(1, 2),
    error=st.none() | st.just("out of tries"),
    refused=st.booleans(),
    seconds=st.sampled_from([0.0, 0.25]),
)
a_step = st.one_of(
    st.tuples(st.integers(1, 6), a_state),
    st.sampled_from([BatchStatus.PROCESSING, BatchStatus.RESUMABLE, BatchStatus.FAILED]),
    st.just("asked"),
)


@law
@given(st.lists(a_step, max_size=30), st.sampled_from([0, 1, 64]))
def test_whatever_happens_what_is_told_is_what_is(steps: list[Any], kept: int):
    pages, batch = FirstPages(kept), a_batch(6)
    for step in steps:
        match step:
            case (number, state):
                batch.rows.put(a_row(number, **state))
            case BatchStatus():
                batch.status = step
            case _:
                expected = states(batch.rows, is_correctable=batch.is_correctable)
                assert told(pages, batch) == expected


class TestKept:
    """A page that is told from what is kept is the very one of before."""

    def test_what_has_not_changed_is_not_encoded_again(self):
        pages, batch = FirstPages(), a_batch(20)

        assert pages.json(batch) is pages.json(batch)

    def test_the_pages_asked_for_last_are_kept(self):
        pages, batches = FirstPages(2), [a_batch(20, number) for number in range(3)]
        first, second = (pages.json(batch) for batch in batches[:2])
        assert pages.json(batches[0]) is first

        pages.json(batches[2])

        assert pages.json(batches[0]) is first
        assert pages.json(batches[1]) is not second

    def test_of_a_page_that_changes_all_the_time_only_the_last_is_kept(self):
        pages, steady, restless = FirstPages(2), a_batch(20, 1), a_batch(20, 2)
        first = pages.json(steady)

        for hospital_id in range(100, 200):
            restless.rows.put(a_row(1, RowStatus.CREATED, hospital_id=hospital_id))
            pages.json(restless)

        assert pages.json(steady) is first

    def test_of_a_batch_that_is_gone_no_page_is_left(self):
        pages, steady, gone = FirstPages(2), a_batch(20, 1), a_batch(20, 2)
        first = pages.json(steady)
        pages.json(gone)

        del gone
        pages.json(a_batch(20, 3))

        assert pages.json(steady) is first
