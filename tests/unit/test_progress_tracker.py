"""What reaches the disk, and in which order: real threads, as the service writes."""

import asyncio
import threading
from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

import pytest

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from services import progress_tracker
from services.progress_tracker import ProgressTracker

NOW = datetime(2026, 11, 1, tzinfo=UTC)


class SlowDisk:
    """Storage in memory; a write that begins while it is stuck waits until it is mended."""

    def __init__(self) -> None:
        self.written: list[BatchStatus] = []
        self.is_stuck = False
        self.waits = threading.Event()
        self.mended = threading.Event()

    def add(self, batch: Batch) -> None:
        self.save(batch)

    def save(self, batch: Batch, changed: Collection[int] | None = None) -> None:
        status = batch.status
        if self.is_stuck:
            self.is_stuck = False  # the next one would get through
            self.waits.set()
            assert self.mended.wait(10)
        self.written.append(status)

    def check_writable(self) -> None:
        assert self.mended.wait(10)


def a_batch() -> Batch:
    row = HospitalRow(1, "Alpha", "1 Main Street", None)
    return Batch(UUID(int=1), "http://directory.test", Rows([Row(row)]), NOW, NOW)


async def test_an_older_state_never_replaces_a_newer_one():
    """The rows are written behind; what a client is told meanwhile must be what stays."""
    disk = SlowDisk()
    tracker = ProgressTracker(disk)  # type: ignore[arg-type]
    batch = a_batch()
    await tracker.add(batch)
    batch.status = BatchStatus.PROCESSING
    disk.is_stuck = True
    tracker.set_row(batch, 1, RowStatus.PROCESSING)
    assert await asyncio.to_thread(disk.waits.wait, 10)

    told = asyncio.create_task(tracker.announce(batch, BatchStatus.RESUMABLE))
    await asyncio.sleep(0.05)  # time enough for a write that does not wait for the other
    disk.mended.set()
    await told

    written = [BatchStatus.INITIALIZING, BatchStatus.PROCESSING, BatchStatus.RESUMABLE]
    assert written == disk.written
    await tracker.flush()


async def test_a_storage_that_hangs_counts_as_one_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(progress_tracker, "CHECK_S", 0.05)
    disk = SlowDisk()
    tracker = ProgressTracker(disk)  # type: ignore[arg-type]

    while_it_hangs = [await tracker.check_writable() for _ in range(2)]
    disk.mended.set()
    monkeypatch.setattr(progress_tracker, "CHECK_S", 10)

    assert while_it_hangs == [False, False]
    assert await tracker.check_writable()
