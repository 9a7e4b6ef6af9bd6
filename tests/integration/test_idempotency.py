"""An upload that names itself becomes one batch, however often and whenever it is sent."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from models.batch import Batch, BatchStatus
from models.errors import BatchNotFound, FileRejected, KeyReused, QueueFull, StorageUnavailable
from services.storage.contract import StorageError
from services.storage.json_files import JsonFiles
from services.uploads import Submission, Upload
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_batch_service import stopped_batch
from tests.integration.test_exactly_once import play

UNSOUND = "name,address\nX,1 Main Street\nAlder Hospital,1 Main Street\n"


async def send(harness: Harness, content: str, key: str = "monday", **how: Any) -> Submission:
    upload = Upload(io.BytesIO(content.encode()), idempotency_key=key, **how)
    return await harness.service.submit(upload)


async def batches_in_the_directory(harness: Harness) -> int:
    return len({hospital["creation_batch_id"] for hospital in await harness.hospitals()})


def test_an_upload_that_is_sent_again_joins_its_running_batch(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        first = await send(harness, csv_file(20))
        await asyncio.sleep(2)

        again = await send(harness, csv_file(20))

        assert (first.is_replay, again.is_replay) == (False, True)
        assert again.batch is first.batch
        assert await harness.service.wait(again.batch)
        await assert_exactly_once(harness, again.batch)
        assert len(await harness.hospitals()) == 20

    play(tmp_path, scenario)


def test_of_many_at_once_one_becomes_a_batch(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        sent = await asyncio.gather(*(send(harness, csv_file(5)) for _ in range(20)))

        assert sum(not submission.is_replay for submission in sent) == 1
        assert len({submission.batch.id for submission in sent}) == 1
        await harness.service.wait(sent[0].batch)
        assert len(await harness.hospitals()) == 5

    play(tmp_path, scenario)


def test_of_different_files_at_once_one_becomes_the_batch_of_the_key(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        uploads = (send(harness, csv_file(1, start=n)) for n in range(10))

        sent = await asyncio.gather(*uploads, return_exceptions=True)

        assert sum(isinstance(one, Submission) for one in sent) == 1
        assert sum(isinstance(one, KeyReused) for one in sent) == 9

    play(tmp_path, scenario)


@pytest.mark.parametrize("other", [csv_file(6), csv_file(5, start=2), csv_file(5) + "\n"])
def test_another_file_under_the_key_is_refused_and_starts_nothing(tmp_path: Path, other: str):
    async def scenario(harness: Harness) -> None:
        first = await send(harness, csv_file(5))

        with pytest.raises(KeyReused):
            await send(harness, other)

        await harness.service.wait(first.batch)
        assert await batches_in_the_directory(harness) == 1

    play(tmp_path, scenario)


def test_keys_belong_to_who_sent_them(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        owners = (None, "north", "south")

        sent = [await send(harness, csv_file(1), owner=owner) for owner in owners]

        assert not any(submission.is_replay for submission in sent)
        assert [submission.batch.owner for submission in sent] == list(owners)

    play(tmp_path, scenario)


def test_a_stopped_batch_is_answered_as_it_is_and_not_started(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")
        first = await send(harness, csv_file(5))
        await harness.service.wait(first.batch)
        await harness.heal()
        requests = len(harness.wire.requests)

        again = await send(harness, csv_file(5))

        assert await harness.service.wait(again.batch)
        assert again.batch is first.batch
        assert again.batch.status is BatchStatus.RESUMABLE
        assert len(harness.wire.requests) == requests

    play(tmp_path, scenario)


def test_a_batch_that_is_being_abandoned_is_answered_as_it_is(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")
        first = await send(harness, csv_file(5))
        await harness.service.wait(first.batch)
        await harness.fault("hang", "delete_batch")
        abandoning = asyncio.create_task(harness.service.abandon(first.batch.id))
        await asyncio.sleep(1)
        assert await asyncio.wait_for(harness.service.wait(first.batch), 1)  # it settles first
        await asyncio.sleep(20)
        assert first.batch.status is BatchStatus.ABANDONING

        again = await send(harness, csv_file(5))

        assert again.is_replay
        assert not await asyncio.wait_for(harness.service.wait(again.batch), 1)
        await harness.heal()
        await abandoning

    play(tmp_path, scenario)


def test_the_key_is_free_again_once_its_batch_is_forgotten(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")
        first = await send(harness, csv_file(5))
        await harness.service.wait(first.batch)
        await harness.heal()
        await harness.service.abandon(first.batch.id)

        other = await send(harness, csv_file(2, start=50))

        assert not other.is_replay
        with pytest.raises(BatchNotFound):
            harness.service.get(first.batch.id)

    play(tmp_path, scenario)


def test_a_refused_file_takes_no_key(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        for _ in range(2):
            with pytest.raises(FileRejected):
                await send(harness, UNSOUND)

        assert not (await send(harness, UNSOUND, skip_invalid=True)).is_replay
        assert (await send(harness, UNSOUND, skip_invalid=True)).is_replay

    play(tmp_path, scenario)


def test_a_batch_that_could_not_be_stored_takes_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise StorageError("no space left on device")

    async def scenario(harness: Harness) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(JsonFiles, "save", full)
            with pytest.raises(StorageUnavailable):
                await send(harness, csv_file(5))

        again = await send(harness, csv_file(5))

        assert not again.is_replay
        await harness.service.wait(again.batch)
        await assert_exactly_once(harness, again.batch)

    play(tmp_path, scenario)


@pytest.mark.parametrize("seconds", [0, 2, 20])
def test_a_crash_parts_no_batch_from_its_key(tmp_path: Path, seconds: float):
    """
    The client whose answer was lost sends again when the service is back.
    """

    async def scenario(harness: Harness) -> None:
        first = await send(harness, csv_file(20))
        await asyncio.sleep(seconds)
        await harness.kill()
        await harness.start()

        again = await send(harness, csv_file(20))

        assert again.is_replay
        assert again.batch.id == first.batch.id
        assert await harness.service.wait(again.batch)
        await assert_exactly_once(harness, again.batch)
        assert len(await harness.hospitals()) == 20
        with pytest.raises(KeyReused):
            await send(harness, csv_file(19))

    play(tmp_path, scenario)


def test_a_full_queue_still_answers_what_it_knows(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        first = await send(harness, csv_file(5))

        with pytest.raises(QueueFull):
            await send(harness, csv_file(5), key="tuesday")

        assert (await send(harness, csv_file(5))).batch is first.batch

    play(tmp_path, scenario, max_queued_batches=1)


def test_uploads_without_a_key_are_batches_of_their_own(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batches: list[Batch] = [await harness.submit(csv_file(1)) for _ in range(2)]

        assert batches[0].id != batches[1].id
        assert {batch.file_digest for batch in batches} == {None}

    play(tmp_path, scenario)


def test_a_resumed_batch_keeps_its_key(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await stopped_batch(harness)
        await harness.fault("error_before", times=4, name="Hospital 53")
        first = await send(harness, csv_file(5, start=51))
        await harness.service.wait(first.batch)
        await harness.heal()
        await harness.resume(first.batch)

        again = await send(harness, csv_file(5, start=51))

        assert again.batch.status is BatchStatus.COMPLETED
        assert await batches_in_the_directory(harness) == 2

    play(tmp_path, scenario)
