"""When requests leave: the arithmetic by its laws, the lane on a virtual clock.

Times in the lane's tests are seconds since its start. Refusals take a quarter of a second.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.outcome import Created, CreateOutcome, NotSent, RateLimited, Unknown
from services.pacing import Lane, Pace, TurnWithdrawn, next_turn, turn_after, turns_left
from tests.unit.strategies import law
from tests.virtual_time import run_virtual

START_S = 1000.0  # where the virtual clock begins
A, B, C = (UUID(int=number) for number in (1, 2, 3))
UNPACED = Pace(0, 60.0)
CREATE_S = 5.0
REFUSAL_S = 0.25


def sends_of(arrivals_s: Sequence[int], pace: Pace) -> list[float]:
    """Send each as soon as *pace* allows, as a lane without permits would."""
    sent_s: list[float] = []
    for arrival_s in arrivals_s:
        now_s = max(arrival_s, sent_s[-1] if sent_s else arrival_s)
        sent_s.append(now_s + next_turn(sent_s, now_s, pace))
    return sent_s


arrivals = st.lists(st.integers(0, 40), max_size=60).map(
    lambda pauses: [sum(pauses[: place + 1]) for place in range(len(pauses))]
)
paces = st.builds(Pace, st.integers(1, 8), st.integers(1, 60).map(float))


class TestNextTurn:
    def test_a_burst_of_the_limit_leaves_at_once_and_the_next_waits_for_the_period(self):
        sent_s = sends_of([0] * 7, Pace(3, 60.0))

        expected = [0, 0, 0, 60, 60, 60, 120]
        assert expected == sent_s

    def test_the_window_slides_with_each_send(self):
        pace = Pace(2, 60.0)

        waits_s = [next_turn([0.0, 40.0], now_s, pace) for now_s in (40.0, 59.0, 60.0, 61.0)]

        expected = [20.0, 1.0, 0.0, 0.0]
        assert expected == waits_s

    def test_sends_before_the_last_few_do_not_count(self):
        assert not next_turn([0.0, 0.0, 0.0, 40.0], 60.0, Pace(2, 60.0))

    def test_a_limit_of_zero_means_no_pacing(self):
        assert not next_turn([0.0] * 1000, 0.0, Pace(0, 60.0))

    @law
    @given(arrivals, paces, st.integers(0, 200))
    def test_as_many_as_are_left_may_leave_now_and_no_more(
        self, arrivals_s: list[int], pace: Pace, later_s: int
    ):
        sent_s = sends_of(arrivals_s, pace)
        now_s = (sent_s[-1] if sent_s else 0.0) + later_s

        left = int(turns_left(sent_s, now_s, pace))

        for _ in range(left):
            assert next_turn(sent_s, now_s, pace) == 0
            sent_s.append(now_s)
        assert next_turn(sent_s, now_s, pace) > 0

    @law
    @given(arrivals, paces)
    def test_no_window_of_the_period_holds_more_than_the_limit(
        self, arrivals_s: list[int], pace: Pace
    ):
        sent_s = sends_of(arrivals_s, pace)

        spans_s = [b - a for a, b in zip(sent_s, sent_s[pace.limit :], strict=False)]
        assert all(span_s >= pace.period_s for span_s in spans_s)

    @law
    @given(arrivals, paces)
    def test_a_send_that_left_any_earlier_would_break_the_limit(
        self, arrivals_s: list[int], pace: Pace
    ):
        sent_s = sends_of(arrivals_s, pace)

        for place, (arrival_s, left_s) in enumerate(zip(arrivals_s, sent_s, strict=True)):
            earliest_s = max([arrival_s, *sent_s[:place][-1:]])
            in_window = [s for s in sent_s[:place] if s > left_s - 1 - pace.period_s]

            assert left_s == earliest_s or len(in_window) >= pace.limit

    @law
    @given(arrivals, paces)
    def test_a_directory_that_counts_in_fixed_windows_refuses_none(
        self, arrivals_s: list[int], pace: Pace
    ):
        """Its window starts with the first request after the last window ended."""
        counted: Counter[float] = Counter()
        opened_s = -pace.period_s

        for sent_s in sends_of(arrivals_s, pace):
            if sent_s >= opened_s + pace.period_s:
                opened_s = sent_s
            counted[opened_s] += 1

        assert all(count <= pace.limit for count in counted.values())


@dataclass
class Gate:
    """Stands in for the directory behind a lane: refuses with 429 until it opens.

    Attributes:
        opens_s: Until when it refuses; one that started earlier is refused.
        leaves: When each request left, and of which batch.
        most: Most requests that were under way at once.
    """

    opens_s: float = 0.0
    leaves: list[tuple[float, UUID]] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    def exchange(
        self,
        batch_id: UUID,
        *,
        seconds: float = CREATE_S,
        outcome: CreateOutcome | None = None,
    ) -> Callable[[], Awaitable[CreateOutcome]]:
        async def exchange() -> CreateOutcome:
            self.leaves.append((elapsed_s(), batch_id))
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            refused = elapsed_s() < self.opens_s
            try:
                await asyncio.sleep(REFUSAL_S if refused else seconds)
            finally:
                self.under_way -= 1
            return RateLimited() if refused else outcome or Created(len(self.leaves))

        return exchange

    @property
    def times_s(self) -> list[float]:
        return [left_s for left_s, _ in self.leaves]

    @property
    def order(self) -> list[UUID]:
        return [batch_id for _, batch_id in self.leaves]


def elapsed_s() -> float:
    return asyncio.get_running_loop().time() - START_S


def scripted(*script: tuple[float, CreateOutcome]) -> Callable[[], Awaitable[CreateOutcome]]:
    """An exchange that takes so long and ends so, one after the other."""
    steps = iter(script)

    async def exchange() -> CreateOutcome:
        seconds, outcome = next(steps)
        await asyncio.sleep(seconds)
        return outcome

    return exchange


def start(
    lane: Lane, gate: Gate, batch_id: UUID, count: int, *, seconds: float = CREATE_S
) -> list[asyncio.Task[CreateOutcome]]:
    return [
        asyncio.create_task(lane.send(batch_id, gate.exchange(batch_id, seconds=seconds)))
        for _ in range(count)
    ]


async def all_of(*tasks: asyncio.Task[CreateOutcome]) -> list[CreateOutcome | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


def virtually(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test on the virtual clock."""

    def run(self: object) -> None:
        run_virtual(test(self))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class TestPermits:
    @virtually
    async def test_no_more_requests_are_under_way_than_there_are_permits(self):
        lane, gate = Lane(UNPACED, 3), Gate()

        await all_of(*start(lane, gate, A, 7))

        expected = [0.0] * 3 + [5.0] * 3 + [10.0]
        assert expected == gate.times_s
        assert gate.most == 3

    @virtually
    async def test_without_pacing_only_permits_hold_requests_back(self):
        lane, gate = Lane(UNPACED, 1000), Gate()

        await all_of(*start(lane, gate, A, 1000))

        assert {0.0} == set(gate.times_s)

    @virtually
    async def test_an_outcome_goes_to_the_one_who_sent(self):
        lane = Lane(UNPACED, 2)

        sends = (lane.send(A, scripted((5.0 - n, Created(n)))) for n in range(4))
        outcomes = await asyncio.gather(*sends)

        assert [Created(n) for n in range(4)] == outcomes

    @virtually
    async def test_an_exchange_that_raises_gives_its_permit_back(self):
        lane, gate = Lane(UNPACED, 1), Gate()

        async def broken() -> CreateOutcome:
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            await lane.send(A, broken)
        await lane.send(A, gate.exchange(A))

        expected = [0.0]
        assert expected == gate.times_s

    @virtually
    async def test_a_sender_cancelled_while_under_way_gives_its_permit_back(self):
        lane, gate = Lane(UNPACED, 1), Gate()
        first, second = start(lane, gate, A, 2)

        await asyncio.sleep(1.0)
        first.cancel()
        await all_of(first, second)

        expected = [0.0, 1.0]
        assert expected == gate.times_s

    @virtually
    async def test_a_cancelled_waiter_is_not_sent_and_holds_nobody_up(self):
        lane, gate = Lane(UNPACED, 1), Gate()
        first, second, third = start(lane, gate, A, 3)

        await asyncio.sleep(1.0)
        second.cancel()
        await all_of(first, second, third)

        expected = [0.0, 5.0]
        assert expected == gate.times_s
        assert second.cancelled()

    @virtually
    async def test_a_waiter_cancelled_at_the_moment_of_its_turn_gives_its_permit_back(self):
        """Its turn was granted, but it never got to send."""
        lane, gate = Lane(UNPACED, 1), Gate()

        async def sends_then_cancels_the_next() -> None:
            await lane.send(A, gate.exchange(A))
            second.cancel()

        first = asyncio.create_task(sends_then_cancels_the_next())
        second, third = start(lane, gate, B, 1) + start(lane, gate, C, 1)
        await asyncio.gather(first, second, third, return_exceptions=True)

        expected = [(0.0, A), (5.0, C)]
        assert expected == gate.leaves
        assert second.cancelled()


