"""Each key's batches are its own: in lists, in cleanups, and in how many may wait."""

import asyncio
from pathlib import Path

import pytest

from models.batch import Batch, BatchStatus
from models.caller import Caller
from models.errors import QueueFull, TooManyBatches
from services.housekeeping import CLEANUP_INTERVAL_S, Cleanup
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import play

NORTH, SOUTH = Caller("north", sees_all=False), Caller("south", sees_all=False)
ADMIN = Caller("admin", sees_all=True)
AN_HOUR = 3600.0


async def loaded(harness: Harness, owner: str | None, start: int = 1) -> Batch:
    batch = await harness.upload(csv_file(2, start=start), owner=owner)
    await harness.service.wait(batch)
    return batch


async def stopped(harness: Harness, owner: str | None, start: int) -> Batch:
    await harness.fault("error_before", times=4, name=f"Hospital {start}")
    batch = await loaded(harness, owner, start)
    assert batch.status is BatchStatus.RESUMABLE
    return batch


def test_lists_hold_the_callers_batches_and_an_admins_hold_all(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        mine, other, nobodys = [
            await stopped(harness, owner, start)
            for owner, start in (("north", 10), ("south", 20), (None, 30))
        ]
        service = harness.service

        assert service.resumable(NORTH) == [mine]
        assert service.page(NORTH, (), None, 10).batches == [mine]
        assert service.resumable(SOUTH) == [other]
        assert service.resumable(ADMIN) == [mine, other, nobodys]
        assert service.page(ADMIN, (), None, 10).batches == [nobodys, other, mine]

    play(tmp_path, scenario)


def test_a_page_of_ones_own_is_full_whatever_others_have(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        owners = ("north", "south", "north", "south", "north")
        batches = [await loaded(harness, owner, n * 10) for n, owner in enumerate(owners)]

        first = harness.service.page(NORTH, (), None, 2)
        second = harness.service.page(NORTH, (), first.next, 2)

        assert first.batches == [batches[4], batches[2]]
        assert (second.batches, second.next) == ([batches[0]], None)

    play(tmp_path, scenario)


def test_the_owner_outlives_the_process(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.upload(csv_file(5), owner="north")
        await harness.kill()
        await harness.start()

        [found] = harness.service.page(NORTH, (), None, 10).batches
        assert found.id == batch.id
        await harness.service.wait(found)
        await assert_exactly_once(harness, found)

    play(tmp_path, scenario)


def test_a_cleanup_touches_the_callers_batches_only(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        mine, other = await loaded(harness, "north", 10), await loaded(harness, "south", 20)
        my_stopped = await stopped(harness, "north", 30)
        other_stopped = await stopped(harness, "south", 40)
        known = harness.service._tracker

        cleaned = await harness.service.cleanup(NORTH)
        await asyncio.sleep(CLEANUP_INTERVAL_S / 2)  # less than until the regular one

        assert cleaned == Cleanup(1, 0, 0)
        assert [b.id in known for b in (mine, my_stopped)] == [False, False]
        assert [b.id in known for b in (other, other_stopped)] == [True, True]
        assert await harness.service.cleanup(NORTH) == Cleanup(0, 1, 1)

    play(tmp_path, scenario, progress_cleanup_hours=0, resumable_retention_hours=0)


def test_two_callers_who_ask_at_once_are_both_served(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batches = [await stopped(harness, "north", 30), await stopped(harness, "south", 40)]

        await asyncio.gather(harness.service.cleanup(NORTH), harness.service.cleanup(SOUTH))
        await asyncio.sleep(CLEANUP_INTERVAL_S / 2)

        assert not any(batch.id in harness.service._tracker for batch in batches)
        assert await harness.service.cleanup(NORTH) == Cleanup(0, 1, 1)
        assert await harness.service.cleanup(SOUTH) == Cleanup(0, 1, 1)

    play(tmp_path, scenario, resumable_retention_hours=0)


def test_the_regular_cleanup_is_for_everybody_and_each_is_told_of_their_own(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        for owner, start in (("north", 30), ("south", 40), (None, 50)):
            await stopped(harness, owner, start)

        await asyncio.sleep(2 * CLEANUP_INTERVAL_S)

        assert await harness.service.cleanup(NORTH) == Cleanup(0, 1, 1)
        assert await harness.service.cleanup(ADMIN) == Cleanup(0, 2, 2)

    play(tmp_path, scenario, resumable_retention_hours=0)


def test_who_asks_again_and_again_does_not_keep_the_others_from_their_turn(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped(harness, "south", 40)

        for _ in range(5):
            await harness.service.cleanup(NORTH)
            await asyncio.sleep(CLEANUP_INTERVAL_S / 2)

        assert batch.id not in harness.service._tracker

    play(tmp_path, scenario, resumable_retention_hours=0)


def test_a_key_that_has_enough_batches_waiting_is_refused_and_others_are_not(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        uploads = [harness.upload(csv_file(1, start=n), owner="north") for n in range(1, 8)]

        results = await asyncio.gather(*uploads, return_exceptions=True)

        accepted = [result for result in results if isinstance(result, Batch)]
        assert len(accepted) == 3
        assert sum(isinstance(result, TooManyBatches) for result in results) == 4
        accepted += [await harness.upload(csv_file(1, start=n), owner="south") for n in (50, 51)]
        for batch in accepted:
            await harness.service.wait(batch)
            await assert_exactly_once(harness, batch)
        assert (await loaded(harness, "north", 60)).status is BatchStatus.COMPLETED

    play(tmp_path, scenario, max_batches_per_caller=3)


def test_a_resume_counts_for_the_key_whose_batch_it_is(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped(harness, "north", 10)
        running = await harness.upload(csv_file(5, start=20), owner="north")

        with pytest.raises(TooManyBatches):
            await harness.service.resume(batch.id)

        await harness.service.wait(running)
        await harness.resume(batch)
        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, max_batches_per_caller=1)


def test_without_keys_only_the_common_bound_counts(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        for start in (1, 10, 20):
            await harness.upload(csv_file(1, start=start))

        with pytest.raises(QueueFull):
            await harness.upload(csv_file(1, start=30))

    play(tmp_path, scenario, max_batches_per_caller=1, max_queued_batches=3)


@pytest.mark.parametrize("owner", [None, "north"])
def test_after_the_time_it_is_told_to_wait_there_is_room(tmp_path: Path, owner: str | None):
    """
    Of 40 rows 30 leave at once, and the others when the directory's minute is over.
    """

    async def scenario(harness: Harness) -> None:
        for start in (1, 101):
            await harness.upload(csv_file(20, start=start), owner=owner)
        await asyncio.sleep(1)

        with pytest.raises((QueueFull, TooManyBatches)) as refused:
            await harness.upload(csv_file(1, start=201), owner=owner)

        assert 1 <= refused.value.retry_after_seconds <= 70
        await asyncio.sleep(refused.value.retry_after_seconds)
        batch = await harness.upload(csv_file(1, start=201), owner=owner)
        await harness.service.wait(batch)
        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, max_batches_per_caller=2, max_queued_batches=2 if owner is None else 9)
