"""The rows of a batch keep their counts, and a file is cut into parts in its order."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from models.batch import Batch
from models.hospital import HospitalRow
from models.row import DONE_ROWS, Row, Rows, RowStatus
from tests.unit.strategies import law

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

a_state = st.tuples(st.sampled_from(RowStatus), st.booleans())


def a_row(number: int, state: tuple[RowStatus, bool]) -> Row:
    status, skipped = state
    return Row(HospitalRow(number, "Clinic", "1 Main Street", None), status, skipped=skipped)


@law
@given(
    st.lists(a_state, min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), a_state), max_size=12),
)
def test_the_counts_are_those_of_the_rows(
    states: list[tuple[RowStatus, bool]], changes: list[tuple[int, tuple[RowStatus, bool]]]
):
    rows = Rows(a_row(number, state) for number, state in enumerate(states, 1))
    before = rows.copy()
    for index, state in changes:
        rows.put(a_row(index % len(rows) + 1, state))

    for status in RowStatus:
        assert rows.count(status) == sum(row.status is status for row in rows)
    assert rows.count(*DONE_ROWS) == sum(row.is_done for row in rows)
    assert rows.skipped == sum(row.skipped for row in rows)
    assert before == Rows(a_row(number, state) for number, state in enumerate(states, 1))


@law
@given(st.integers(1, 60), st.none() | st.integers(1, 25))
def test_every_row_is_in_one_part_and_every_part_but_the_last_is_full(
    count: int, part_rows: int | None
):
    rows = Rows(a_row(number, (RowStatus.PENDING, False)) for number in range(1, count + 1))
    batch = Batch(UUID(int=1), "http://directory.test", rows, NOON, NOON, part_rows=part_rows)

    parts = [batch.rows_of(part) for part in range(batch.parts)]

    assert [row for part in parts for row in part] == list(rows)
    assert {len(part) for part in parts[:-1]} <= {part_rows}
    assert 1 <= len(parts[-1]) <= (part_rows or count)
    for number, part in enumerate(parts):
        assert {batch.part_of(row.hospital.row) for row in part} == {number}


def test_no_two_directory_batches_have_the_same_id():
    rows = Rows(a_row(number, (RowStatus.PENDING, False)) for number in range(1, 101))
    batch = Batch(
        UUID(int=1),
        "http://directory.test",
        rows,
        NOON,
        NOON,
        part_rows=10,
        opened_parts=10,
        further={0: 3, 1: 3, 9: 12},
    )

    ids = batch.opened_directory_batch_ids

    assert ids[0] == batch.id
    assert len(set(ids)) == len(ids) == 10 + 18