class TestPacing:
    @virtually
    async def test_a_burst_of_the_limit_leaves_at_once_and_the_rest_with_the_window(self):
        lane, gate = Lane(Pace(30, 61.0), 40), Gate()

        await all_of(*start(lane, gate, A, 70))

        expected = [0.0] * 30 + [61.0] * 30 + [122.0] * 10
        assert expected == gate.times_s

    @virtually
    async def test_a_permit_is_taken_before_a_turn(self):
        """Turns taken while queueing for a permit would go stale and leave in one bunch."""
        lane, gate = Lane(Pace(2, 60.0), 1), Gate()

        await all_of(*start(lane, gate, A, 5, seconds=100.0))

        expected = [0.0, 100.0, 200.0, 300.0, 400.0]
        assert expected == gate.times_s

    @virtually
    async def test_sends_of_an_earlier_process_count(self):
        """The directory still counts them, and nothing beyond them is waited for."""
        lane, gate = Lane(Pace(3, 60.0), 5), Gate()
        lane.remember([10.0, 59.0, 61.0])

        await all_of(*start(lane, gate, A, 4))

        expected = [0.0, 1.0, 50.0, 60.0]
        assert expected == gate.times_s

    @virtually
    async def test_every_send_is_noted_before_it_leaves(self):
        noted_s: list[float] = []
        lane, gate = Lane(Pace(2, 60.0), 5, lambda: noted_s.append(elapsed_s())), Gate()

        await all_of(*start(lane, gate, A, 3))

        assert gate.times_s == noted_s

    @settings(law, max_examples=40)
    @given(
        st.lists(
            st.tuples(st.integers(0, 30), st.integers(0, 12), st.sampled_from([A, B, C])),
            min_size=1,
            max_size=30,
        ),
        paces,
        st.integers(1, 6),
    )
    def test_whatever_arrives_is_sent_within_the_limit_and_the_permits(
        self, requests: list[tuple[int, int, UUID]], pace: Pace, permits: int
    ):
        gate = Gate()

        async def arrive_and_send() -> None:
            lane = Lane(pace, permits)
            tasks = []
            for pause_s, seconds, batch_id in requests:
                await asyncio.sleep(pause_s)
                tasks += start(lane, gate, batch_id, 1, seconds=seconds)
            await asyncio.gather(*tasks)

        run_virtual(arrive_and_send())
        spans_s = [b - a for a, b in zip(gate.times_s, gate.times_s[pace.limit :], strict=False)]

        assert len(requests) == len(gate.leaves)
        assert permits >= gate.most
        assert all(span_s >= pace.period_s for span_s in spans_s)


