"""A cancelled batch sends no further row, keeps what was under way, and can be resumed."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from directory.app import DirectorySettings
from models.batch import Batch, BatchStatus
from models.errors import BatchConflict, BatchNotFound, StorageUnavailable
from models.row import RowStatus
from services.storage.contract import StorageError
from services.storage.json_files import JsonFiles
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import now_s, play


async def cancelled(harness: Harness, batch: Batch) -> float:
    """Cancel the batch; return how many seconds later it had ended."""
    told_s = now_s()
    await harness.service.cancel(batch.id)
    await harness.service.wait(batch)
    return now_s() - told_s


def creates(harness: Harness) -> int:
    return harness.wire.requests.count("POST /hospitals/")


def test_rows_under_way_finish_and_no_further_row_is_sent(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)

        took_s = await cancelled(harness, batch)

        assert took_s == pytest.approx(3.0, abs=0.01)
        assert batch.status is BatchStatus.RESUMABLE
        assert "cancelled" in (batch.failure_reason or "")
        assert [row.status for row in batch.rows] == (
            [RowStatus.CREATED] * 5 + [RowStatus.PENDING] * 15
        )
        assert creates(harness) == 5

    play(tmp_path, scenario, max_concurrent_requests=5)


def test_a_cancelled_batch_is_finished_by_a_resume(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        await cancelled(harness, batch)

        await harness.resume(batch)

        await assert_exactly_once(harness, batch)
        assert creates(harness) == 20

    play(tmp_path, scenario, max_concurrent_requests=5)


def test_a_cancelled_batch_leaves_nothing_when_it_is_abandoned(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        await cancelled(harness, batch)

        assert await harness.service.abandon(batch.id) == 5
        assert await harness.hospitals() == []

    play(tmp_path, scenario, max_concurrent_requests=5)


def test_a_batch_whose_rows_were_all_under_way_is_not_activated(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)

        await cancelled(harness, batch)

        assert batch.status is BatchStatus.RESUMABLE
        assert not any(hospital["active"] for hospital in await harness.hospitals())
        assert batch.created_count == 20
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_one_that_waits_for_the_rate_window_ends_at_once(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.load(csv_file(20))
        batch = await harness.submit(csv_file(20, start=101))
        await asyncio.sleep(10)

        assert await cancelled(harness, batch) == pytest.approx(0.0, abs=0.01)

        assert batch.created_count == 10
        await asyncio.sleep(70)
        assert creates(harness) == 30

    play(tmp_path, scenario)


async def asleep(harness: Harness) -> None:
    await harness.control.post("/_directory/sleep", json={"wake_seconds": 80})


async def unplugged(harness: Harness) -> None:
    harness.wire.up = False


@pytest.mark.parametrize("trouble", [asleep, unplugged])
def test_one_that_waits_for_the_directory_ends_at_once(
    tmp_path: Path, trouble: Callable[[Harness], Awaitable[None]]
):
    async def scenario(harness: Harness) -> None:
        await trouble(harness)
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(10)

        assert await cancelled(harness, batch) == pytest.approx(0.0, abs=0.01)

        assert batch.status is BatchStatus.RESUMABLE
        assert "cancelled" in (batch.failure_reason or "")
        await asyncio.sleep(90)
        assert creates(harness) == 0

    play(tmp_path, scenario)


def test_one_whose_rows_back_off_ends_at_once(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.load(csv_file(1, start=101))
        await unplugged(harness)
        batch = await harness.submit(csv_file(10))
        await asyncio.sleep(10)

        assert await cancelled(harness, batch) == pytest.approx(0.0, abs=0.01)

        assert "cancelled" in (batch.failure_reason or "")
        assert {row.status for row in batch.rows} == {RowStatus.PENDING}

    play(tmp_path, scenario)


def test_one_that_settles_ends_at_once_and_its_unclear_row_is_not_doubled(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("late", seconds=12, name="Hospital 3")
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(7)
        assert batch.row(3).status is RowStatus.VERIFYING

        assert await cancelled(harness, batch) == pytest.approx(0.0, abs=0.01)

        assert batch.status is BatchStatus.RESUMABLE
        assert batch.row(3).status is RowStatus.VERIFYING
        await assert_exactly_once(harness, await harness.resume(batch))
        assert creates(harness) == 5

    play(tmp_path, scenario)


def test_a_cancel_that_was_told_holds_over_a_crash(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        await harness.service.cancel(batch.id)
        await harness.kill()

        await harness.start()

        again = harness.service.get(batch.id)
        assert again.status is BatchStatus.RESUMABLE
        assert "cancelled" in (again.failure_reason or "")
        await asyncio.sleep(120)
        assert creates(harness) == 5
        await assert_exactly_once(harness, await harness.resume(again))

    play(tmp_path, scenario, max_concurrent_requests=5)


def test_once_resumed_it_goes_on_after_a_crash_again(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await cancelled(harness, batch)
        await harness.service.resume(batch.id)
        await asyncio.sleep(2)
        await harness.kill()

        await harness.start()

        again = harness.service.get(batch.id)
        await harness.service.wait(again)
        await assert_exactly_once(harness, again)

    play(tmp_path, scenario)


def test_watchers_hear_of_a_cancel_at_once(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        heard: list[str] = []
        harness.service.watch(batch.id, lambda _: heard.append(harness.service.outlook(batch).step))

        await harness.service.cancel(batch.id)

        assert heard == ["cancelled: waiting for the rows under way"]

    play(tmp_path, scenario)


def test_a_second_cancel_is_no_error(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)

        await harness.service.cancel(batch.id)
        await cancelled(harness, batch)

        assert batch.status is BatchStatus.RESUMABLE

    play(tmp_path, scenario)


def test_it_is_refused_when_the_batch_is_being_activated_or_has_ended(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("slow", endpoint="activate", seconds=5)
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(7)
        assert batch.status is BatchStatus.ACTIVATING

        with pytest.raises(BatchConflict, match="being activated"):
            await harness.service.cancel(batch.id)
        await harness.service.wait(batch)
        with pytest.raises(BatchConflict, match="completed"):
            await harness.service.cancel(batch.id)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_of_an_unknown_batch_it_is_not_found(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(1))
        await cancelled(harness, batch)
        await harness.service.abandon(batch.id)

        with pytest.raises(BatchNotFound):
            await harness.service.cancel(batch.id)

    play(tmp_path, scenario)


def test_at_any_moment_a_cancel_either_holds_or_is_refused(tmp_path: Path):
    """
    Told 202, the batch must not complete; told 409, it must.
    """

    async def scenario(harness: Harness) -> None:
        seen = set()
        for turns in range(0, 200, 2):
            batch = await harness.submit(csv_file(1))
            await asyncio.sleep(5.0)
            for _ in range(turns):
                await asyncio.sleep(0)
            try:
                await harness.service.cancel(batch.id)
                expected = BatchStatus.RESUMABLE
            except BatchConflict:
                expected = BatchStatus.COMPLETED
            await harness.service.wait(batch)
            assert batch.status is expected
            seen.add(expected)
        assert seen == {BatchStatus.RESUMABLE, BatchStatus.COMPLETED}

    play(
        tmp_path,
        scenario,
        create_rate_limit=0,
        directory=DirectorySettings(create_limit=0, lookup_limit=0),
    )


@pytest.mark.parametrize("is_active", [False, True])
def test_it_holds_also_in_the_very_turn_in_which_a_look_is_answered(
    tmp_path: Path, is_active: bool
):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(2)
        if is_active:
            await cancelled(harness, batch)
            await harness.control.patch(f"/hospitals/batch/{batch.id}/activate")
            await harness.service.resume(batch.id)
        told: list[asyncio.Task[Batch]] = []
        ended = harness.wire._ended

        def cancel_before_the_run_hears_it(task: asyncio.Task[httpx.Response]) -> None:
            ended(task)
            if harness.wire.requests[-1].startswith("GET /hospitals/batch/") and not told:
                told.append(asyncio.create_task(harness.service.cancel(batch.id)))

        harness.wire._ended = cancel_before_the_run_hears_it  # type: ignore[method-assign]
        await harness.service.wait(batch)

        await asyncio.gather(*told)
        assert batch.status is BatchStatus.RESUMABLE
        active = [hospital["active"] for hospital in await harness.hospitals()]
        assert active == [is_active] * 5

    play(tmp_path, scenario)


def test_a_batch_that_waits_to_be_failed_while_the_disk_is_full_becomes_resumable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", name="Hospital 2")
        batch = await harness.submit(csv_file(3))
        await asyncio.sleep(2)

        def refuse(*_: object) -> None:
            raise StorageError("full")

        with monkeypatch.context() as disk:
            disk.setattr(JsonFiles, "save", refuse)
            await asyncio.sleep(10)
            assert "storage" in harness.service.outlook(batch).step

        await cancelled(harness, batch)

        assert batch.status is BatchStatus.RESUMABLE

    play(tmp_path, scenario)


def test_a_cancel_that_cannot_be_saved_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)

        def refuse(*_: object) -> None:
            raise StorageError("full")

        with monkeypatch.context() as disk:
            disk.setattr(JsonFiles, "save", refuse)
            with pytest.raises(StorageUnavailable, match="restart"):
                await harness.service.cancel(batch.id)

        await harness.service.wait(batch)
        assert batch.status is BatchStatus.RESUMABLE

    play(tmp_path, scenario)
