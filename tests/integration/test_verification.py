"""A batch compared with the directory as it is now: what is told, and that nothing is changed."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from models.batch import Batch, BatchStatus
from models.errors import BatchConflict, BatchNotFound, DirectoryUnreachable, ShuttingDown
from models.row import RowStatus
from services.comparison import Comparison
from tests.harness import BASE_URL, Harness, csv_file
from tests.integration.test_batch_service import stopped_batch
from tests.integration.test_exactly_once import insert_copy, now_s, play


def numbers(compared: Comparison) -> list[int]:
    return [row.hospital.row for row in compared.missing]


async def verified(harness: Harness, batch: Batch) -> Comparison:
    """Verify the batch, and see that this changes nothing here or there."""
    before, held = batch.snapshot(now_s()), await harness.hospitals()
    sent = len(harness.wire.requests)

    compared = await harness.service.verify(batch.id)

    assert batch.snapshot(now_s()) == before
    assert await harness.hospitals() == held
    asked = {request.partition(" ")[0] for request in harness.wire.requests[sent:]}
    assert asked <= {"GET"}
    return compared


def test_a_completed_batch_matches_and_one_look_tells(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(20))
        looks = harness.wire.requests.count(f"GET /hospitals/batch/{batch.id}")

        compared = await verified(harness, batch)

        assert compared.matches
        assert harness.wire.requests.count(f"GET /hospitals/batch/{batch.id}") == looks + 1

    play(tmp_path, scenario)


def test_after_a_restart_of_the_directory_every_row_is_missing(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(3))
        await harness.restart_directory()

        compared = await verified(harness, batch)

        assert numbers(compared) == [1, 2, 3]
        assert batch.status is BatchStatus.COMPLETED

    play(tmp_path, scenario)


def test_rows_copies_and_strangers_that_appeared_or_went_are_told(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(3))
        gone, *_ = await harness.hospitals()
        await harness.control.delete(f"/hospitals/{gone['id']}")
        await insert_copy(harness, batch, 3)
        stranger = {"name": "Stranger", "address": "9 Elm", "creation_batch_id": str(batch.id)}
        await harness.control.post("/_directory/hospitals", json=stranger)

        compared = await verified(harness, batch)

        assert [row.hospital.name for row in compared.missing] == [gone["name"]]
        assert [one.name for one in compared.surplus] == ["Hospital 3", "Stranger"]
        assert compared.inactive == ()

    play(tmp_path, scenario)


def test_a_stopped_batch_shows_what_is_created_as_inactive(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)

        compared = await verified(harness, batch)

        assert numbers(compared) == [3]
        assert [row.hospital.row for row, _ in compared.inactive] == [1, 2, 4, 5]
        assert {one.id for _, one in compared.inactive} == {
            row.hospital_id for row in batch.rows if row.status is RowStatus.CREATED
        }

    play(tmp_path, scenario)


def test_hospitals_in_further_directory_batches_count(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("partial", "activate")
        batch = await harness.load(csv_file(4))
        assert (batch.status, batch.further) == (BatchStatus.COMPLETED, {0: 1})

        assert (await verified(harness, batch)).matches

    play(tmp_path, scenario)


def test_a_refused_row_takes_no_part(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", name="Hospital 3")
        batch = await harness.load(csv_file(3))
        assert batch.status is BatchStatus.FAILED

        assert numbers(await verified(harness, batch)) == []

    play(tmp_path, scenario)


def test_a_batch_that_is_worked_on_is_not_compared(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(2))

        with pytest.raises(BatchConflict, match="being worked on"):
            await harness.service.verify(batch.id)

        await harness.service.wait(batch)
        assert (await verified(harness, batch)).matches

    play(tmp_path, scenario)


def test_a_comparison_stands_in_nobodys_way_and_is_void_when_the_batch_changes(tmp_path: Path):
    """The directory sleeps for a while, which may take a minute; a resume does not wait for it."""

    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.fault("slow", "list_batch", seconds=10)

        verifying = asyncio.create_task(harness.service.verify(batch.id))
        await asyncio.sleep(1)
        await harness.resume(batch)

        assert batch.status is BatchStatus.COMPLETED
        with pytest.raises(BatchConflict, match="changed"):
            await verifying

    play(tmp_path, scenario)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_batch_that_is_abandoned_meanwhile_is_not_told_of(tmp_path: Path, rows: int):
    """Of one row nothing is created, so nothing is deleted and the batch is just forgotten."""

    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 1")
        batch = await harness.load(csv_file(rows))
        assert batch.created_count == rows - 1
        await harness.fault("slow", "list_batch", seconds=29)

        verifying = asyncio.create_task(harness.service.verify(batch.id))
        await asyncio.sleep(1)
        assert await harness.service.abandon(batch.id) == rows - 1

        assert not verifying.done()
        with pytest.raises(BatchNotFound):
            await verifying

    play(tmp_path, scenario, settle_seconds=5)


def test_an_unknown_batch_and_one_of_another_directory_are_not_compared(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(1))
        await harness.stop()
        await harness.start(hospital_api_base_url="http://other.test")

        with pytest.raises(BatchConflict, match=f"another directory .{BASE_URL}"):
            await harness.service.verify(batch.id)
        with pytest.raises(BatchNotFound):
            await harness.service.verify(uuid4())

    play(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["drop_before", "gateway", "garbled", "refuse", "error_before"])
def test_a_directory_without_a_usable_answer_is_told_in_words_that_fit(tmp_path: Path, kind: str):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(1))
        await harness.fault(kind, "any", times=None)
        held = await harness.hospitals()

        with pytest.raises(DirectoryUnreachable) as told:
            await harness.service.verify(batch.id)

        assert str(told.value).startswith("The directory ")
        assert str(told.value).endswith("). Nothing was changed; try again later.")
        assert "resume" not in str(told.value)
        assert await harness.hospitals() == held
        await harness.heal()
        await asyncio.sleep(60)
        assert (await verified(harness, batch)).matches

    play(tmp_path, scenario)


@pytest.mark.parametrize("waits_for", ["answer", "turn", "directory"])
def test_a_comparison_ends_at_once_when_the_service_stops(tmp_path: Path, waits_for: str):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(1))
        await asyncio.sleep(61)
        if waits_for == "answer":
            await harness.fault("hang", "list_batch", times=None)
        elif waits_for == "directory":
            harness.wire.up = False
        else:
            for _ in range(50):
                await harness.service.verify(batch.id)

        verifying = asyncio.create_task(harness.service.verify(batch.id))
        await asyncio.sleep(5)
        assert not verifying.done()
        stopped_s = now_s()
        harness.service.stop()

        with pytest.raises(ShuttingDown):
            await verifying
        assert now_s() == stopped_s
        with pytest.raises(ShuttingDown):
            await harness.service.verify(batch.id)

    play(tmp_path, scenario)


def test_however_many_ask_an_upload_takes_no_longer(tmp_path: Path):
    """Of 50 lists a minute comparisons get half; 500 that waited made an upload take a minute."""

    async def scenario(harness: Harness) -> None:
        known = await harness.load(csv_file(2))
        asking = [asyncio.create_task(harness.service.verify(known.id)) for _ in range(200)]
        await asyncio.sleep(1)
        began_s = now_s()

        batch = await harness.load(csv_file(20, start=101))

        assert batch.status is BatchStatus.COMPLETED
        assert now_s() - began_s < 6
        assert sum(one.done() for one in asking) == 25
        await asyncio.sleep(70)
        assert sum(one.done() for one in asking) == 50
        for one in asking:
            one.cancel()

    play(tmp_path, scenario)