class TestBatchesTakeTurns:
    @virtually
    async def test_a_batch_of_2_behind_one_of_100_gets_its_turn_second(self):
        """A small file must not wait for a large one."""
        lane, gate = Lane(UNPACED, 1), Gate()
        first = start(lane, gate, C, 1)

        await all_of(*first, *start(lane, gate, A, 100), *start(lane, gate, B, 2))

        expected = [C, A, B, A, B, *[A] * 98]
        assert expected == gate.order

    @virtually
    async def test_a_batch_that_comes_later_takes_part_from_then_on(self):
        lane, gate = Lane(UNPACED, 1), Gate()
        large = start(lane, gate, A, 6)

        await asyncio.sleep(CREATE_S + 1.0)
        small = start(lane, gate, B, 2)
        await all_of(*large, *small)

        expected = [A, A, A, B, A, B, A, A]
        assert expected == gate.order

    @virtually
    async def test_requests_of_one_batch_keep_their_order(self):
        lane, order = Lane(UNPACED, 1), []

        async def exchange(number: int) -> CreateOutcome:
            order.append(number)
            return Created(number)

        async def send(number: int) -> None:
            await lane.send(A, lambda: exchange(number))

        await asyncio.gather(*(send(number) for number in range(5)))

        assert list(range(5)) == order


