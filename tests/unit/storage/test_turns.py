"""The directory's budgets, which processes share."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.pacing import Pace
from services.storage.database import Database
from services.storage.turns import Turns
from tests.shared_harness import EMPTY
from tests.unit.storage.samples import (
    DIRECTORY,
    pass_time,
)
from tests.virtual_time import run_virtual


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
