"""What the service counts while it loads files: each fault of the directory seen in its metric.

In process, on a virtual clock, with the real settings.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from directory.app import DirectorySettings
from models.batch import BatchStatus
from models.caller import ANYBODY
from models.errors import StorageUnavailable
from services.meters import Meters
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.virtual_time import run_virtual

Scenario = Callable[[Harness], Awaitable[None]]


def play(folder: Path, scenario: Scenario, **settings: Any) -> None:
    """Run *scenario* on a virtual clock against a directory with the real timing."""

    async def run() -> None:
        async with Harness(folder, DirectorySettings(), **settings) as harness:
            await scenario(harness)

    run_virtual(run())


def value(harness: Harness, name: str, **labels: str) -> float | None:
    """Return the value of one series as Prometheus would read it now."""
    return harness.meters.registry.get_sample_value(f"hospital_bulk_{name}", labels)


def by_label(harness: Harness, name: str, label: str) -> dict[str, float]:
    """Return the values that are not 0 of all series of one metric."""
    return {
        sample.labels[label]: sample.value
        for family in harness.meters.registry.collect()
        for sample in family.samples
        if sample.name == f"hospital_bulk_{name}" and sample.value
    }


def test_a_file_without_faults_is_counted_row_by_row(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.load(csv_file(3))

        assert by_label(harness, "creates_total", "outcome") == {"created": 3}
        assert value(harness, "create_seconds_count") == 3
        assert value(harness, "create_seconds_sum") == pytest.approx(15.0, abs=0.1)
        assert value(harness, "checkpoint_seconds_count") > 0  # type: ignore[operator]
        assert value(harness, "checkpoint_failures_total") == 0
        assert by_label(harness, "batches", "status") == {"completed": 1}

    play(tmp_path, scenario)


def test_what_is_under_way_is_read_when_it_is_asked_for(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        def now() -> tuple[float | None, ...]:
            names = ("rows_waiting", "creates_under_way", "create_budget_left")
            return tuple(value(harness, name) for name in names)

        assert now() == (0, 0, 30)
        batches = [await harness.submit(csv_file(*rows)) for rows in ((20, 1), (15, 21))]
        await asyncio.sleep(1)
        assert now() == (15, 20, 10)
        assert by_label(harness, "batches", "status") == {"processing": 2}
        await asyncio.sleep(5)
        assert now() == (5, 10, 0)
        for batch in batches:
            await harness.service.wait(batch)
        await asyncio.sleep(120)

        assert now() == (0, 0, 30)
        assert by_label(harness, "batches", "status") == {"completed": 2}

    play(tmp_path, scenario)


def test_every_status_is_shown_also_when_no_batch_has_it(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        assert [value(harness, "batches", status=status) for status in BatchStatus] == [0] * 8

    play(tmp_path, scenario)


def test_without_a_limit_the_budget_is_infinite(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        assert value(harness, "create_budget_left") == float("inf")

    play(tmp_path, scenario, create_rate_limit=0)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("reject", "refused"),
        ("refuse", "rate_limited"),
        ("full", "batch_full"),
        ("drop_after", "unknown"),
        ("gateway", "unexpected"),
    ],
)
def test_what_became_of_a_create_is_counted(kind: str, outcome: str, tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault(kind)
        await harness.load(csv_file(1))

        counted = by_label(harness, "creates_total", "outcome")
        assert counted[outcome] == 1
        assert set(counted) <= {outcome, "created"}
        assert value(harness, "create_seconds_count") == counted.get("created", 0)

    play(tmp_path, scenario)


def test_a_create_that_found_no_connection_is_counted(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.load(csv_file(1))
        harness.wire.up = False  # the directory answered lately: it is not woken first
        batch = await harness.submit(csv_file(1, start=2))
        await asyncio.sleep(0.1)
        assert by_label(harness, "creates_total", "outcome") == {"created": 1, "not_sent": 1}
        harness.wire.up = True
        await harness.service.wait(batch)

        assert by_label(harness, "creates_total", "outcome") == {"created": 2, "not_sent": 1}

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("endpoint", "name"), [("create", "create"), ("list_batch", "look"), ("activate", "activate")]
)
def test_a_429_is_counted_by_endpoint(endpoint: str, name: str, tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("refuse", endpoint, times=2)
        batch = await harness.load(csv_file(1))

        await assert_exactly_once(harness, batch)
        assert by_label(harness, "directory_rate_limited_total", "endpoint") == {name: 2}

    play(tmp_path, scenario)


def test_a_429_of_a_delete_is_counted(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", name="Hospital 2")
        batch = await harness.load(csv_file(2))
        await harness.fault("refuse", "delete_batch")
        await harness.service.abandon(batch.id)

        assert by_label(harness, "directory_rate_limited_total", "endpoint") == {"delete_batch": 1}
        assert by_label(harness, "batches", "status") == {}

    play(tmp_path, scenario)


def test_no_budget_is_shown_while_the_directory_refuses(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("refuse", times=None)
        batch = await harness.submit(csv_file(2))
        await asyncio.sleep(0.5)
        assert value(harness, "create_budget_left") == 0
        assert value(harness, "rows_waiting") == 2
        await harness.heal()
        await harness.service.wait(batch)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("kind", "settings", "how"),
    [
        ("drop_after", {}, "found"),
        ("drop_before", {}, "sent_again"),
        ("drop_before", {"max_attempts": 1}, "out_of_tries"),
    ],
)
def test_how_an_unknown_outcome_was_settled_is_counted(
    kind: str, settings: dict[str, Any], how: str, tmp_path: Path
):
    async def scenario(harness: Harness) -> None:
        await harness.fault(kind)
        await harness.load(csv_file(3))

        assert value(harness, "creates_total", outcome="unknown") == 1
        assert by_label(harness, "unknown_outcomes_settled_total", "how") == {how: 1}

    play(tmp_path, scenario, **settings)


def test_a_row_that_a_crash_left_unclear_is_settled_by_the_next_process(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.submit(csv_file(2))
        await asyncio.sleep(1)
        await harness.kill()
        await harness.wire.settle()
        await harness.start()
        [batch] = harness.service.page(ANYBODY, (), None, 10).batches
        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        assert by_label(harness, "creates_total", "outcome") == {}
        assert by_label(harness, "unknown_outcomes_settled_total", "how") == {"found": 2}

    play(tmp_path, scenario)


def test_a_surplus_copy_that_was_deleted_is_counted(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(2))
        row = batch.row(1).hospital
        copy = {"name": row.name, "address": row.address, "phone": row.phone}
        await harness.control.post(
            "/_directory/hospitals", json=copy | {"creation_batch_id": str(batch.id)}
        )
        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        assert value(harness, "surplus_copies_deleted_total") == 1

    play(tmp_path, scenario)


def test_a_checkpoint_that_cannot_be_written_is_counted_and_timed(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        shutil.rmtree(tmp_path / "batches")
        (tmp_path / "batches").write_text("no folder")
        with pytest.raises(StorageUnavailable):
            await harness.submit(csv_file(1))

        assert value(harness, "checkpoint_failures_total") == 1
        assert value(harness, "checkpoint_seconds_count") == 1
        assert by_label(harness, "batches", "status") == {}

    play(tmp_path / "batches", scenario)


def test_services_in_one_process_count_each_for_itself():
    one, other = Meters(), Meters()

    one.rate_limited("create")

    name, labels = "hospital_bulk_directory_rate_limited_total", {"endpoint": "create"}
    assert one.registry.get_sample_value(name, labels) == 1
    assert other.registry.get_sample_value(name, labels) == 0
