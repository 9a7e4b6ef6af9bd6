"""Steps of the wall clock harm nothing: every interval is measured on the monotonic clock.

Times that survive a restart follow the rule in `services/clock.py`.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from models.batch import BatchStatus
from models.caller import ANYBODY
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import now_s, play

STEPS = [timedelta(days=-400), timedelta(seconds=-30), timedelta(seconds=30), timedelta(days=400)]
step = pytest.mark.parametrize("step", STEPS, ids=str)


async def refused(harness: Harness) -> int:
    stats = (await harness.control.get("/_directory/stats")).json()
    return sum(stats["refused"].values())


@step
def test_a_step_while_rows_are_paced_and_settled_changes_nothing(tmp_path: Path, step: timedelta):
    async def scenario(harness: Harness) -> None:
        await harness.fault("drop_after", times=3)
        started_s = now_s()
        batches = [await harness.submit(csv_file(20, start=n)) for n in (1, 101)]
        for _ in range(8):
            await asyncio.sleep(4)
            harness.clock_offset += step
        for batch in batches:
            await harness.service.wait(batch)

            await assert_exactly_once(harness, batch)
        assert await refused(harness) == 0
        # A window for the last ten rows, a create; the three rows were settled meanwhile.
        assert now_s() - started_s == pytest.approx(61 + 5, abs=0.1)
        assert batches[0].seconds == pytest.approx(5 + 15, abs=0.1)

    play(tmp_path, scenario)


@step
def test_a_step_between_two_processes_costs_a_window_at_the_most_and_no_row(
    tmp_path: Path, step: timedelta
):
    async def scenario(harness: Harness) -> None:
        first = await harness.submit(csv_file(20))
        await asyncio.sleep(3)
        await harness.kill()
        harness.clock_offset += step
        await harness.start()
        started_s = now_s()

        second = await harness.load(csv_file(20, start=101))

        assert now_s() - started_s <= 61 + 10 + 5
        assert step > timedelta() or await refused(harness) == 0
        for batch in (harness.service.get(first.id), second):
            await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


@step
def test_a_step_forgets_no_completed_batch_early_and_keeps_none_for_ever(
    tmp_path: Path, step: timedelta
):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))
        await asyncio.sleep(3600)
        harness.clock_offset += step

        early = await harness.service.cleanup(ANYBODY)
        await asyncio.sleep(23.1 * 3600)
        await harness.service.cleanup(ANYBODY)

        assert early.forgotten == 0
        assert batch.id not in harness.service._tracker

    play(tmp_path, scenario)


def test_a_completed_batch_of_the_future_is_kept_as_one_of_now(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))
        await harness.stop()
        harness.clock_offset -= timedelta(days=400)
        await harness.start()

        await asyncio.sleep(23 * 3600)
        assert harness.service.get(batch.id).status is BatchStatus.COMPLETED
        await asyncio.sleep(2 * 3600)
        assert batch.id not in harness.service._tracker

    play(tmp_path, scenario)


def test_the_age_of_a_completed_batch_goes_on_over_a_restart(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))
        await asyncio.sleep(23 * 3600)
        await harness.stop()
        await harness.start()

        assert harness.service.get(batch.id).status is BatchStatus.COMPLETED
        await asyncio.sleep(1.2 * 3600)
        assert batch.id not in harness.service._tracker

    play(tmp_path, scenario)
