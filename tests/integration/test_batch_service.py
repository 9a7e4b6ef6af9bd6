"""Resume, abandon, clean up, refuse: what the routers call, against the local directory."""

import asyncio
import io
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from models.batch import ENDED, Batch, BatchStatus
from models.caller import ANYBODY
from models.errors import (
    BatchConflict,
    BatchNotFound,
    DirectoryUnreachable,
    FileRejected,
    QueueFull,
    ShuttingDown,
    StorageUnavailable,
)
from services.batch_service import Resumption
from services.housekeeping import Cleanup
from services.storage.contract import StorageError
from services.storage.json_files import JsonFiles
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import insert_copy, now_s, play


async def stopped_batch(harness: Harness, rows: int = 5) -> Batch:
    """Return a resumable batch whose third row is not created."""
    await harness.fault("error_before", times=4, name="Hospital 3")
    batch = await harness.load(csv_file(rows))
    await harness.heal()
    assert batch.status is BatchStatus.RESUMABLE
    return batch


def test_of_many_simultaneous_resumes_exactly_one_wins(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)

        results = await asyncio.gather(
            *(harness.service.resume(batch.id) for _ in range(10)), return_exceptions=True
        )

        assert sum(isinstance(result, Resumption) for result in results) == 1
        assert sum(isinstance(result, BatchConflict) for result in results) == 9
        await harness.service.wait(batch)
        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_a_resume_looks_before_it_sends(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await insert_copy(harness, batch, 3)
        sent = harness.wire.requests.count("POST /hospitals/")

        await harness.resume(batch)

        await assert_exactly_once(harness, batch)
        assert harness.wire.requests.count("POST /hospitals/") == sent

    play(tmp_path, scenario)


@pytest.mark.parametrize("first", ["resume", "abandon"])
def test_of_a_resume_and_an_abandon_at_once_the_first_wins(tmp_path: Path, first: str):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        calls = [harness.service.resume, harness.service.abandon]
        if first == "abandon":
            calls.reverse()

        won, lost = await asyncio.gather(
            *(call(batch.id) for call in calls), return_exceptions=True
        )

        assert not isinstance(won, BaseException)
        assert isinstance(lost, BatchConflict)
        assert "being worked on" in str(lost)

    play(tmp_path, scenario)


def test_completed_and_running_batches_are_neither_resumed_nor_abandoned(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        running = await harness.submit(csv_file(2))
        for call in (harness.service.resume, harness.service.abandon):
            with pytest.raises(BatchConflict):
                await call(running.id)

        await harness.service.wait(running)

        for call in (harness.service.resume, harness.service.abandon):
            with pytest.raises(BatchConflict):
                await call(running.id)
            with pytest.raises(BatchNotFound):
                await call(uuid4())
        await assert_exactly_once(harness, running)

    play(tmp_path, scenario)


def test_a_batch_whose_rows_were_refused_fails_and_can_only_be_abandoned(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", name="Hospital 3")

        batch = await harness.load(csv_file(5))

        assert batch.status is BatchStatus.FAILED
        assert batch.row(3).refused
        assert batch.created_count == 4
        with pytest.raises(BatchConflict, match="refused"):
            await harness.service.resume(batch.id)
        assert await harness.service.abandon(batch.id) == 4
        assert await harness.hospitals() == []

    play(tmp_path, scenario)


def test_an_abandon_deletes_the_orphans_and_then_forgets(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        other = await harness.load(csv_file(3, start=100))
        batch = await stopped_batch(harness)

        assert await harness.service.abandon(batch.id) == 4

        with pytest.raises(BatchNotFound):
            harness.service.get(batch.id)
        assert await harness.hospitals(batch.id) == []
        assert not (tmp_path / f"{batch.id}.json").exists()
        await assert_exactly_once(harness, other)

    play(tmp_path, scenario)


@pytest.mark.parametrize("seconds", [4, 10, 14])
def test_an_abandon_waits_for_creates_that_commit_late(tmp_path: Path, seconds: float):
    """
    A create that is under way survives a delete, and would be an orphan for ever.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault("late", times=3, seconds=seconds)
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(1)
        await harness.kill()
        await harness.start(auto_resume=False)

        await harness.service.abandon(batch.id)

        await asyncio.sleep(60)
        assert await harness.hospitals(batch.id) == []

    play(tmp_path, scenario)


def test_an_abandon_of_a_batch_in_doubt_looks_again_after_its_delete(tmp_path: Path):
    """
    A create that is under way survives a delete of the batch.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault("drop_before", times=4, name="Hospital 3")
        batch = await harness.load(csv_file(5))
        abandoning = asyncio.create_task(harness.service.abandon(batch.id))
        await asyncio.sleep(20)  # 15 s until the delete, then 15 s until the look that ends it
        assert batch.status is BatchStatus.ABANDONING
        await insert_copy(harness, batch, 3)

        await abandoning

        assert await harness.hospitals(batch.id) == []

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "kind", ["drop_before", "drop_after", "error_before", "error_after", "late", "refuse", "hang"]
)
def test_an_abandon_whose_delete_goes_wrong_forgets_no_orphan(tmp_path: Path, kind: str):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.fault(kind, "delete_batch", seconds=10)

        assert await harness.service.abandon(batch.id) == 4

        assert await harness.hospitals(batch.id) == []

    play(tmp_path, scenario)


def test_an_abandon_with_an_active_row_is_refused_and_deletes_nothing(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", name="Hospital 4", times=4)
        batch = await harness.load(csv_file(4))
        active = {"name": "Hospital 4", "address": "4 Main Street Springfield", "active": True}
        await harness.control.post(
            "/_directory/hospitals", json=active | {"creation_batch_id": str(batch.id)}
        )

        with pytest.raises(BatchConflict, match="active"):
            await harness.service.abandon(batch.id)

        assert harness.service.get(batch.id).status is BatchStatus.RESUMABLE
        assert len(await harness.hospitals(batch.id)) == 4

    play(tmp_path, scenario)


def test_an_abandon_of_an_activation_under_way_is_refused_once_it_is_applied(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("late", "activate", seconds=12)
        batch = await harness.submit(csv_file(4))
        await asyncio.sleep(5.5)
        await harness.kill()
        await harness.start(auto_resume=False)

        with pytest.raises(BatchConflict, match="active"):
            await harness.service.abandon(batch.id)

        assert len(await harness.hospitals(batch.id)) == 4

    play(tmp_path, scenario)


def test_an_abandon_without_the_directory_changes_nothing(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        harness.wire.up = False

        with pytest.raises(DirectoryUnreachable):
            await harness.service.abandon(batch.id)

        assert batch.status is BatchStatus.RESUMABLE
        assert len(await harness.hospitals(batch.id)) == 4
        harness.wire.up = True
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_an_abandon_that_was_interrupted_is_finished_by_the_next_start(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.fault("late", "delete_batch", seconds=30)
        abandoning = asyncio.create_task(harness.service.abandon(batch.id))
        await asyncio.sleep(20)
        assert batch.status is BatchStatus.ABANDONING
        await harness.kill()
        abandoning.cancel()

        await harness.start()

        assert harness.service.get(batch.id).status is BatchStatus.ABANDONING
        with pytest.raises(BatchConflict):
            await harness.service.resume(batch.id)
        await asyncio.sleep(120)
        with pytest.raises(BatchNotFound):
            harness.service.get(batch.id)
        assert await harness.hospitals(batch.id) == []

    play(tmp_path, scenario)


def test_an_abandon_that_stopped_half_way_says_why(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.fault("gateway", endpoint="delete_batch")

        with pytest.raises(DirectoryUnreachable):
            await harness.service.abandon(batch.id)

        assert batch.status is BatchStatus.ABANDONING
        assert "tried again by itself" in (batch.failure_reason or "")

    play(tmp_path, scenario)


def test_an_abandon_that_meets_an_active_hospital_half_way_says_which(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.fault("gateway", endpoint="delete_batch")
        with pytest.raises(DirectoryUnreachable):
            await harness.service.abandon(batch.id)
        await harness.control.patch(f"/hospitals/batch/{batch.id}/activate")

        with pytest.raises(BatchConflict):
            await harness.service.abandon(batch.id)

        assert batch.status is BatchStatus.ABANDONING
        assert "active in the directory" in (batch.failure_reason or "")
        assert "delete them there first" in (batch.failure_reason or "")

    play(tmp_path, scenario)


def test_an_abandon_that_could_not_be_finished_is_taken_up_by_a_cleanup(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.fault("error_before", "delete_batch", times=None)
        with pytest.raises(DirectoryUnreachable):
            await harness.service.abandon(batch.id)
        assert batch.status is BatchStatus.ABANDONING
        await harness.heal()

        await harness.service.cleanup(ANYBODY)
        await asyncio.sleep(60)

        with pytest.raises(BatchNotFound):
            harness.service.get(batch.id)
        assert await harness.hospitals(batch.id) == []

    play(tmp_path, scenario)


def test_an_abandon_goes_on_when_its_client_goes_away(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        await harness.fault("slow", "delete_batch", seconds=10)
        client = asyncio.create_task(harness.service.abandon(batch.id))
        await asyncio.sleep(16)
        client.cancel()

        await asyncio.sleep(60)

        assert await harness.hospitals(batch.id) == []

    play(tmp_path, scenario)


def test_cleanup_forgets_old_completed_batches_only(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        completed = await harness.load(csv_file(2, start=50))
        resumable = await stopped_batch(harness)
        running = await harness.submit(csv_file(2, start=80))

        assert (await harness.service.cleanup(ANYBODY)).forgotten == 1

        with pytest.raises(BatchNotFound):
            harness.service.get(completed.id)
        assert not (tmp_path / f"{completed.id}.json").exists()
        assert harness.service.get(resumable.id).status is BatchStatus.RESUMABLE
        await harness.service.wait(running)
        await assert_exactly_once(harness, running)
        assert len(await harness.hospitals(completed.id)) == 2

    play(tmp_path, scenario, progress_cleanup_hours=0)


def test_two_cleanups_at_once_forget_each_batch_once(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        for start in (1, 50, 80):
            await harness.load(csv_file(2, start=start))

        cleaned = await asyncio.gather(
            harness.service.cleanup(ANYBODY), harness.service.cleanup(ANYBODY)
        )

        assert sum(one.forgotten for one in cleaned) == 3

    play(tmp_path, scenario, progress_cleanup_hours=0)


def test_young_completed_batches_are_kept(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))

        assert await harness.service.cleanup(ANYBODY) == Cleanup(0, 0, 0)
        assert harness.service.get(batch.id) is batch

    play(tmp_path, scenario)


def test_the_service_cleans_up_by_itself(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))

        await asyncio.sleep(700)

        with pytest.raises(BatchNotFound):
            harness.service.get(batch.id)

    play(tmp_path, scenario, progress_cleanup_hours=0)


def test_a_cleanup_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))
        delete = JsonFiles.delete

        def fail(storage: JsonFiles, batch_id: UUID) -> None:
            raise RuntimeError("unforeseen")

        monkeypatch.setattr(JsonFiles, "delete", fail)
        await asyncio.sleep(700)
        monkeypatch.setattr(JsonFiles, "delete", delete)
        await asyncio.sleep(700)

        with pytest.raises(BatchNotFound):
            harness.service.get(batch.id)

    play(tmp_path, scenario, progress_cleanup_hours=0)


def test_storage_that_cannot_be_written_refuses_the_file_and_sends_nothing(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        folder = tmp_path / "batches"
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

        with pytest.raises(StorageUnavailable):
            await harness.submit(csv_file(5))

        assert harness.wire.requests == []
        assert not await harness.service.is_storage_writable()

    play(tmp_path / "batches", scenario)


def test_a_disk_that_fills_up_in_the_middle_delays_the_end_and_loses_nothing(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        folder = tmp_path / "batches"
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(1)
        folder.rename(tmp_path / "away")
        await asyncio.sleep(60)
        assert batch.status not in ENDED
        assert "storage" in batch.step

        (tmp_path / "away").rename(folder)
        started_s = now_s()
        await harness.service.wait(batch)

        assert now_s() - started_s <= 10.1
        await assert_exactly_once(harness, batch)

    play(tmp_path / "batches", scenario)
    assert len(list(tmp_path.glob("batches/*.json"))) == 1


def test_what_was_verified_before_the_disk_failed_is_verified_again(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        folder = tmp_path / "batches"
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(1)
        folder.rename(tmp_path / "away")
        await asyncio.sleep(60)
        await harness.restart_directory()
        (tmp_path / "away").rename(folder)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path / "batches", scenario)


def test_an_abandon_that_could_not_be_stored_is_not_done_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A write may fail after the document is in place: what the client was told must hold.
    """

    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        save = JsonFiles.save

        def save_and_fail(storage: JsonFiles, snapshot: Batch, changed: set[int]) -> None:
            save(storage, snapshot, changed)
            raise StorageError("the folder could not be flushed")

        monkeypatch.setattr(JsonFiles, "save", save_and_fail)
        with pytest.raises(StorageUnavailable):
            await harness.service.abandon(batch.id)
        monkeypatch.setattr(JsonFiles, "save", save)
        await asyncio.sleep(10)
        await harness.kill()
        await harness.start()
        await asyncio.sleep(300)

        again = harness.service.get(batch.id)
        assert again.status is BatchStatus.RESUMABLE
        assert len(await harness.hospitals(batch.id)) == 4

    play(tmp_path, scenario)


def test_a_file_with_errors_is_refused_with_all_of_them_and_nothing_is_sent(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        with pytest.raises(FileRejected) as refusal:
            await harness.submit("name,address,phone\nA,Street 1 here,n/a\nBoth fine,Street 2,\n")

        assert [(e.row, e.column) for e in refusal.value.errors] == [(1, "name"), (1, "phone")]
        assert harness.wire.requests == []

    play(tmp_path, scenario)
    assert list(tmp_path.glob("*.json")) == []


def test_a_file_may_have_as_many_rows_as_the_setting_says(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        with pytest.raises(FileRejected) as refusal:
            await harness.submit(csv_file(31))
        assert [error.error_type for error in refusal.value.errors] == ["too_many_rows"]
        assert not (await harness.service.validate(io.BytesIO(csv_file(31).encode()))).is_valid

        await assert_exactly_once(harness, await harness.load(csv_file(30)))

    play(tmp_path, scenario, max_csv_size=30)


def test_a_full_queue_refuses_what_comes_and_stores_nothing(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        uploads = [harness.submit(csv_file(1, start=n)) for n in range(1, 8)]

        results = await asyncio.gather(*uploads, return_exceptions=True)

        assert sum(isinstance(result, QueueFull) for result in results) == 4
        accepted = [result for result in results if isinstance(result, Batch)]
        assert len(accepted) == 3
        for batch in accepted:
            await harness.service.wait(batch)
            await assert_exactly_once(harness, batch)
        assert (await harness.load(csv_file(1))).status is BatchStatus.COMPLETED

    play(tmp_path, scenario, max_queued_batches=3)


def test_a_stopping_service_checks_no_further_file(tmp_path: Path):
    """
    Those that wait for their turn would keep it from ending.
    """

    async def scenario(harness: Harness) -> None:
        harness.service.stop()

        with pytest.raises(ShuttingDown):
            await harness.service.validate(io.BytesIO(csv_file(1).encode()))

    play(tmp_path, scenario)
