"""A file of more rows than a directory batch may have: one batch for the user, several there.

In process, on a virtual clock, with the real settings: 20 rows in a directory batch, 30 creates and
50 of each other call a minute.
"""

import asyncio
from collections import Counter
from pathlib import Path
from uuid import uuid5

import pytest
from prometheus_client import generate_latest

from directory.app import DirectorySettings
from models.api import Progress, RowSelection
from models.batch import Batch, BatchStatus
from models.errors import BatchConflict
from models.row import RowStatus
from routers.progress_document import progress_json
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import now_s, play
from tests.integration.test_interruptions import recovered

LARGE = {"max_csv_size": 10_000}
WINDOW_S = 61.0  # in which 30 creates may leave, and 50 activations
UNPACED = LARGE | {
    "create_rate_limit": 0,
    "directory": DirectorySettings(create_limit=0, lookup_limit=0, root_limit=0),
}


async def held_in_each(harness: Harness) -> Counter[str]:
    """Return how many hospitals each directory batch has."""
    return Counter(h["creation_batch_id"] for h in await harness.hospitals())


def calls(harness: Harness, kind: str) -> list[str]:
    """Return the directory batches that were asked about, or changed, in order."""
    return [request.split("/")[3] for request in harness.wire.requests if request.startswith(kind)]


LIST, ACTIVATE = "GET /hospitals/batch/", "PATCH /hospitals/batch/"


def test_a_large_file_is_one_batch_of_several_directory_batches(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(45))

        await assert_exactly_once(harness, batch)
        first, second, third = batch.opened_directory_batch_ids
        assert (first, second) == (batch.id, uuid5(batch.id, "part 1"))
        held = await held_in_each(harness)
        assert held == {str(first): 20, str(second): 20, str(third): 5}

    play(tmp_path, scenario, **LARGE)


def test_a_file_goes_as_fast_as_the_directory_allows(tmp_path: Path):
    """The last 10 of 100 rows leave when the fourth window opens; looks and activations fit in."""

    async def scenario(harness: Harness) -> None:
        started_s = now_s()

        batch = await harness.load(csv_file(100))

        await assert_exactly_once(harness, batch)
        assert now_s() - started_s == pytest.approx(3 * WINDOW_S + 5, abs=0.5)
        refused = harness.directory.desk.stats.refused
        assert not +Counter(refused)

    play(tmp_path, scenario, **LARGE)


def test_nothing_is_activated_before_every_row_of_every_part_is_there(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("hang", seconds=40, skip=25)
        await harness.fault("drop_after", skip=50)

        batch = await harness.load(csv_file(70))

        await assert_exactly_once(harness, batch)
        requests = harness.wire.requests
        first = next(i for i, request in enumerate(requests) if request.startswith(ACTIVATE))
        assert sum(request.startswith("POST") for request in requests[:first]) >= 70
        assert not any(request.startswith("POST") for request in requests[first:])
        assert set(calls(harness, LIST)) == set(map(str, batch.opened_directory_batch_ids))

    play(tmp_path, scenario, **LARGE)


def test_a_part_keeps_its_rows_when_the_setting_changes(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(45))
        await asyncio.sleep(3)
        await harness.kill()
        await harness.wire.settle()

        after = await recovered(harness, batch, directory_batch_limit=7)

        await assert_exactly_once(harness, after)
        assert sorted((await held_in_each(harness)).values()) == [5, 20, 20]
        assert after.part_rows == 20

    play(tmp_path, scenario, **LARGE)


def test_a_restart_looks_at_opened_parts_only(tmp_path: Path):
    """Of 2,000 rows 30 can have been sent: the other parts need no look before they are sent."""

    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(2000))
        await asyncio.sleep(10)
        await harness.kill()
        harness.wire.requests.clear()
        await harness.start()
        await asyncio.sleep(WINDOW_S)

        looked = set(calls(harness, LIST))

        after = harness.service.get(batch.id)
        assert looked <= set(map(str, after.opened_directory_batch_ids))
        assert len(looked) <= 7  # two that were sent, and five that were opened with the second
        assert after.rows.count(RowStatus.VERIFYING) == 0
        assert harness.service.outlook(after).step.startswith("waiting for the directory's rate")
        assert after.row(2000).status is RowStatus.PENDING

    play(tmp_path, scenario, **LARGE)


