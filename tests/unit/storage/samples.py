"""Batches to be stored, and what is stored of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from services.storage.database import Database
from services.storage.postgres import PostgresBatches

DIRECTORY = "http://directory.test"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)

Open = Callable[[], PostgresBatches]


def a_batch(rows: int = 3, **fields: object) -> Batch:
    lines = [
        Row(HospitalRow(n, f"Hospital {n}", f"{n} Main Street", None)) for n in range(1, rows + 1)
    ]
    batch = Batch(uuid4(), DIRECTORY, Rows(lines), NOON, NOON, BatchStatus.PROCESSING)
    return replace(batch, **fields)  # type: ignore[arg-type]


def in_parts(rows: int = 9, **fields: object) -> Batch:
    return a_batch(rows, part_rows=2, opened_parts=1, **fields)


def with_created(batch: Batch, *numbers: int) -> Batch:
    """Return the batch as it is when some of its rows were created."""
    changed = batch.snapshot(0.0)
    for number in numbers:
        changed.rows.put(batch.row(number).moved(RowStatus.CREATED, hospital_id=100 + number))
    return changed


def pass_time(database: Database, seconds: float) -> None:
    database.run("UPDATE test_clock SET now = now + make_interval(secs => %(s)s)", s=seconds)


def stored(storage: PostgresBatches, batch: Batch) -> Batch:
    """Return a batch as it is stored."""
    found = storage.read(batch.id)
    assert found is not None
    return replace(found.head, rows=Rows(found.rows))
