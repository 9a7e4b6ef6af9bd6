"""What a checkpoint costs: a whole document, and the change of a row, with and without fsync."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch
from uuid import uuid4

from benchmarks.figures import Growth, Pair, Section, compared
from benchmarks.rig import PART_ROWS, csv_file
from models.batch import Batch
from models.row import Row, Rows, RowStatus
from services.csv_processor import read_csv
from services.storage.json_files import JsonFiles

SIZES = (20, 200, 2_000, 20_000)
REPEATS = 9
ABOUT = """
A checkpoint as a worker thread writes it: encoded, written beside, synced, put in place, the folder
synced. Floor: `json.dumps` of the same document, written to a file of its own and synced. Of a
batch beyond 20 rows a change is a line at the end of a journal; its floor is the same line by
`json.dumps`, added to a file and synced.
"""


def _batch(rows: int) -> Batch:
    now = datetime.now(UTC)
    read = read_csv(BytesIO(csv_file(rows)), max_rows=rows).rows
    part_rows = PART_ROWS if rows > PART_ROWS else None
    return Batch(
        uuid4(), "http://directory.test", Rows(map(Row, read)), now, now, part_rows=part_rows
    )


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def _dump(document: Any, path: Path, mode: str) -> None:
    with path.open(mode) as file:
        file.write(json.dumps(document))
        file.flush()
        os.fsync(file.fileno())


class _Bench:
    """A batch in a storage, and a file for the floor."""

    def __init__(self, storage: JsonFiles, folder: Path, rows: int) -> None:
        self._storage = storage
        self._bare = folder / "bare"
        self._batch = _batch(rows)
        storage.save(self._batch)
        self._document = folder / f"{self._batch.id}.json"

    def whole(self) -> Pair:
        """Return the seconds of the whole document, and of its content alone."""
        saved_s = _seconds(partial(self._storage.save, self._batch))
        document = json.loads(self._document.read_bytes())
        return saved_s, _seconds(partial(_dump, document, self._bare, "w"))

    def change(self) -> Pair:
        """Return the seconds of one changed row, and of its line alone."""
        row = self._batch.rows[0].moved(RowStatus.PROCESSING, seconds=1.0)
        self._batch.rows.put(row)
        saved_s = _seconds(partial(self._storage.save, self._batch, {1}))
        (journal,) = self._document.parent.glob(f"{self._batch.id}.*.jsonl")
        line = json.loads(journal.read_bytes().splitlines()[-1])
        return saved_s, _seconds(partial(_dump, line, self._bare, "a"))


@contextmanager
def _storage() -> Iterator[tuple[JsonFiles, Path]]:
    with tempfile.TemporaryDirectory() as name:
        storage = JsonFiles(Path(name))
        storage.open()
        try:
            yield storage, Path(name)
        finally:
            storage.close()


def _taken(
    of_bench: Callable[[_Bench], Callable[[], Pair]], sizes: tuple[int, ...]
) -> list[list[Pair]]:
    """Return the repeats of each size, one size after the other: a large file would slow down the
    small one that follows it.
    """
    with _storage() as (storage, folder):
        takers = (of_bench(_Bench(storage, folder, rows)) for rows in sizes)
        return [[take() for _ in range(REPEATS)] for take in takers]


def whole_document(rows: int) -> Pair:
    """Write checkpoints of so many rows; return their seconds and those of their content."""
    with _storage() as (storage, folder):
        bench = _Bench(storage, folder, rows)
        saved_s, floor_s = zip(*(bench.whole() for _ in range(REPEATS)), strict=True)
        return sum(saved_s), sum(floor_s)


def measure() -> Section:
    """Measure documents and changes of all sizes."""
    whole = _taken(lambda bench: bench.whole, SIZES)
    changes = _taken(lambda bench: bench.change, SIZES[1:])
    with patch("os.fsync", lambda handle: None):
        unsynced = _taken(lambda bench: bench.whole, SIZES)
    figures = []
    for name, sizes, found in (
        ("{:,} rows", SIZES, whole),
        ("{:,} rows, without fsync", SIZES, unsynced),
        ("one changed row of {:,}", SIZES[1:], changes),
    ):
        figures += [
            compared(name.format(rows), "ms", [(a * 1000, b * 1000) for a, b in pairs])
            for rows, pairs in zip(sizes, found, strict=True)
        ]
    growths = [
        Growth("whole document", "rows", "ms", _points(SIZES, whole)),
        Growth("one changed row", "rows", "ms", _points(SIZES[1:], changes)),
    ]
    return Section("Checkpoints", ABOUT, figures, growths)


def _points(sizes: tuple[int, ...], found: list[list[Pair]]) -> list[tuple[float, float]]:
    return [
        (rows, median(value for value, _ in pairs) * 1000)
        for rows, pairs in zip(sizes, found, strict=True)
    ]