def test_a_crash_at_any_moment_ends_exactly_once(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        for number, after_s in enumerate((0.0, 4.99, 5.0, 61.5, 66.0, 66.1)):
            batch = await harness.submit(csv_file(45, start=1000 * number))
            await asyncio.sleep(after_s)
            await harness.kill()

            await assert_holds(harness, await recovered(harness, batch))

    play(tmp_path, scenario, **LARGE)


@pytest.mark.parametrize("kind", ["drop_before", "error_before", "lose", "partial", "refuse"])
def test_an_activation_that_stops_half_way_ends_in_all_active(tmp_path: Path, kind: str):
    """The second part fails for as long as a run is patient; the resume does the rest."""

    async def scenario(harness: Harness) -> None:
        await harness.fault(kind, "activate", skip=1, times=60)

        batch = await harness.load(csv_file(70))

        assert batch.status is BatchStatus.RESUMABLE
        assert 0 < sum(h["active"] for h in await harness.hospitals()) < 70
        await harness.heal()
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario, **UNPACED)


def test_a_directory_that_restarts_in_the_middle_is_filled_anew_before_it_is_activated(
    tmp_path: Path,
):
    """The first parts were verified long ago; nothing tells that they are gone but a new look."""

    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(65))
        await asyncio.sleep(100)
        assert batch.rows.count(RowStatus.CREATED) == 60
        await harness.restart_directory()
        harness.wire.requests.clear()

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        first = next(
            i for i, request in enumerate(harness.wire.requests) if request.startswith(ACTIVATE)
        )
        created = [r for r in harness.wire.requests[:first] if r.startswith("POST")]
        assert len(created) == 65

    play(tmp_path, scenario, **LARGE)


@pytest.mark.parametrize("after_s", [0.01, 0.5, 0.99, 1.01, 1.5, 1.98])
def test_a_directory_that_restarts_during_the_activation_is_filled_anew(
    tmp_path: Path, after_s: float
):
    async def scenario(harness: Harness) -> None:
        await harness.fault("slow", "activate", seconds=1, times=None)
        batch = await harness.submit(csv_file(100))
        await asyncio.sleep(25 + after_s)
        assert batch.status is BatchStatus.ACTIVATING
        await harness.restart_directory()

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, **UNPACED)


def test_a_small_file_gets_its_turn_while_a_large_one_runs(tmp_path: Path):
    """30 rows of the large one have left; in the next window both have as many turns."""

    async def scenario(harness: Harness) -> None:
        started_s = now_s()
        large = await harness.submit(csv_file(1000))
        await asyncio.sleep(30)
        small = await harness.submit(csv_file(10, start=5001))

        await harness.service.wait(small)

        assert now_s() - started_s == pytest.approx(WINDOW_S + 5, abs=1)
        await assert_holds(harness, small)
        assert large.rows.count(RowStatus.CREATED) >= 40
        await harness.service.cancel(large.id)

    play(tmp_path, scenario, **LARGE)


async def assert_holds(harness: Harness, batch: Batch) -> None:
    """The directory has the batch's rows, active, whatever else it has."""
    held = await harness.hospitals(*batch.opened_directory_batch_ids)
    assert batch.status is BatchStatus.COMPLETED
    assert Counter(h["name"] for h in held) == Counter(row.hospital.name for row in batch.rows)
    assert all(h["active"] for h in held)


