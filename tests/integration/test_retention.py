"""Stopped batches are abandoned when they are old, in the background; what fails is kept."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from models.batch import Batch, BatchStatus
from models.caller import ANYBODY
from models.errors import BatchConflict, ShuttingDown
from services.housekeeping import CLEANUP_INTERVAL_S, Cleanup
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_batch_service import stopped_batch
from tests.integration.test_exactly_once import now_s, play

AN_HOUR = 3600.0


def is_known(harness: Harness, batch: Batch) -> bool:
    return batch.id in harness.service._tracker


def playing(folder: Path, scenario: Any, **settings: Any) -> None:
    play(folder, scenario, resumable_retention_hours=1, **settings)


async def failed_batch(harness: Harness) -> Batch:
    await harness.fault("reject", times=1, name="Hospital 52")
    batch = await harness.load(csv_file(3, start=51))
    assert batch.status is BatchStatus.FAILED
    return batch


async def activate_behind_its_back(harness: Harness, batch: Batch) -> None:
    answer = await harness.control.patch(f"/hospitals/batch/{batch.id}/activate")
    answer.raise_for_status()


def test_resumable_and_failed_batches_are_abandoned_with_their_hospitals(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        completed = await harness.load(csv_file(2, start=80))
        stopped = [await stopped_batch(harness), await failed_batch(harness)]

        await asyncio.sleep(AN_HOUR - 2 * CLEANUP_INTERVAL_S)
        assert all(is_known(harness, batch) for batch in stopped)
        await asyncio.sleep(4 * CLEANUP_INTERVAL_S)

        assert not any(is_known(harness, batch) for batch in stopped)
        assert is_known(harness, completed)
        assert len(await harness.hospitals()) == 2
        await assert_exactly_once(harness, completed)

    playing(tmp_path, scenario)


def test_a_cleanup_that_is_asked_for_does_it_too_and_the_next_one_counts_it(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await stopped_batch(harness, rows=5)
        await asyncio.sleep(AN_HOUR - 30)
        assert await harness.service.cleanup(ANYBODY) == Cleanup(0, 0, 0)
        await asyncio.sleep(60)
        await harness.service.cleanup(ANYBODY)
        await asyncio.sleep(60)

        assert await harness.service.cleanup(ANYBODY) == Cleanup(0, 1, 4)
        assert await harness.service.cleanup(ANYBODY) == Cleanup(0, 0, 0)

    playing(tmp_path, scenario)


def test_asking_does_not_wait_for_the_directory(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await stopped_batch(harness)
        await asyncio.sleep(AN_HOUR)
        harness.wire.up = False
        asked_s = now_s()

        await harness.service.cleanup(ANYBODY)

        assert now_s() == asked_s

    playing(tmp_path, scenario)


def test_age_counts_from_the_last_change_and_over_a_restart(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await asyncio.sleep(AN_HOUR - 700)
        await harness.kill()
        await harness.start()

        assert is_known(harness, batch)
        await asyncio.sleep(700 + CLEANUP_INTERVAL_S)

        assert not is_known(harness, batch)
        assert await harness.hospitals() == []

    playing(tmp_path, scenario)


def test_a_batch_that_was_resumed_meanwhile_is_left_alone(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await asyncio.sleep(AN_HOUR - 700)
        await harness.resume(batch)

        await asyncio.sleep(2 * AN_HOUR)

        await assert_exactly_once(harness, batch)

    playing(tmp_path, scenario)


def test_one_whose_directory_is_away_is_kept_and_abandoned_later(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        harness.wire.up = False
        await asyncio.sleep(2 * AN_HOUR)
        assert harness.service.get(batch.id).status is BatchStatus.RESUMABLE

        harness.wire.up = True
        await asyncio.sleep(2 * CLEANUP_INTERVAL_S)

        assert not is_known(harness, batch)
        assert await harness.hospitals() == []

    playing(tmp_path, scenario)


def test_one_with_an_active_hospital_is_kept(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await activate_behind_its_back(harness, batch)

        await asyncio.sleep(2 * AN_HOUR)

        assert batch.status is BatchStatus.RESUMABLE
        assert len(await harness.hospitals()) == 4
        await assert_exactly_once(harness, await harness.resume(batch))

    playing(tmp_path, scenario)


def test_one_of_another_directory_is_kept(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.stop()
        await harness.start(hospital_api_base_url="http://other.test")

        await asyncio.sleep(2 * AN_HOUR)

        assert is_known(harness, batch)
        assert len(await harness.hospitals()) == 4

    playing(tmp_path, scenario)


def test_many_old_batches_leave_room_for_uploads(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        stopped = [await stopped_batch(harness) for _ in range(3)]
        await harness.fault("slow", endpoint="list_batch", seconds=20, times=None)
        await asyncio.sleep(AN_HOUR)
        await harness.service.cleanup(ANYBODY)
        await asyncio.sleep(1)

        batch = await harness.load(csv_file(2, start=80))

        await assert_exactly_once(harness, batch)
        await asyncio.sleep(CLEANUP_INTERVAL_S)
        assert not any(is_known(harness, one) for one in stopped)

    playing(tmp_path, scenario, max_queued_batches=2)


def test_while_one_is_being_abandoned_a_resume_is_refused(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await asyncio.sleep(AN_HOUR)
        await harness.fault("slow", endpoint="list_batch", seconds=20)
        await harness.service.cleanup(ANYBODY)
        await asyncio.sleep(10)

        with pytest.raises(BatchConflict):
            await harness.service.resume(batch.id)

    playing(tmp_path, scenario)


def test_nothing_is_begun_once_the_service_stops(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await asyncio.sleep(AN_HOUR)
        harness.service.stop()

        with pytest.raises(ShuttingDown):
            await harness.service.cleanup(ANYBODY)
        await asyncio.sleep(2 * AN_HOUR)

        assert batch.status is BatchStatus.RESUMABLE
        assert len(await harness.hospitals()) == 4

    playing(tmp_path, scenario)


async def retention_is_at_another(harness: Harness) -> None:
    """Have an old batch be abandoned, which takes a while since it has to settle first."""
    batch = harness.service.get(next(iter(harness.service._tracker._batches)))
    await harness.service.cleanup(ANYBODY)
    await asyncio.sleep(1)
    assert batch.id in harness.service._claims


async def unsettled_batch(harness: Harness) -> None:
    await harness.fault("late", seconds=12, name="Hospital 3")
    batch = await harness.submit(csv_file(5))
    await asyncio.sleep(7)
    await harness.service.cancel(batch.id)
    await harness.service.wait(batch)
    assert batch.unsettled


def test_one_that_is_corrected_while_another_is_abandoned_is_kept(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await unsettled_batch(harness)
        batch = await failed_batch(harness)
        await asyncio.sleep(AN_HOUR + 1)
        await retention_is_at_another(harness)

        await harness.service.correct(batch.id, 2, {"name": "Mended Hospital"})
        await asyncio.sleep(60)

        assert is_known(harness, batch)
        await assert_exactly_once(harness, await harness.resume(batch))

    playing(tmp_path, scenario)


def test_one_that_is_resumed_and_stopped_again_meanwhile_is_kept(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await unsettled_batch(harness)
        batch = await stopped_batch(harness)
        await asyncio.sleep(AN_HOUR + 1)
        await retention_is_at_another(harness)

        await harness.service.resume(batch.id)
        await harness.service.cancel(batch.id)
        await harness.service.wait(batch)
        await asyncio.sleep(60)

        assert is_known(harness, batch)

    playing(tmp_path, scenario)


def test_a_directory_that_is_away_is_waited_for_once_and_not_for_each_batch(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        for _ in range(5):
            await stopped_batch(harness)
        await asyncio.sleep(AN_HOUR - 600)
        harness.wire.up = False
        await asyncio.sleep(600)
        await harness.service.cleanup(ANYBODY)

        await asyncio.sleep(95)

        assert len(harness.service._claims) == 0

    playing(tmp_path, scenario)
