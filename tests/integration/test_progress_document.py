"""What polling tells of a batch, through all that can happen to it."""

import asyncio
import json
from pathlib import Path
from typing import Any

from models.api import Progress, RowSelection, RowState
from models.batch import Batch, BatchStatus
from routers.progress_document import progress_json
from tests.harness import Harness, csv_file
from tests.integration.test_exactly_once import play

SELECTIONS = (
    RowSelection(),
    RowSelection(0, 10),
    RowSelection(10, 10),
    RowSelection(only_failed=True),
    RowSelection(1, 1, only_failed=True),
)


def assert_told_as_is(harness: Harness, batch: Batch) -> None:
    """Compare each page with its rows, each of which is put into words anew."""
    for selection in SELECTIONS:
        document = json.loads(progress_json(harness.service, batch, selection))
        states = [
            RowState.of(row, is_correctable=batch.is_correctable).model_dump(mode="json")
            for row in selection.of(batch)
        ]
        assert document["hospitals"] == states
        assert document["status"] == batch.status
        assert document["processed_hospitals"] == batch.created_count
        assert document["selected_hospitals"] == selection.count(batch)


def test_nothing_is_told_later_than_it_is_so(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        changes: list[int | None] = []
        await harness.fault("reject", times=None, name="Hospital 3")
        await harness.fault("drop_after", times=2, skip=8)
        batch = await harness.submit(csv_file(20))

        def hear(row: int | None) -> None:
            changes.append(row)
            assert_told_as_is(harness, batch)

        harness.service.watch(batch.id, hear)
        await harness.service.wait(batch)
        assert batch.status is BatchStatus.FAILED
        assert_told_as_is(harness, batch)

        await harness.service.correct(batch.id, 3, {"name": "Third Hospital"})
        assert_told_as_is(harness, batch)
        assert told_row(harness, batch, 3)["name"] == "Third Hospital"

        resumed = await harness.resume(batch)
        assert resumed.status is BatchStatus.COMPLETED
        assert_told_as_is(harness, batch)
        assert told_row(harness, batch, 3)["status"] == "created_and_activated"
        assert {*range(1, 21)} <= {*changes}

    play(tmp_path, scenario)


def test_the_seconds_go_by_though_no_row_changes(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(1)
        first = Progress.model_validate_json(progress_json(harness.service, batch))
        await asyncio.sleep(1)
        second = Progress.model_validate_json(progress_json(harness.service, batch))

        assert second.hospitals == first.hospitals
        assert second.processing_time_seconds == first.processing_time_seconds + 1

    play(tmp_path, scenario)


def test_the_document_has_its_fields_in_the_order_of_its_shape(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(2))

        document = progress_json(harness.service, batch)

        assert [*json.loads(document)] == [*Progress.model_fields]
        assert Progress.model_validate_json(document).model_dump_json().encode() == document

    play(tmp_path, scenario)


def told_row(harness: Harness, batch: Batch, number: int) -> dict[str, Any]:
    document = json.loads(progress_json(harness.service, batch))
    return dict(document["hospitals"][number - 1])
