"""Whole registries at the pace that the real directory allows, with kills and faults.

On a virtual clock with the real settings: 5,320 rows take three hours and a half there.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from directory.faults import FaultRule
from models.batch import INTERRUPTED, Batch, BatchStatus
from models.errors import FileRejected
from tests.harness import Harness, assert_exactly_once
from tests.integration.test_exactly_once import now_s, play

REGISTRY = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not REGISTRY.is_dir(), reason="the registry files are not here")

LARGE = {"max_csv_size": 10_000}
# One in a hundred or so, for as long as the load takes.
TROUBLE = [
    FaultRule(endpoint="create", kind="drop_after", probability=0.004),
    FaultRule(endpoint="create", kind="drop_before", probability=0.004),
    FaultRule(endpoint="create", kind="error_after", probability=0.003),
    FaultRule(endpoint="create", kind="late", probability=0.002, seconds=14),
    FaultRule(endpoint="create", kind="hang", probability=0.002, seconds=40),
    FaultRule(endpoint="list_batch", kind="garbled", probability=0.02),
    FaultRule(endpoint="activate", kind="drop_after", probability=0.02),
    FaultRule(endpoint="activate", kind="drop_before", probability=0.02),
    FaultRule(endpoint="activate", kind="partial", probability=0.01),
]


def registry(name: str) -> str:
    return (REGISTRY / name).read_text(encoding="utf-8-sig")


async def ended(harness: Harness, batch: Batch) -> Batch:
    """Return the batch when it has ended, resumed as often as a patient person would."""
    for _ in range(20):
        batch = harness.service.get(batch.id)
        if batch.status is BatchStatus.RESUMABLE:
            await harness.service.resume(batch.id)
        await harness.service.wait(batch)
        if batch.status is BatchStatus.COMPLETED:
            break
    return batch


def test_a_registry_of_5320_rows_is_loaded_in_the_time_that_was_told(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        started_s = now_s()
        told_s = harness.service.loading_s(5320)

        batch = await harness.load(registry("us_5000.csv"))

        await assert_exactly_once(harness, batch)
        assert batch.parts == 266
        assert now_s() - started_s == pytest.approx(told_s, rel=0.01)
        assert not +Counter(harness.directory.desk.stats.refused)

    play(tmp_path, scenario, **LARGE)


@pytest.mark.parametrize("name", ["fr_idf_semicolon_bom_crlf.csv", "us_5000.csv"])
def test_a_registry_arrives_exactly_once_through_kills_restarts_and_faults(
    tmp_path: Path, name: str
):
    """Killed every half an hour; half-way the directory restarts and forgets everything."""

    async def scenario(harness: Harness) -> None:
        harness.directory.desk.faults.replace(TROUBLE)
        batch = await harness.upload(registry(name))
        forgets_at = len(batch.rows) // 2
        while harness.service.get(batch.id).status in INTERRUPTED:
            await asyncio.sleep(1800.3)
            if forgets_at and harness.service.get(batch.id).created_count > forgets_at:
                await harness.restart_directory()
                forgets_at = 0
            await harness.kill()
            await harness.start()

        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario, **LARGE)


def test_the_sound_rows_of_a_registry_are_loaded_and_the_others_reported(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        with pytest.raises(FileRejected) as refusal:
            await harness.upload(registry("uk_nhs.csv"))
        assert [(e.row, e.column) for e in refusal.value.errors] == [(605, "phone"), (714, "phone")]

        batch = await harness.upload(registry("uk_nhs.csv"), skip_invalid=True)
        await harness.service.wait(batch)

        assert batch.status is BatchStatus.COMPLETED
        assert [row.hospital.row for row in batch.rows if row.skipped] == [605, 714]
        assert (await harness.service.verify(batch.id)).matches
        held = await harness.hospitals()
        assert len(held) == 1232
        assert all(h["active"] for h in held)

    play(tmp_path, scenario, **LARGE)
