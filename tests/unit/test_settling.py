"""When a look proves absence: only after a second one, sent late enough after the first answer."""

from hypothesis import given
from hypothesis import strategies as st

from services.settling import Settling
from tests.unit.strategies import law

SETTLE_S = 15.0


def in_doubt() -> Settling:
    return Settling(SETTLE_S, in_doubt=True)


def test_without_a_doubt_everything_is_settled_and_nothing_is_waited_for():
    settling = Settling(SETTLE_S, in_doubt=False)

    assert settling.is_settled
    assert not settling.wait_s(100.0)


def test_what_an_earlier_run_left_unsettled_is_in_doubt_from_the_start():
    assert not in_doubt().is_settled


def test_one_look_settles_nothing_however_late_it_is():
    """A directory that hung for an hour works its queue off only when it answers again."""
    settling = in_doubt()

    settling.looked(sent_s=3600.0, answered_s=7200.0)

    assert not settling.is_settled


def test_a_second_look_settles_when_it_was_sent_the_settling_time_after_the_first_answer():
    settling = in_doubt()

    settling.looked(sent_s=100.0, answered_s=101.0)
    settling.looked(sent_s=116.0, answered_s=116.5)

    assert settling.is_settled


def test_a_second_look_that_was_only_answered_late_enough_does_not_settle():
    settling = in_doubt()

    settling.looked(sent_s=100.0, answered_s=101.0)
    settling.looked(sent_s=115.9, answered_s=130.0)

    assert not settling.is_settled


def test_the_settling_time_counts_from_the_first_answer_not_from_the_first_look():
    settling = in_doubt()

    settling.looked(sent_s=100.0, answered_s=120.0)
    settling.looked(sent_s=116.0, answered_s=121.0)

    assert not settling.is_settled


def test_a_look_in_between_neither_settles_nor_starts_over():
    settling = in_doubt()

    settling.looked(sent_s=100.0, answered_s=101.0)
    settling.looked(sent_s=108.0, answered_s=109.0)
    settling.looked(sent_s=116.0, answered_s=117.0)

    assert settling.is_settled


def test_a_new_doubt_starts_over():
    settling = in_doubt()
    settling.looked(sent_s=100.0, answered_s=101.0)

    settling.doubt()
    settling.looked(sent_s=116.0, answered_s=117.0)

    assert not settling.is_settled

    settling.looked(sent_s=132.0, answered_s=133.0)

    assert settling.is_settled


def test_a_doubt_after_everything_was_settled_counts_anew():
    settling = Settling(SETTLE_S, in_doubt=False)
    settling.looked(sent_s=100.0, answered_s=101.0)

    settling.doubt()
    settling.looked(sent_s=200.0, answered_s=201.0)

    assert not settling.is_settled


def test_looks_after_it_was_settled_change_nothing():
    settling = in_doubt()
    settling.looked(sent_s=100.0, answered_s=101.0)
    settling.looked(sent_s=116.0, answered_s=117.0)

    settling.looked(sent_s=118.0, answered_s=119.0)

    assert settling.is_settled


def test_a_settling_time_of_zero_still_takes_two_looks():
    settling = Settling(0.0, in_doubt=True)

    settling.looked(sent_s=100.0, answered_s=101.0)
    settled_by_one = settling.is_settled
    settling.looked(sent_s=101.0, answered_s=102.0)

    assert not settled_by_one
    assert settling.is_settled


def test_the_first_look_is_due_now_and_the_second_when_the_settling_time_has_passed():
    settling = in_doubt()
    before = settling.wait_s(100.0)

    settling.looked(sent_s=100.0, answered_s=101.0)
    after = [settling.wait_s(now_s) for now_s in (101.0, 106.0, 116.0, 200.0)]

    expected = [0.0, 15.0, 10.0, 0.0, 0.0]
    assert expected == [before, *after]


@law
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_settled_means_two_looks_far_enough_apart_since_the_last_doubt(
    events: list[tuple[bool, int, int]],
):
    settling = in_doubt()
    since_doubt: list[tuple[int, int]] = []
    now_s = 0

    for is_doubt, pause_s, answer_s in events:
        now_s += pause_s
        if is_doubt:
            settling.doubt()
            since_doubt.clear()
            continue
        settling.looked(now_s, now_s + answer_s)
        since_doubt.append((now_s, now_s + answer_s))
        now_s += answer_s

    far_enough = any(sent_s - since_doubt[0][1] >= SETTLE_S for sent_s, _ in since_doubt[1:])
    assert far_enough is settling.is_settled


@law
@given(st.integers(0, 1000), st.integers(0, 100))
def test_a_look_sent_when_the_wait_is_over_settles(answered_s: int, later_s: int):
    """Otherwise a run would look in vain for ever."""
    settling = in_doubt()
    settling.looked(answered_s, answered_s)
    now_s = answered_s + later_s

    sent_s = now_s + settling.wait_s(now_s)
    settling.looked(sent_s, sent_s)

    assert settling.is_settled
