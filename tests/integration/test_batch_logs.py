"""What is told of batches: each event once, and under its own batch's id."""

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import bound_contextvars

from models.batch import Batch, BatchStatus
from services.housekeeping import CLEANUP_INTERVAL_S
from services.progress_tracker import ProgressTracker
from services.storage.contract import StorageError
from services.storage.json_files import JsonFiles
from services.storage.send_log import SendLog
from tests.harness import EPOCH, Harness, csv_file
from tests.integration.test_batch_service import stopped_batch
from tests.integration.test_exactly_once import play
from tests.integration.test_retention import activate_behind_its_back, playing

Told = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """Return the lines of an event at INFO or above."""
    caplog.set_level(logging.INFO)

    def lines(event: str) -> list[dict[str, Any]]:
        every = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        return [line for line in every if line["event"] == event]

    return lines


def test_an_old_batch_that_cannot_be_abandoned_is_told_of_once_until_the_reason_changes(
    tmp_path: Path, told: Told
):
    async def scenario(harness: Harness) -> None:
        batch = await stopped_batch(harness)
        harness.wire.up = False

        await asyncio.sleep(3600 + 6 * CLEANUP_INTERVAL_S)
        assert len(told("batch kept long enough")) == 1
        assert len(told("batch still to be abandoned")) == 1
        await activate_behind_its_back(harness, batch)
        harness.wire.up = True
        await asyncio.sleep(6 * CLEANUP_INTERVAL_S)

        assert len(told("batch kept long enough")) == 1
        reasons = [line["reason"] for line in told("batch still to be abandoned")]
        assert len(reasons) == 2
        assert "could not be reached" in reasons[0]
        assert "active" in reasons[1]
        assert {line["batch_id"] for line in told("batch still to be abandoned")} == {str(batch.id)}

    playing(tmp_path, scenario)


def test_each_batch_that_is_forgotten_or_abandoned_is_told_of(tmp_path: Path, told: Told):
    async def scenario(harness: Harness) -> None:
        completed = await harness.load(csv_file(2))
        stopped = await stopped_batch(harness)
        await asyncio.sleep(25 * 3600)

        assert [line["batch_id"] for line in told("batch forgotten")] == [str(completed.id)]
        assert [line["batch_id"] for line in told("batch abandoned")] == [str(stopped.id)]

    playing(tmp_path, scenario)


def test_a_directory_that_is_waited_for_is_told_of_once_however_many_batches_wait(
    tmp_path: Path, told: Told
):
    async def scenario(harness: Harness) -> None:
        harness.wire.up = False
        batches = [await harness.submit(csv_file(3, start=start)) for start in (1, 10)]
        await asyncio.sleep(30)
        assert len(told("waiting for the directory")) == 1
        assert told("the directory is awake") == []
        harness.wire.up = True
        for batch in batches:
            await harness.service.wait(batch)

        assert len(told("waiting for the directory")) == 1
        [awake] = told("the directory is awake")
        assert awake["waited_s"] >= 30

    play(tmp_path, scenario)


def test_a_hold_for_the_rate_is_told_of_once_and_so_is_its_end(tmp_path: Path, told: Told):
    async def scenario(harness: Harness) -> None:
        await harness.fault("refuse", times=23)  # the whole file, then three that ask again
        await harness.load(csv_file(20))

        for event in (
            "the directory refuses requests for their rate",
            "the directory takes requests again",
        ):
            assert [line["lane"] for line in told(event)] == ["create"]

    play(tmp_path, scenario)


def test_what_befalls_a_run_is_told_with_counts(tmp_path: Path, told: Told):
    async def scenario(harness: Harness) -> None:
        await harness.fault("drop_after", times=1)
        batch = await harness.submit(csv_file(3))
        await asyncio.sleep(1)
        await harness.service.cancel(batch.id)
        await harness.service.wait(batch)
        await harness.resume(batch)

        assert batch.status is BatchStatus.COMPLETED
        mine = {"batch_id": str(batch.id)}
        assert told("batch accepted") == [{"event": "batch accepted", "rows": 3} | mine]
        assert told("batch cancelled") == [{"event": "batch cancelled"} | mine]
        assert told("batch resumed") == [{"event": "batch resumed"} | mine]
        [found] = told("row found by look-up")
        assert mine.items() <= found.items()
        assert [line["status"] for line in told("batch ended")] == ["resumable", "completed"]
        assert told("batch ended")[1]["created"] == 3
        assert told("batch ended")[1]["seconds"] > 5

    play(tmp_path, scenario)


class FullDisk(JsonFiles):
    def save(self, batch: Batch, changed: Collection[int] | None = None) -> bool:
        raise StorageError("No space left on device")


def test_a_write_that_fails_is_told_under_the_batch_that_was_to_be_written(
    tmp_path: Path, told: Told
):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(1))
        tracker = ProgressTracker(FullDisk(tmp_path))
        tracker.restore([batch])
        with bound_contextvars(batch_id="another's", request_id="another's"):
            tracker.touch(batch)
        await asyncio.sleep(1)
        assert len(told("checkpoint cannot be written")) > 0

        for line in told("checkpoint cannot be written"):
            assert line["batch_id"] == str(batch.id)
            assert "request_id" not in line
        await tracker.flush()

    play(tmp_path, scenario)


def test_a_send_that_cannot_be_remembered_is_told_under_no_batch(tmp_path: Path, told: Told):
    """Whoever's request ends may have granted the turn, of any batch."""
    log = SendLog(tmp_path, 3)
    log.open(EPOCH)
    log.close()
    log._file = -1  # nothing can be written there
    with bound_contextvars(batch_id="another's"):
        log.add(EPOCH)

    assert told("a send could not be remembered") == [
        {
            "event": "a send could not be remembered",
            "error": "Bad file descriptor",
        }
    ]