class TestRefused:
    @virtually
    async def test_one_at_a_time_probes_with_growing_pauses_and_all_go_on_once_it_passes(self):
        lane, gate = Lane(UNPACED, 5), Gate(opens_s=40.0)

        outcomes = await all_of(*start(lane, gate, A, 5))

        wave, probes, rest = gate.times_s[:5], gate.times_s[5:-4], gate.times_s[-4:]
        refused_s = [0.0, *probes[:-1]]
        pauses_s = [b - a - REFUSAL_S for a, b in zip(refused_s, probes, strict=True)]
        expected = [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
        assert {0.0} == set(wave)
        assert expected == pauses_s
        assert {probes[-1] + CREATE_S} == set(rest)
        assert all(isinstance(outcome, Created) for outcome in outcomes)

    @virtually
    async def test_nobody_who_comes_later_passes_the_probe(self):
        lane, gate = Lane(UNPACED, 5), Gate(opens_s=1.0)
        first = start(lane, gate, A, 1)

        await asyncio.sleep(2.0)
        second = start(lane, gate, B, 1)
        await all_of(*first, *second)

        probed_s = REFUSAL_S + 1.0
        expected = [(0.0, A), (probed_s, A), (probed_s + CREATE_S, B)]
        assert expected == gate.leaves

    @virtually
    async def test_after_a_pass_the_pauses_start_small_again(self):
        lane, gate = Lane(UNPACED, 1), Gate(opens_s=5.0)
        await all_of(*start(lane, gate, A, 1))
        gate.leaves.clear()
        begun_s = elapsed_s()

        gate.opens_s = begun_s + 2.0
        await all_of(*start(lane, gate, A, 1))

        expected = [begun_s, begun_s + 1.25, begun_s + 3.5]
        assert expected == gate.times_s

    @virtually
    async def test_refused_requests_do_not_count_in_the_window(self):
        """The directory did not count them either, and waiting for them would waste a window."""
        lane, gate = Lane(Pace(2, 60.0), 5), Gate()
        refused_once = scripted((REFUSAL_S, RateLimited()), (CREATE_S, Created(1)))
        sent_again = asyncio.create_task(lane.send(B, refused_once))
        first = start(lane, gate, A, 1)

        await sent_again
        passed_s = elapsed_s()
        await all_of(*first, *start(lane, gate, A, 1))

        # The probe finds room beside A's first; the two together leave none until A's is 60 s old.
        expected = (REFUSAL_S + 1.0 + CREATE_S, [0.0, 60.0])
        assert expected == (passed_s, gate.times_s)

    @virtually
    async def test_a_request_sent_before_the_refusal_does_not_open_the_lane(self):
        """It says nothing about the time after: the window was filled when it left already."""
        lane, gate = Lane(UNPACED, 2), Gate()
        slow = asyncio.create_task(lane.send(A, scripted((CREATE_S, Created(1)))))
        await asyncio.sleep(1.0)
        gate.opens_s = 6.0

        probing = start(lane, gate, B, 2)
        await all_of(slow, *probing)

        # Refused at 1.25, 2.5, 4.75; the slow one passes at 5.0; the next probe is due at 8.75.
        expected = [1.0, 2.25, 4.5, 8.75, 13.75]
        assert expected == gate.times_s

    @virtually
    async def test_a_request_sent_before_the_refusal_and_refused_later_does_not_slow_the_probes(
        self,
    ):
        lane, gate = Lane(UNPACED, 2), Gate(opens_s=1.0)
        late = scripted((0.75, RateLimited()), (CREATE_S, Created(1)))

        await all_of(*start(lane, gate, A, 1), asyncio.create_task(lane.send(B, late)))

        expected = [0.0, 1.25]
        assert expected == gate.times_s

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            # The unlucky one probes at 1.25 until 1.75; then B's two probe in turn ...
            (NotSent("no connection"), [0.0, 0.0, 1.75, 4.0, 9.0]),
            # ... or both go at once, since it was not refused; they are, and probing begins anew.
            (Unknown("dropped"), [0.0, 0.0, 1.75, 1.75, 3.0, 5.25, 10.25]),
        ],
    )
    def test_a_probe_that_was_sent_and_not_refused_opens_the_lane(
        self, outcome: CreateOutcome, expected: list[float]
    ):
        async def test() -> list[float]:
            lane, gate = Lane(UNPACED, 5), Gate(opens_s=4.0)
            unlucky = scripted((0.25, RateLimited()), (0.5, outcome))
            first = asyncio.create_task(lane.send(A, unlucky))
            await all_of(first, *start(lane, gate, B, 2))
            return gate.times_s

        assert expected == run_virtual(test())

    @virtually
    async def test_a_cancelled_probe_lets_the_next_one_probe(self):
        lane, gate = Lane(UNPACED, 5), Gate(opens_s=1.0)
        first, second = start(lane, gate, A, 2)

        await asyncio.sleep(2.0)
        first.cancel()
        await all_of(first, second)

        expected = [0.0, 0.0, 1.25, 2.0]
        assert expected == gate.times_s

    @virtually
    async def test_a_wave_refused_within_one_tick_of_the_clock_is_one_refusal(self):
        """Loops may keep their time in whole milliseconds, and a near directory refuses in less."""
        lane, times_s = Lane(UNPACED, 5), []

        async def refused_at_once() -> CreateOutcome:
            times_s.append(elapsed_s())
            await asyncio.sleep(0)
            return RateLimited() if elapsed_s() < 1.0 else Created(1)

        await asyncio.gather(*(lane.send(A, refused_at_once) for _ in range(5)))

        expected = [0.0] * 5 + [1.0] * 5
        assert expected == times_s


