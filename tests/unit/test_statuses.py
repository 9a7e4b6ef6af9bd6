"""Statuses of rows and batches, the moves between them, and what is derived from rows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import uuid4

import pytest

from models.batch import BATCH_MOVES, ENDED, INTERRUPTED, Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import DONE_ROWS, ROW_MOVES, IllegalMove, Row, Rows, RowStatus

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

S = TypeVar("S", RowStatus, BatchStatus)


def a_row(status: RowStatus = RowStatus.PENDING, number: int = 1, **known: object) -> Row:
    return Row(HospitalRow(number, "A", "A Street", None), status, **known)  # type: ignore[arg-type]


def a_batch(
    *statuses: RowStatus, status: BatchStatus = BatchStatus.PROCESSING, seconds: float = 0.0
) -> Batch:
    rows = [a_row(row_status, number) for number, row_status in enumerate(statuses, start=1)]
    return Batch(uuid4(), "http://directory.test", Rows(rows), NOON, NOON, status, seconds=seconds)


def moves_that_succeed(statuses: type[S], move: Callable[[S, S], object]) -> dict[S, frozenset[S]]:
    return {
        before: frozenset(after for after in statuses if succeeds(move, before, after))
        for before in statuses
    }


def succeeds(move: Callable[[S, S], object], before: S, after: S) -> bool:
    try:
        move(before, after)
    except IllegalMove:
        return False
    return True


class TestMoves:
    def test_a_row_makes_exactly_the_moves_of_its_table_or_stays(self):
        actual = moves_that_succeed(RowStatus, lambda before, after: a_row(before).moved(after))

        expected = {status: moves | {status} for status, moves in ROW_MOVES.items()}
        assert expected == actual

    def test_a_row_that_moved_has_the_new_status(self):
        moved = {
            (was, to): a_row(was).moved(to).status for was in ROW_MOVES for to in ROW_MOVES[was]
        }

        assert {(was, to): to for was in ROW_MOVES for to in ROW_MOVES[was]} == moved

    def test_a_batch_makes_exactly_the_moves_of_its_table_or_stays(self):
        actual = moves_that_succeed(
            BatchStatus, lambda before, after: a_batch(status=before).check_move(after)
        )

        expected = {status: moves | {status} for status, moves in BATCH_MOVES.items()}
        assert expected == actual

    def test_checking_a_move_does_not_make_it(self):
        batch = a_batch(status=BatchStatus.PROCESSING)

        batch.check_move(BatchStatus.ACTIVATING)

        assert batch.status is BatchStatus.PROCESSING

    def test_an_illegal_move_names_the_row_and_both_statuses(self):
        row = a_row(RowStatus.CREATED, number=7)

        with pytest.raises(IllegalMove, match="row 7: created -> pending"):
            row.moved(RowStatus.PENDING)

    def test_an_illegal_move_names_the_batch_and_both_statuses(self):
        batch = a_batch(status=BatchStatus.COMPLETED)

        with pytest.raises(IllegalMove, match=f"batch {batch.id}: completed -> processing"):
            batch.check_move(BatchStatus.PROCESSING)


class TestTheTablesInFull:
    """The tables cannot be their own witness: what must never change stands here once more."""

    def test_every_status_has_its_moves(self):
        assert set(RowStatus) == set(ROW_MOVES)
        assert set(BatchStatus) == set(BATCH_MOVES)

    def test_no_row_status_is_terminal(self):
        """The directory can forget or refuse any row, and a resume may try any again."""
        terminal = {status for status, moves in ROW_MOVES.items() if not moves}

        assert not terminal

    def test_the_terminal_batch_statuses(self):
        terminal = {status for status, moves in BATCH_MOVES.items() if not moves}

        expected = {BatchStatus.COMPLETED, BatchStatus.ABANDONING, BatchStatus.VALIDATING}
        assert expected == terminal

    def test_rows_that_are_done(self):
        expected = {RowStatus.CREATED, RowStatus.CREATED_AND_ACTIVATED}
        assert expected == DONE_ROWS

    def test_batches_that_have_ended(self):
        expected = {BatchStatus.COMPLETED, BatchStatus.RESUMABLE, BatchStatus.FAILED}
        assert expected == ENDED

    def test_batches_that_a_dead_process_leaves_behind(self):
        expected = {BatchStatus.INITIALIZING, BatchStatus.PROCESSING, BatchStatus.ACTIVATING}
        assert expected == INTERRUPTED

    def test_a_created_row_is_looked_up_before_it_is_sent_again(self):
        for status in DONE_ROWS:
            assert not ROW_MOVES[status] & {RowStatus.PENDING, RowStatus.PROCESSING}

    def test_only_a_pending_row_is_sent(self):
        senders = {status for status, moves in ROW_MOVES.items() if RowStatus.PROCESSING in moves}

        expected = {RowStatus.PENDING}
        assert expected == senders

    def test_only_a_created_row_becomes_active(self):
        activated = RowStatus.CREATED_AND_ACTIVATED
        sources = {status for status, moves in ROW_MOVES.items() if activated in moves}

        expected = {RowStatus.CREATED}
        assert expected == sources

    def test_only_a_batch_at_rest_is_abandoned(self):
        """Whatever is under way could create a hospital after the delete."""
        sources = {was for was, moves in BATCH_MOVES.items() if BatchStatus.ABANDONING in moves}

        expected = {BatchStatus.RESUMABLE, BatchStatus.FAILED}
        assert expected == sources

    def test_nothing_leads_to_validating(self):
        sources = {was for was, moves in BATCH_MOVES.items() if BatchStatus.VALIDATING in moves}

        assert not sources

    def test_what_was_interrupted_can_go_on_or_wait_for_a_resume(self):
        for status in INTERRUPTED:
            for after in (BatchStatus.PROCESSING, BatchStatus.RESUMABLE):
                a_batch(status=status).check_move(after)


class TestARowThatMoves:
    def test_keeps_nothing_of_its_last_state_but_the_time_it_took(self):
        row = a_row(RowStatus.FAILED, error="refused", refused=True, seconds=5.0)

        assert a_row(RowStatus.PENDING, seconds=5.5) == row.moved(RowStatus.PENDING, seconds=0.5)

    def test_forgets_its_id_when_the_directory_lost_it(self):
        row = a_row(RowStatus.CREATED, hospital_id=4, error="odd")

        assert a_row(RowStatus.VERIFYING) == row.moved(RowStatus.VERIFYING)

    def test_takes_what_is_known_of_its_new_state(self):
        row = a_row(RowStatus.PROCESSING)

        created = row.moved(RowStatus.CREATED, hospital_id=4, seconds=5.0)
        refused = row.moved(RowStatus.FAILED, error="no name", refused=True)

        assert a_row(RowStatus.CREATED, hospital_id=4, seconds=5.0) == created
        assert a_row(RowStatus.FAILED, error="no name", refused=True) == refused

    def test_leaves_the_old_row_as_it_was(self):
        row = a_row(RowStatus.PENDING)

        row.moved(RowStatus.FAILED, error="no name", refused=True)

        assert a_row(RowStatus.PENDING) == row


class TestWhatRowsSayAboutABatch:
    def test_counts(self):
        batch = a_batch(*RowStatus, RowStatus.FAILED)

        expected = (2, 2)
        assert expected == (batch.created_count, batch.failed_count)

    def test_the_first_open_row_is_the_first_not_created(self):
        done, active, failed = (
            RowStatus.CREATED,
            RowStatus.CREATED_AND_ACTIVATED,
            RowStatus.FAILED,
        )

        first = [
            a_batch(*statuses).first_open_row
            for statuses in ((failed, done), (done, active, failed, done), (done, active))
        ]

        expected = [1, 3, 3]
        assert expected == first

    def test_a_batch_is_activated_when_every_row_is(self):
        active = RowStatus.CREATED_AND_ACTIVATED

        assert a_batch(active, active).is_activated
        assert not a_batch(active, RowStatus.CREATED).is_activated

    def test_rows_are_found_by_their_number(self):
        batch = a_batch(RowStatus.CREATED, RowStatus.FAILED)

        expected = [1, 2]
        assert expected == [batch.row(number).hospital.row for number in (1, 2)]

    def test_the_time_of_all_runs_includes_the_present_one(self):
        batch = a_batch(seconds=7.0)
        at_rest = batch.elapsed_seconds(now_s=1000.0)

        batch.running_since = 990.0

        expected = (7.0, 17.0)
        assert expected == (at_rest, batch.elapsed_seconds(now_s=1000.0))

    def test_a_snapshot_is_not_touched_by_later_changes(self):
        batch = a_batch(RowStatus.PENDING, seconds=7.0)
        batch.running_since = 990.0

        snapshot = batch.snapshot(now_s=1000.0)
        batch.rows.put(batch.rows[0].moved(RowStatus.PROCESSING))
        batch.status = BatchStatus.ACTIVATING
        batch.updated_at = NOON + timedelta(hours=1)

        expected = (RowStatus.PENDING, BatchStatus.PROCESSING, NOON, 17.0)
        assert expected == (
            snapshot.rows[0].status,
            snapshot.status,
            snapshot.updated_at,
            snapshot.seconds,
        )
