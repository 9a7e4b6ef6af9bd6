"""A directory batch with an active row takes nothing more: what lacks goes into a further one.

The directory activates a batch once. If it fails half-way, or loses a row after the activation,
the missing rows are created in a directory batch of their own, whose id follows from the batch's.
"""

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from models.batch import Batch, BatchStatus
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import play
from tests.integration.test_interruptions import recovered

PARTIAL = {"kind": "partial", "endpoint": "activate"}


async def held_in_each(harness: Harness, batch: Batch) -> list[int]:
    """Return how many hospitals each of the batch's directory batches has."""
    held = Counter(h["creation_batch_id"] for h in await harness.hospitals())
    return [held[str(one)] for one in batch.opened_directory_batch_ids]


async def activate_one(harness: Harness, batch: Batch) -> None:
    """Have one of the batch's hospitals become active although others lack."""
    [*_, hospital] = await harness.hospitals(batch.id)
    await harness.control.delete(f"/hospitals/{hospital['id']}")
    fields = ("name", "address", "phone", "creation_batch_id")
    active = {name: hospital[name] for name in fields} | {"active": True}
    answer = await harness.control.post("/_directory/hospitals", json=active)
    answer.raise_for_status()


@pytest.mark.parametrize(("rows", "expected"), [(4, [2, 2]), (20, [10, 10])])
def test_what_a_partial_activation_left_out_is_created_anew_and_activated(
    tmp_path: Path, rows: int, expected: list[int]
):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL)

        batch = await harness.load(csv_file(rows))

        await assert_exactly_once(harness, batch)
        assert await held_in_each(harness, batch) == expected
        assert batch.resume_count == 0

    play(tmp_path, scenario)


def test_partial_activations_in_a_row_end_exactly_once(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL, times=2)

        batch = await harness.load(csv_file(4))

        await assert_exactly_once(harness, batch)
        assert await held_in_each(harness, batch) == [2, 1, 1]

    play(tmp_path, scenario)


def test_partial_activations_without_end_stop_resumable_and_a_resume_finishes(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL, times=None)

        batch = await harness.load(csv_file(20))

        assert batch.status is BatchStatus.RESUMABLE
        assert "Not created: row" in (batch.failure_reason or "")
        await harness.heal()
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "late", "hang", "full", "lose"])
def test_creates_in_the_further_directory_batch_may_fail_like_all_others(
    tmp_path: Path, fault: str
):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL)
        await harness.fault(fault, skip=6, times=2)

        batch = await harness.load(csv_file(6))

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


@pytest.mark.parametrize("at_s", [20.0, 20.01, 22.0, 24.99, 25.0, 25.01])
def test_a_kill_while_the_further_directory_batch_is_filled_ends_exactly_once(
    tmp_path: Path, at_s: float
):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL)
        batch = await harness.submit(csv_file(10))
        await asyncio.sleep(at_s)
        await harness.kill()

        again = await recovered(harness, batch)

        await assert_exactly_once(harness, again)
        assert harness.wire.requests.count("POST /hospitals/") == 15

    play(tmp_path, scenario)


def test_a_row_that_is_lost_at_the_activation_is_created_anew(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("slow", "activate", seconds=2)
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(6)
        lost = (await harness.hospitals(batch.id))[2]
        await harness.control.delete(f"/hospitals/{lost['id']}")

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        assert await held_in_each(harness, batch) == [4, 1]

    play(tmp_path, scenario)


def test_nothing_is_sent_to_a_further_directory_batch_that_could_not_be_made_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    After a crash nobody would look for what is in it.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL)
        batch = await harness.submit(csv_file(4))
        await asyncio.sleep(10)  # activated in part, being settled
        os.rename(tmp_path, tmp_path.with_name("away"))

        await asyncio.sleep(30)

        assert len(await harness.hospitals()) == 2
        os.rename(tmp_path.with_name("away"), tmp_path)
        await harness.service.wait(batch)
        assert batch.status is BatchStatus.RESUMABLE
        assert "could not be saved" in (batch.failure_reason or "")
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_an_abandon_empties_the_further_directory_batches_too(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL)
        await harness.fault("hang", skip=4, times=2)  # both creates of the further one
        batch = await harness.submit(csv_file(4))
        await asyncio.sleep(26)
        await harness.kill()
        await harness.start(auto_resume=False)
        for active in await harness.hospitals(batch.id):  # as README says: delete them there
            await harness.control.delete(f"/hospitals/{active['id']}")
        left = await harness.hospitals()

        deleted = await harness.service.abandon(batch.id)

        assert deleted == len(left) > 0
        assert await harness.hospitals() == []

    play(tmp_path, scenario)


def test_an_inactive_row_beside_an_active_one_is_moved_by_a_resume(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", name="Hospital 2", times=4)
        batch = await harness.load(csv_file(3))
        await activate_one(harness, batch)

        resumed = await harness.resume(batch)

        await assert_exactly_once(harness, resumed)
        assert await held_in_each(harness, resumed) == [1, 2]

    play(tmp_path, scenario)


def test_a_directory_that_forgets_all_is_filled_again_in_one_directory_batch(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**PARTIAL)
        batch = await harness.submit(csv_file(6))
        await asyncio.sleep(24)  # the further directory batch is being filled
        await harness.restart_directory()

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        assert await held_in_each(harness, batch) == [0, 6]

    play(tmp_path, scenario)