def test_the_time_that_is_told_is_the_time_that_it_takes(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        started_s, told_s = now_s(), harness.service.loading_s(1000)
        batch = await harness.submit(csv_file(1000))
        await asyncio.sleep(1000)
        left_s = harness.service.outlook(batch).eta_s

        await harness.service.wait(batch)

        took_s = now_s() - started_s
        assert took_s == pytest.approx(told_s, rel=0.02)
        assert left_s is not None
        assert 1000 + left_s == pytest.approx(took_s, rel=0.04)

    play(tmp_path, scenario, **LARGE)


def test_the_rows_that_wait_are_counted_whether_or_not_their_part_has_begun(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.submit(csv_file(1000))
        await asyncio.sleep(10)

        series = generate_latest(harness.meters.registry).decode()

        assert "hospital_bulk_rows_waiting 970.0" in series.splitlines()

    play(tmp_path, scenario, **LARGE)


def test_hours_are_told_before_a_registry_is_loaded(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        assert harness.service.loading_s(5320) == pytest.approx(3.07 * 3600, rel=0.02)
        assert harness.service.loading_s(20) == 5.0
        assert harness.service.loading_s(0) == 0.0

    play(tmp_path, scenario, **LARGE)


def test_a_cancelled_file_stops_between_its_rows_and_a_resume_sends_the_rest(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(90))
        await asyncio.sleep(70)
        await harness.service.cancel(batch.id)
        await harness.service.wait(batch)

        assert batch.status is BatchStatus.RESUMABLE
        assert batch.created_count == 60
        await assert_exactly_once(harness, await harness.resume(batch))
        assert sum(request.startswith("POST") for request in harness.wire.requests) == 90

    play(tmp_path, scenario, **LARGE)


def test_a_row_that_is_refused_leaves_every_part_inactive(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", skip=42)

        batch = await harness.load(csv_file(60))

        assert batch.status is BatchStatus.FAILED
        assert not any(h["active"] for h in await harness.hospitals())
        [refused] = batch.lacking
        corrected = await harness.service.correct(
            batch.id, refused.hospital.row, {"name": "Another"}
        )
        assert corrected.hospital.name == "Another"
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario, **LARGE)


class TestProgress:
    def test_the_rows_come_in_pages_and_the_counts_are_whole(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            batch = await harness.load(csv_file(2345))

            pages = [shown(harness, batch, offset) for offset in (0, 1000, 2000, 3000)]

            assert [len(page.hospitals) for page in pages] == [1000, 1000, 345, 0]
            assert [row.row for page in pages for row in page.hospitals] == list(range(1, 2346))
            assert {page.processed_hospitals for page in pages} == {2345}
            assert {page.selected_hospitals for page in pages} == {2345}
            assert shown(harness, batch, 7, 2).hospitals == pages[0].hospitals[7:9]

        play(tmp_path, scenario, **UNPACED)

    def test_those_that_failed_can_be_paged_alone(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            await harness.fault("reject", times=7, skip=30)
            batch = await harness.load(csv_file(60))

            page = shown(harness, batch, 5, 10, only_failed=True)

            assert page.selected_hospitals == 7
            assert len(page.hospitals) == 2
            assert {row.status for row in page.hospitals} == {RowStatus.FAILED}
            assert all(row.to_correct for row in page.hospitals)

        play(tmp_path, scenario, **UNPACED)


def shown(
    harness: Harness, batch: Batch, offset: int, limit: int = 1000, *, only_failed: bool = False
) -> Progress:
    selection = RowSelection(offset, limit, only_failed)
    return Progress.model_validate_json(progress_json(harness.service, batch, selection))


class TestAbandon:
    def test_every_part_leaves_the_directory(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            batch = await harness.submit(csv_file(70))
            await asyncio.sleep(66.1)
            await harness.service.cancel(batch.id)
            await harness.service.wait(batch)

            deleted = await harness.service.abandon(batch.id)

            assert deleted == 60
            assert await harness.hospitals() == []

        play(tmp_path, scenario, **LARGE)
        assert list(tmp_path.glob("*.json*")) == []

    def test_nothing_is_deleted_when_the_last_part_has_an_active_hospital(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            batch = await harness.submit(csv_file(60))
            await asyncio.sleep(66.1)
            await harness.service.cancel(batch.id)
            await harness.service.wait(batch)
            last = batch.directory_batch_ids(2)[0]
            await harness.control.patch(f"/hospitals/batch/{last}/activate")

            with pytest.raises(BatchConflict, match="active"):
                await harness.service.abandon(batch.id)

            assert batch.status is not BatchStatus.ABANDONING
            assert len(await harness.hospitals()) == 60

        play(tmp_path, scenario, **LARGE)

    def test_how_far_it_is_can_be_seen(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            batch = await harness.submit(csv_file(70))
            await asyncio.sleep(66.1)
            await harness.service.cancel(batch.id)
            await harness.service.wait(batch)
            told = []
            harness.service.watch(
                batch.id, lambda _: told.append(harness.service.outlook(batch).step)
            )

            await harness.service.abandon(batch.id)

            assert told[0] == "being abandoned: looking at part 1 of 4"
            assert "being abandoned: deleting part 3 of 4" in told

        play(tmp_path, scenario, **LARGE)

    def test_after_a_crash_what_arrives_late_goes_too(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            batch = await harness.submit(csv_file(45))
            await asyncio.sleep(62)  # the creates of the second window are under way
            await harness.kill()
            await harness.start(auto_resume=False)

            await harness.service.abandon(batch.id)

            await harness.wire.settle()
            assert await harness.hospitals() == []

        play(tmp_path, scenario, **LARGE)


def test_a_comparison_looks_at_every_part(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(45))
        assert (await harness.service.verify(batch.id)).matches
        last = (await harness.hospitals(batch.directory_batch_ids(2)[0]))[0]
        await harness.control.delete(f"/hospitals/{last['id']}")

        compared = await harness.service.verify(batch.id)

        assert [row.hospital.name for row in compared.missing] == [last["name"]]

    play(tmp_path, scenario, **LARGE)