class TestGivingUp:
    @virtually
    async def test_five_windows_without_a_pass_are_enough(self):
        lane, gate = Lane(Pace(30, 10.0), 1), Gate(opens_s=10_000.0)

        outcome = await lane.send(A, gate.exchange(A))

        # Refused at 0.25; given up by the first refusal at 50.25 or later.
        expected = [0.0, 1.25, 3.5, 7.75, 16.0, 26.25, 36.5, 46.75, 57.0]
        assert RateLimited() == outcome
        assert expected == gate.times_s

    @virtually
    async def test_everybody_who_waits_is_told(self):
        lane, gate = Lane(Pace(30, 10.0), 3), Gate(opens_s=10_000.0)

        outcomes = await all_of(*start(lane, gate, A, 2), *start(lane, gate, B, 1))

        assert [RateLimited()] * 3 == outcomes

    @virtually
    async def test_a_pass_of_any_batch_in_between_starts_the_count_anew(self):
        lane, gate = Lane(Pace(30, 10.0), 1), Gate(opens_s=10_000.0)
        patient = start(lane, gate, A, 1)

        await asyncio.sleep(30.0)
        lucky = asyncio.create_task(lane.send(B, scripted((1.0, Created(1)))))
        await lucky
        passed_s = elapsed_s()
        await all_of(*patient)

        # Without it, A would have given up at 57.25; five windows after it are over at 97.75.
        expected = (47.75, 105.0)
        assert expected == (passed_s, elapsed_s())

    @virtually
    async def test_the_lane_serves_others_after_somebody_gave_up(self):
        lane, gate = Lane(Pace(30, 10.0), 1), Gate(opens_s=60.0)
        await lane.send(A, gate.exchange(A))

        outcome = await lane.send(B, gate.exchange(B))

        assert isinstance(outcome, Created)


