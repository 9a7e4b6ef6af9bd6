"""The verdict of a chaos run: a verdict that cannot fail is worthless."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.company import names_of
from chaos.files import UNSOUND_PHONE, Content, contents, corrected, csv_of, file_name, is_sound
from chaos.journal import Journal
from chaos.ledger import MOMENT_S, Entry, Ledger, Seen
from chaos.scale import ALONE, AWAY_S, FROZEN_S, LEASE_S, RETENTION_S, SEVERAL
from chaos.schedule import (
    DatabaseAway,
    Faults,
    Freeze,
    Manner,
    OfOne,
    OfSeveral,
    Outage,
    Restart,
    Upload,
    schedule,
)
from chaos.table import Deed, Result, due_of, lines
from chaos.verdict import Answer, Due, Finding, Standing, Wrong, due, judge
from directory.faults import FaultKind
from services.csv_processor import judge_values, read_csv

OURS = "5bf93dff-57f1-4b96-90bd-fde99cbd8324"
ROWS = contents(1, rows=3, identical=2)  # a row once, and another twice
COMPLETED = Standing(1, ROWS, Answer.ACCEPTED, batch_id=OURS, status="completed", kept=True)
RESUMABLE = replace(COMPLETED, status="resumable")
FOREIGN = {
    "id": 900,
    "name": ROWS[0][0],
    "address": ROWS[0][1],
    "phone": ROWS[0][2],
    "creation_batch_id": "somebody else's",
    "active": False,
}


def listing(*rows: tuple[str, str, str], active: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": name,
            "address": address,
            "phone": phone or None,
            "creation_batch_id": OURS,
            "active": active,
        }
        for number, (name, address, phone) in enumerate(rows, 1)
    ]


def counted(
    standing: Standing,
    listed: list[dict[str, Any]],
    foreign: dict[int, dict[str, Any]] | None = None,
    *,
    final: bool = True,
) -> Counter[Wrong]:
    return Counter(f.kind for f in judge([standing], listed, foreign or {}, final=final))


def test_a_completed_batch_whose_rows_are_there_once_and_active_is_right():
    assert counted(COMPLETED, listing(*ROWS)) == {}


def test_a_row_that_is_not_there_is_missing():
    assert counted(COMPLETED, listing(ROWS[0], ROWS[1])) == {Wrong.MISSING: 1}


def test_every_row_of_a_completed_batch_that_is_gone_is_missing():
    assert counted(COMPLETED, []) == {Wrong.MISSING: 3}


def test_a_row_that_is_there_once_too_often_is_doubled():
    assert counted(COMPLETED, listing(*ROWS, ROWS[0])) == {Wrong.DOUBLED: 1}


def test_a_surplus_copy_in_another_directory_batch_is_doubled_too():
    surplus = [listing(ROWS[0])[0] | {"id": 77, "creation_batch_id": "derived"}]

    assert counted(COMPLETED, listing(*ROWS) + surplus) == {Wrong.DOUBLED: 1}


def test_rows_may_stand_in_several_directory_batches():
    listed = listing(*ROWS)
    listed[1]["creation_batch_id"] = "derived"

    assert counted(COMPLETED, listed) == {}


def test_a_row_that_is_not_active_is_inactive():
    listed = listing(*ROWS)
    listed[2]["active"] = False

    assert counted(COMPLETED, listed) == {Wrong.INACTIVE: 1}


@pytest.mark.parametrize(
    "now", [None, FOREIGN | {"active": True}, FOREIGN | {"creation_batch_id": OURS}]
)
def test_a_foreign_row_that_is_gone_or_changed_was_touched(now: dict[str, Any] | None):
    listed = listing(*ROWS) + ([now] if now else [])

    assert counted(COMPLETED, listed, {900: FOREIGN}) == {Wrong.FOREIGN_TOUCHED: 1}


def test_a_foreign_row_with_the_content_of_an_upload_is_neither_its_row_nor_its_copy():
    listed = [*listing(*ROWS), FOREIGN]

    assert counted(COMPLETED, listed, {900: FOREIGN}) == {}
    assert counted(COMPLETED, listed[1:], {900: FOREIGN}) == {Wrong.MISSING: 1}


def test_a_row_that_nobody_uploaded_is_doubled():
    stranger = ("Nobody's", "Nowhere at all", "")

    assert counted(COMPLETED, listing(*ROWS, stranger)) == {Wrong.DOUBLED: 1}


def test_a_row_that_was_to_be_skipped_is_doubled_at_any_time():
    unsound = (*ROWS[0][:2], UNSOUND_PHONE)

    assert counted(COMPLETED, listing(*ROWS, unsound)) == {Wrong.DOUBLED: 1}
    assert counted(RESUMABLE, listing(unsound), final=False) == {Wrong.DOUBLED: 1}


def test_a_row_as_it_was_before_its_correction_is_doubled():
    old = ("Before", "1 Chaos Lane", "")

    listed = listing(*ROWS, old)

    assert counted(replace(COMPLETED, others=(old,)), listed) == {Wrong.DOUBLED: 1}


def test_an_upload_with_a_correction_that_may_or_may_not_have_been_made_is_not_judged():
    undecided = replace(COMPLETED, undecided=True)

    assert counted(undecided, []) == {}


@pytest.mark.parametrize("status", ["initializing", "processing", "activating", "resumable"])
def test_a_batch_that_cannot_be_brought_to_an_end_is_lost(status: str):
    assert counted(replace(COMPLETED, status=status), listing(*ROWS)) == {Wrong.LOST: 1}


@pytest.mark.parametrize(
    "gone",
    [
        replace(RESUMABLE, kept=False),
        Standing(1, ROWS, Answer.ACCEPTED),
        replace(RESUMABLE, kept=False, answer=Answer.UNKNOWN),
    ],
)
@pytest.mark.parametrize("final", [False, True])
def test_a_batch_that_was_accepted_and_is_gone_is_lost_at_any_time(gone: Standing, final: bool):
    assert counted(gone, [], final=final) == {Wrong.LOST: 1}


def test_a_completed_batch_that_was_cleaned_up_is_still_due():
    assert counted(replace(COMPLETED, kept=False), listing(ROWS[0])) == {Wrong.MISSING: 2}


@pytest.mark.parametrize(
    "standing",
    [
        Standing(1, ROWS, Answer.REFUSED),
        Standing(1, ROWS, Answer.NOT_SENT),
        Standing(1, ROWS, Answer.UNKNOWN),
        replace(RESUMABLE, kept=False, taken_back=True),
    ],
)
def test_what_the_service_did_not_keep_must_have_left_nothing(standing: Standing):
    assert counted(standing, []) == {}
    assert counted(standing, listing(ROWS[0])) == {Wrong.DOUBLED: 1}


def test_a_damaged_checkpoint_is_counted_apart_unless_its_batch_had_completed():
    damaged = replace(RESUMABLE, kept=False, damaged=True)

    assert counted(damaged, listing(ROWS[0], ROWS[0])) == {}
    assert counted(replace(damaged, status="completed"), []) == {Wrong.MISSING: 3}


def test_what_is_under_way_is_judged_at_the_end_only():
    for standing in (
        RESUMABLE,
        Standing(1, ROWS, Answer.OPEN),
        Standing(1, ROWS, Answer.UNKNOWN),
    ):
        assert due(standing, final=False) is Due.ANYTHING


def test_an_upload_that_the_service_is_long_done_with_is_judged_at_once():
    standing = Standing(1, ROWS, Answer.UNKNOWN, handled=True)

    assert counted(standing, listing(ROWS[0]), final=False) == {Wrong.DOUBLED: 1}


# The ledger: what was seen becomes what is due.


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Journal(tmp_path / "journal.log") as journal:
        yield Ledger(journal)


def begun(ledger: Ledger, unsound: int = 0) -> Entry:
    plan = Upload(1, 3, 2, Manner.ASYNC, patience_s=0.0, end_after=None, unsound=unsound)
    return ledger.begin(plan)


def seen(status: str, at: float, *, runs: int = 0, rows: tuple[Content, ...] = ()) -> Seen:
    return Seen(OURS, status, at, file_name(1), runs, rows)


def kinds(ledger: Ledger) -> list[Wrong]:
    return [finding.kind for finding in ledger.findings]


def standing(ledger: Ledger, now: float = 1000.0) -> Standing:
    [only] = ledger.standings(now)
    return only


def test_a_completed_batch_is_due_until_the_directory_forgets(ledger: Ledger):
    begun(ledger)
    ledger.see_kept([seen("completed", 100.0)], 100.0)

    before = due(standing(ledger), final=False)
    ledger.forgotten(200.0)
    after = due(standing(ledger), final=False)

    assert (before, after) == (Due.WHOLE, Due.ANYTHING)


def test_a_batch_that_completes_after_the_directory_forgot_is_due(ledger: Ledger):
    begun(ledger)
    ledger.forgotten(200.0)

    ledger.see_kept([seen("completed", 200.0 + ALONE.unchecked_s + 0.1)], 300.0)

    assert due(standing(ledger), final=False) is Due.WHOLE


def test_a_batch_that_completes_just_when_the_directory_forgets_is_exempt(ledger: Ledger):
    entry = begun(ledger)
    ledger.forgotten(200.0)

    ledger.see_kept([seen("completed", 200.1)], 200.1)

    assert due(standing(ledger), final=True) is Due.ANYTHING
    assert entry.unchecked


def test_a_completed_batch_that_is_something_else_later_is_lost(ledger: Ledger):
    begun(ledger)
    ledger.see_kept([seen("completed", 100.0)], 100.0)

    ledger.see_kept([seen("processing", 101.0)], 101.0)

    assert [finding.kind for finding in ledger.findings] == [Wrong.LOST]


def test_what_is_older_than_what_is_known_tells_nothing(ledger: Ledger):
    entry = begun(ledger)
    ledger.see_kept([seen("completed", 100.0)], 100.0)

    ledger.see(seen("processing", 99.0))

    assert entry.status == "completed"
    assert not ledger.findings


def test_an_abandoned_batch_that_is_kept_all_the_same_is_lost(ledger: Ledger):
    entry = begun(ledger)
    ledger.see_kept([seen("resumable", 100.0)], 100.0)
    entry.abandoned = True

    ledger.see_kept([seen("resumable", 100.0)], 100.0)

    assert [finding.kind for finding in ledger.findings] == [Wrong.LOST]


def test_an_upload_that_became_no_batch_may_be_sent_again(ledger: Ledger):
    assert begun(ledger).would_join(100.0)


@pytest.mark.parametrize(
    ("status", "now", "joins"),
    [
        ("processing", 900.0, True),
        ("completed", 101.0, True),
        ("completed", 900.0, False),
        ("resumable", 900.0, False),
        ("abandoning", 101.0, False),
    ],
)
def test_an_upload_is_sent_again_only_while_the_service_must_know_its_batch(
    ledger: Ledger, status: str, now: float, joins: bool
):
    entry = begun(ledger)
    ledger.see_kept([seen(status, 100.0)], 100.0)

    assert entry.would_join(now) is joins


@pytest.mark.parametrize("change", [{"damaged": True}, {"taken_back": 1}, {"kept": False}])
def test_an_upload_whose_batch_may_be_gone_is_not_sent_again(
    ledger: Ledger, change: dict[str, Any]
):
    entry = begun(ledger)
    ledger.see_kept([seen("processing", 100.0)], 100.0)

    for name, value in change.items():
        setattr(entry, name, value)

    assert not entry.would_join(100.0)


def test_a_second_batch_of_one_upload_is_doubled(ledger: Ledger):
    begun(ledger)
    ledger.see_kept([seen("processing", 100.0)], 100.0)

    ledger.see(replace(seen("processing", 101.0), batch_id="another"))

    assert [finding.kind for finding in ledger.findings] == [Wrong.DOUBLED]


def test_an_unknown_upload_counts_as_handled_after_a_while(ledger: Ledger):
    entry = begun(ledger)
    ledger.answered(entry, Answer.UNKNOWN, 100.0)

    assert not standing(ledger, 100.0 + ALONE.handled_s - 0.1).handled
    assert standing(ledger, 100.0 + ALONE.handled_s + 0.1).handled


def test_a_completion_may_come_late_after_a_look_if_its_process_stood_still(ledger: Ledger):
    entry = begun(ledger)
    ledger.forgotten(200.0)
    ledger.stalled(199.0, 207.0)

    ledger.see_kept([seen("completed", 207.0 + ALONE.unchecked_s - 0.1)], 300.0)

    assert entry.unchecked


@pytest.mark.parametrize("stall", [(190.0, 199.0), (202.0, 208.0)])
def test_a_process_that_stood_still_at_another_time_excuses_nothing(
    ledger: Ledger, stall: tuple[float, float]
):
    entry = begun(ledger)
    ledger.forgotten(200.0)
    ledger.stalled(*stall)

    ledger.see_kept([seen("completed", 200.0 + ALONE.unchecked_s + 0.1)], 300.0)

    assert not entry.unchecked
    assert due(standing(ledger), final=False) is Due.WHOLE


def test_with_several_processes_an_upload_may_arrive_after_its_client_gave_up(tmp_path: Path):
    with Journal(tmp_path / "journal.log") as journal:
        ledger = Ledger(journal, SEVERAL)
        entry = begun(ledger)
        ledger.unanswered(entry, 100.0)
        ledger.answered(entry, Answer.UNKNOWN, 100.0)

        [early] = ledger.standings(100.0 + SEVERAL.hanging_s)
        [late] = ledger.standings(100.0 + SEVERAL.handled_s + 0.1)

    assert entry.sent_until == 100.0 + SEVERAL.hanging_s
    assert (early.handled, late.handled) == (False, True)


def test_nothing_is_forgotten_while_an_upload_of_it_may_still_arrive():
    hanging_s = FROZEN_S + AWAY_S

    assert SEVERAL.hanging_s > hanging_s
    assert min(SEVERAL.cleanup_age_s, SEVERAL.retention_s) > hanging_s + MOMENT_S


# Cancels: told, they hold until somebody resumes.


@pytest.fixture
def cancelled(ledger: Ledger) -> Entry:
    entry = begun(ledger)
    ledger.see_kept([seen("processing", 100.0, runs=1)], 100.0)
    ledger.cancelled(entry, asked_at=100.1, now=100.2, run=1)
    return entry


@pytest.mark.parametrize(
    "later",
    [
        seen("completed", 100.15, runs=1),  # known by then: it had to be refused
        seen("completed", 101.0, runs=1),
        seen("activating", 101.0, runs=1),
        seen("processing", 101.0, runs=2),
    ],
)
def test_a_cancelled_batch_that_ends_well_or_goes_on_by_itself_went_on(
    ledger: Ledger, cancelled: Entry, later: Seen
):
    ledger.see(later)

    assert kinds(ledger) == [Wrong.WENT_ON]


@pytest.mark.parametrize(
    "later",
    [
        seen("processing", 101.0, runs=1),  # rows under way still end
        seen("resumable", 101.0, runs=1),
        seen("resumable", 101.0, runs=2),  # another process had just taken it over
        seen("activating", 100.15, runs=1),  # an answer from before the cancel
    ],
)
def test_a_cancelled_batch_that_comes_to_rest_is_right(
    ledger: Ledger, cancelled: Entry, later: Seen
):
    ledger.see(later)

    assert not ledger.findings


def test_a_cancelled_batch_may_go_on_once_a_resume_was_sent(ledger: Ledger, cancelled: Entry):
    ledger.resuming(cancelled)

    ledger.see(seen("completed", 101.0, runs=2))

    assert not ledger.findings


@pytest.mark.parametrize(
    ("answered", "asked_at", "holds"),
    [
        (True, 200.1, True),
        (True, 199.9, False),
        (False, 200.1, False),  # the resume may still be carried out
        (False, 200.1 + ALONE.handled_s, True),
    ],
)
def test_a_cancel_that_a_resume_may_have_overtaken_promises_nothing(
    ledger: Ledger, cancelled: Entry, answered: bool, asked_at: float, holds: bool
):
    ledger.resuming(cancelled)
    ledger.resumed(cancelled, 200.0, answered=answered)

    ledger.cancelled(cancelled, asked_at=asked_at, now=asked_at + 0.1, run=2)
    ledger.see(seen("completed", 300.0, runs=2))

    assert bool(ledger.findings) is holds


def test_a_cancel_is_no_promise_while_a_resume_is_under_way(ledger: Ledger, cancelled: Entry):
    ledger.resuming(cancelled)

    ledger.cancelled(cancelled, asked_at=200.0, now=200.1, run=1)
    ledger.see(seen("completed", 300.0, runs=2))

    assert not ledger.findings


# Corrections and skipped rows: what is due is what the rows hold by then.


def due_rows(ledger: Ledger) -> tuple[Content, ...]:
    return standing(ledger).rows


def test_of_a_file_with_unsound_rows_the_sound_ones_are_due(ledger: Ledger):
    entry = begun(ledger, unsound=1)

    assert [is_sound(content) for content in entry.plan.contents] == [False, True, True]
    assert due_rows(ledger) == ROWS[1:]
    assert standing(ledger).others == ROWS[1:]


def test_a_corrected_row_is_due_as_corrected_and_not_as_it_was(ledger: Ledger):
    entry = begun(ledger)
    content = ledger.correcting(entry, 1)

    ledger.corrected(entry, 1, content, made=True)

    assert due_rows(ledger) == (content, *ROWS[1:])
    assert ROWS[0] in standing(ledger).others
    assert not standing(ledger).undecided


def test_a_skipped_row_is_due_once_it_is_corrected(ledger: Ledger):
    entry = begun(ledger, unsound=1)
    content = ledger.correcting(entry, 1)

    ledger.corrected(entry, 1, content, made=True)

    assert due_rows(ledger) == (content, *ROWS[1:])


def test_a_correction_that_was_refused_changes_nothing(ledger: Ledger):
    entry = begun(ledger)
    content = ledger.correcting(entry, 1)

    ledger.corrected(entry, 1, content, made=False)

    assert due_rows(ledger) == ROWS
    assert not standing(ledger).undecided


def test_every_correction_of_a_row_is_told_from_the_others(ledger: Ledger):
    entry = begun(ledger)

    first, second = ledger.correcting(entry, 1), ledger.correcting(entry, 1)

    assert first != second
    assert entry.rows[0] == (ROWS[0], first, second)


def test_one_of_two_identical_rows_can_be_corrected(ledger: Ledger):
    entry = begun(ledger)
    content = ledger.correcting(entry, 3)
    ledger.corrected(entry, 3, content, made=True)
    ledger.see_kept([seen("completed", 100.0, rows=(*ROWS[:2], content))], 100.0)

    findings = judge(ledger.standings(1000.0), listing(*ROWS[:2], content), {}, final=True)

    assert not findings


@pytest.mark.parametrize("made", [False, True])
def test_a_correction_without_an_answer_may_have_been_made_until_the_batch_is_completed(
    ledger: Ledger, made: bool
):
    entry = begun(ledger)
    content = ledger.correcting(entry, 1)
    rows = (content if made else ROWS[0], *ROWS[1:])
    ledger.see_kept([seen("resumable", 100.0, rows=rows)], 100.0)

    before = standing(ledger).undecided
    ledger.see_kept([seen("completed", 101.0, rows=rows)], 101.0)

    assert before
    assert not standing(ledger).undecided
    assert due_rows(ledger) == rows
    assert not ledger.findings


def test_a_correction_that_was_told_and_is_not_on_disk_is_undone(ledger: Ledger):
    entry = begun(ledger)
    content = ledger.correcting(entry, 1)
    ledger.corrected(entry, 1, content, made=True)

    ledger.see_kept([seen("failed", 100.0, rows=ROWS)], 100.0)

    assert kinds(ledger) == [Wrong.UNDONE]


# Retention: what was stopped for long may be taken back unasked, and then leaves nothing.


@pytest.mark.parametrize("status", ["resumable", "failed"])
@pytest.mark.parametrize("on_the_way", [[], ["abandoning"]])
def test_what_was_stopped_for_long_and_is_gone_must_have_left_nothing(
    ledger: Ledger, status: str, on_the_way: list[str]
):
    entry = begun(ledger)
    for now, step in enumerate([status, *on_the_way]):
        ledger.see_kept([seen(step, 100.0 + now)], 100.0 + now)

    ledger.see_kept([], 100.0 + RETENTION_S)

    assert entry.retained
    assert counted(standing(ledger), [], final=False) == {}
    assert counted(standing(ledger), listing(ROWS[0]), final=False) == {Wrong.DOUBLED: 1}


@pytest.mark.parametrize("known", [{"damaged": True}, {"taken_back": 1}])
def test_what_is_gone_for_another_reason_is_not_counted_as_retained(
    ledger: Ledger, known: dict[str, Any]
):
    entry = begun(ledger)
    ledger.see_kept([seen("resumable", 100.0)], 100.0)
    for name, value in known.items():
        setattr(entry, name, value)

    ledger.see_kept([], 100.0 + RETENTION_S)

    assert not entry.retained


def test_what_is_gone_before_its_time_is_lost(ledger: Ledger):
    entry = begun(ledger)
    ledger.see_kept([seen("resumable", 90.0)], 90.0)
    ledger.see_kept([seen("resumable", 100.0)], 100.0)

    ledger.see_kept([], 100.0 + RETENTION_S - 0.1)

    assert not entry.retained
    assert counted(standing(ledger), [], final=False) == {Wrong.LOST: 1}


def test_what_is_gone_while_it_ran_is_lost(ledger: Ledger):
    begun(ledger)
    ledger.see_kept([seen("resumable", 100.0)], 100.0)
    ledger.see_kept([seen("processing", 101.0)], 101.0)

    ledger.see_kept([], 200.0)

    assert counted(standing(ledger), [], final=False) == {Wrong.LOST: 1}


def test_a_completed_batch_that_is_cleaned_up_is_not_retained(ledger: Ledger):
    entry = begun(ledger)
    ledger.see_kept([seen("resumable", 100.0)], 100.0)
    ledger.see_kept([seen("completed", 101.0)], 101.0)

    ledger.see_kept([], 200.0)

    assert not entry.retained
    assert counted(standing(ledger), []) == {Wrong.MISSING: 3}


# The table: what fails a run.

FAULTED: Counter[str] = Counter({kind.value: 10 for kind in FaultKind})
DONE: dict[str, int] = dict.fromkeys(Deed, 10)
GOOD = Result(least=10, counts=DONE, faulted=FAULTED, findings=[], failures=[])


def test_a_run_without_findings_and_with_enough_faults_holds():
    assert GOOD.held


@pytest.mark.parametrize("kind", list(Wrong))
def test_one_finding_of_any_kind_fails_the_run_and_is_shown(kind: Wrong):
    result = replace(GOOD, findings=[Finding(kind, "upload 7, row 3")])

    assert not result.held
    assert result.wrong[kind] == 1
    assert f"{kind}: upload 7, row 3" in lines(result)


def test_a_traceback_or_a_slow_exit_fails_the_run():
    assert not replace(GOOD, failures=["did not exit"]).held


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_kind_of_fault_that_hardly_occurred_fails_the_run(kind: str):
    few = replace(GOOD, faulted=FAULTED - Counter([kind]))

    assert few.too_few == [kind]
    assert not few.held
    assert replace(few, least=9).held


@pytest.mark.parametrize("deed", list(Deed))
def test_a_deed_that_was_hardly_done_fails_the_run(deed: Deed):
    few = replace(GOOD, counts=DONE | {deed: 9})

    assert few.too_few == [deed]
    assert not few.held


NAMES = names_of(3)
DUE = due_of(NAMES)
SHARED_DONE = {deed: -int(-10 * share // 1) for deed, share in DUE.items()}


def test_with_several_processes_more_is_due():
    good = replace(GOOD, due=DUE, counts=SHARED_DONE)

    assert good.held
    assert not replace(good, counts=DONE).held


@pytest.mark.parametrize("deed", sorted(DUE))
def test_whatever_was_hardly_done_to_several_processes_fails_the_run(deed: str):
    few = replace(GOOD, due=DUE, counts=SHARED_DONE | {deed: SHARED_DONE[deed] - 1})

    assert few.too_few == [deed]
    assert not few.held


# The schedule: the same seed does the same.


def test_the_same_seed_draws_the_same_schedule_and_another_seed_another():
    assert schedule(7, 120) == schedule(7, 120)
    assert schedule(7, 120) != schedule(8, 120)


def test_a_longer_run_begins_as_a_shorter_one():
    short, long = schedule(7, 60), schedule(7, 120)

    assert long[: len(short)] == short


def test_each_of_several_processes_and_their_database_are_disturbed_often_enough():
    steps = [timed.step for timed in schedule(7, 300, processes=3)]

    ends = Counter((s.process, s.end.by_kill) for s in steps if isinstance(s, Restart))
    freezes = Counter((s.process, s.seconds > LEASE_S) for s in steps if isinstance(s, Freeze))
    outages = Counter(step.how for step in steps if isinstance(step, DatabaseAway))

    assert len(ends) == len(freezes) == 2 * 3
    assert set(outages) == set(Outage)
    assert min(ends.values()) >= 4
    assert min(freezes.values()) >= 4
    assert min(outages.values()) >= 4
    assert max(s.seconds for s in steps if isinstance(s, Freeze)) <= FROZEN_S


def test_several_processes_meet_what_one_meets_but_for_its_disk_and_its_own_restarts():
    def others(processes: int, left_out: Any) -> list[Any]:
        timed = schedule(7, 120, processes)
        return [one for one in timed if not isinstance(one.step, left_out)]

    assert others(3, OfSeveral) == others(1, OfOne)


def test_every_kind_of_fault_is_scheduled_often_enough_for_ten_to_be_met():
    steps = [timed.step for timed in schedule(7, 300)]

    ruled = Counter(
        rule["kind"] for step in steps if isinstance(step, Faults) for rule in step.rules
    )

    assert set(ruled) == set(FaultKind)
    assert min(ruled.values()) >= 4 * GOOD.least


def test_what_is_uploaded_is_a_file_that_the_service_reads_as_it_was_meant(tmp_path: Path):
    path = tmp_path / "hospitals.csv"
    rows = contents(1, rows=5, identical=2, unsound=2)
    path.write_bytes(csv_of(rows))

    with path.open("rb") as file:
        read = read_csv(file, max_rows=20, keep_unsound=True)

    assert tuple(row.content for row in read.unsound) == rows[:2]
    assert tuple(row.content for row in read.rows) == rows[2:]


def test_values_of_a_correction_are_sound():
    content = corrected(contents(1, 1, 0, unsound=1)[0], 3)

    assert judge_values(content, row=1, line=0) == []