class TestWithdrawing:
    @virtually
    async def test_waiters_of_the_batch_go_back_and_all_others_go_on(self):
        lane, gate = Lane(UNPACED, 1), Gate()
        under_way, *waiting = start(lane, gate, A, 3)
        others = start(lane, gate, B, 2)
        await asyncio.sleep(1.0)

        lane.withdraw(A)
        withdrawn = await all_of(*waiting)
        withdrawn_s = elapsed_s()
        outcomes = await all_of(under_way, *others)

        expected = (1.0, [A, B, B])
        assert [TurnWithdrawn, TurnWithdrawn] == [type(outcome) for outcome in withdrawn]
        assert all(isinstance(outcome, Created) for outcome in outcomes)
        assert expected == (withdrawn_s, gate.order)

    @virtually
    async def test_a_withdrawn_batch_may_send_again_later(self):
        """It is resumed, and what is refused then is none of the withdrawal's business."""
        lane, gate = Lane(UNPACED, 1), Gate(opens_s=1.0)
        lane.withdraw(A)

        assert isinstance(await lane.send(A, gate.exchange(A)), Created)

    @virtually
    async def test_withdrawing_those_who_wait_for_the_window_leaves_it_to_the_others(self):
        lane, gate = Lane(Pace(1, 60.0), 5), Gate()
        sent = start(lane, gate, C, 1)
        waiting = start(lane, gate, A, 2)
        others = start(lane, gate, B, 1)
        await asyncio.sleep(1.0)

        lane.withdraw(A)
        await all_of(*sent, *waiting, *others)

        expected = [(0.0, C), (60.0, B)]
        assert expected == gate.leaves

    @virtually
    async def test_a_closed_lane_sends_back_all_who_wait_or_come_and_lets_the_others_end(self):
        lane, gate = Lane(UNPACED, 1), Gate()
        under_way, *waiting = start(lane, gate, A, 2) + start(lane, gate, B, 1)
        await asyncio.sleep(1.0)

        lane.close()
        withdrawn = await all_of(*waiting, *start(lane, gate, C, 1))
        outcome = await under_way

        expected = ([TurnWithdrawn] * 3, [A])
        assert isinstance(outcome, Created)
        assert expected == ([type(back) for back in withdrawn], gate.order)

    @virtually
    async def test_a_request_refused_after_the_lane_closed_goes_back(self):
        """429 proves that it was not applied, so it need not be looked up either."""
        lane, gate = Lane(UNPACED, 1), Gate(opens_s=10.0)
        (refused,) = start(lane, gate, A, 1)
        await asyncio.sleep(REFUSAL_S / 2)

        lane.close()

        with pytest.raises(TurnWithdrawn):
            await refused

    @virtually
    async def test_a_request_refused_after_its_batch_was_withdrawn_goes_back(self):
        """A batch that is stopping sends nothing more, however long its probe would take."""
        lane, gate = Lane(UNPACED, 1), Gate(opens_s=10.0)
        (refused,) = start(lane, gate, A, 1)
        await asyncio.sleep(REFUSAL_S / 2)

        lane.withdraw(A)

        with pytest.raises(TurnWithdrawn):
            await refused

    @virtually
    async def test_withdrawing_and_cancelling_at_once_harms_nobody(self):
        lane, gate = Lane(UNPACED, 1), Gate()
        first, second, third = start(lane, gate, A, 2) + start(lane, gate, B, 1)
        await asyncio.sleep(1.0)

        second.cancel()
        lane.withdraw(A)
        await all_of(first, second, third)

        expected = [(0.0, A), (5.0, B)]
        assert expected == gate.leaves


class TestTurnAfter:
    """The law: it is what asking `next_turn` for one request after the other comes to."""

    @given(
        ages=st.lists(st.floats(0, 100), max_size=12),
        requests=st.integers(1, 40),
        limit=st.integers(0, 6),
    )
    def test_it_is_the_last_turn_of_so_many_requests(
        self, ages: list[float], requests: int, limit: int
    ):
        pace, now_s = Pace(limit, 10.0), 1000.0
        sent_s = sorted(now_s - age for age in ages)
        times = list(sent_s)
        for _ in range(requests):
            last_s = times[-1] if len(times) > len(sent_s) else now_s
            times.append(last_s + next_turn(times, last_s, pace))

        assert turn_after(requests, sent_s, now_s, pace) == pytest.approx(times[-1] - now_s)
