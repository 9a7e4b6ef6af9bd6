"""One upload becomes one activated batch, exactly once, through every fault of the directory.

In process, on a virtual clock, with the real settings (5 s creates, 15 s settling, 30 creates a
minute): whatever goes wrong, the directory ends up with the file's rows, each one, once, active.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from directory.answers import Answer
from directory.app import DirectorySettings
from models.batch import Batch, BatchStatus
from models.errors import BatchConflict
from models.hospital import ListedHospital
from models.outcome import Absent, Deleted
from models.row import RowStatus
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.virtual_time import run_virtual

Scenario = Callable[[Harness], Awaitable[None]]


def play(folder: Path, scenario: Scenario, **settings: Any) -> None:
    """Run *scenario* on a virtual clock against a directory with the real timing."""
    directory = settings.pop("directory", None)

    async def run() -> None:
        async with Harness(folder, directory, **settings) as harness:
            await scenario(harness)

    run_virtual(run())


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def insert_copy(harness: Harness, batch: Batch, number: int) -> None:
    """Have an identical copy of a row appear in the batch, as a late commit would."""
    row = batch.row(number).hospital
    copy = {"name": row.name, "address": row.address, "phone": row.phone}
    await harness.control.post(
        "/_directory/hospitals", json=copy | {"creation_batch_id": str(batch.id)}
    )


def test_twenty_rows_take_one_create_and_two_looks(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        started_s = now_s()

        batch = await harness.load(csv_file(20))

        await assert_exactly_once(harness, batch)
        assert now_s() - started_s == pytest.approx(5.0, abs=0.01)
        calls = [request.partition(f"/{batch.id}")[0] for request in harness.wire.requests]
        assert calls == [
            "GET /",
            *["POST /hospitals/"] * 20,
            "GET /hospitals/batch",
            "PATCH /hospitals/batch",
            "GET /hospitals/batch",
        ]

    play(tmp_path, scenario)


CREATE_FAULTS = [
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "error_before"},
    {"kind": "error_after"},
    {"kind": "error_before", "status": 503},
    {"kind": "garbled"},
    {"kind": "truncated"},
    {"kind": "hang"},
    {"kind": "slow", "seconds": 40},
    {"kind": "late", "seconds": 4},
    {"kind": "late", "seconds": 14},
    {"kind": "late_error", "seconds": 14},
    {"kind": "stall", "seconds": 20},
    {"kind": "stall", "seconds": 40},  # later than the service waits for an answer
    {"kind": "refuse"},
    {"kind": "lose"},
    {"kind": "full"},
]


@pytest.mark.parametrize("rows", [1, 5, 20])
@pytest.mark.parametrize("fault", CREATE_FAULTS, ids=str)
def test_a_create_that_goes_wrong_makes_no_row_lost_or_doubled(
    tmp_path: Path, fault: dict[str, Any], rows: int
):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**fault, times=rows)

        batch = await harness.load(csv_file(20))

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop_after"},
        {"kind": "error_after"},
        {"kind": "hang"},
        {"kind": "late", "seconds": 14},
        {"kind": "late_error", "seconds": 14},
        {"kind": "stall", "seconds": 44},
    ],
    ids=str,
)
def test_a_create_that_is_applied_after_all_is_never_sent_again(
    tmp_path: Path, fault: dict[str, Any]
):
    """
    A second copy would be found and deleted before the activation, but need not have been made.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault(**fault, times=3)

        batch = await harness.load(csv_file(5))

        await assert_exactly_once(harness, batch)
        assert harness.wire.requests.count("POST /hospitals/") == 5

    play(tmp_path, scenario)


@pytest.mark.parametrize("fault", CREATE_FAULTS, ids=str)
def test_identical_rows_are_each_created_whatever_goes_wrong(tmp_path: Path, fault: dict[str, Any]):
    async def scenario(harness: Harness) -> None:
        await harness.fault(**fault, times=3)
        twins = "name,address\n" + "Twin Hospital,1 Same Street\n" * 6 + "Other,2 Other Street\n"

        batch = await harness.load(twins)

        await assert_exactly_once(harness, batch)
        assert len(await harness.hospitals(batch.id)) == 7

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "kind",
    ["drop_before", "drop_after", "error_before", "error_after", "garbled", "truncated", "hang"],
)
def test_an_activation_of_unknown_outcome_is_settled_by_listing(tmp_path: Path, kind: str):
    async def scenario(harness: Harness) -> None:
        await harness.fault(kind, "activate")

        batch = await harness.load(csv_file(20))

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_an_activation_that_is_applied_late_is_not_sent_again_too_early(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("late", "activate", seconds=14)

        batch = await harness.load(csv_file(20))

        await assert_exactly_once(harness, batch)
        assert sum("activate" in request for request in harness.wire.requests) == 1

    play(tmp_path, scenario)


@pytest.mark.parametrize("times", [1, None])
def test_an_activation_that_is_answered_but_has_no_effect_is_noticed(
    tmp_path: Path, times: int | None
):
    """
    A 200 is not yet an active row; and what never has an effect is not tried for ever.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault("lose", "activate", times=times)

        batch = await harness.load(csv_file(3))

        if times is None:
            assert batch.status is BatchStatus.RESUMABLE
            assert "could not be verified and activated" in (batch.failure_reason or "")
            await harness.heal()
            await harness.resume(batch)
        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_deletes_that_are_answered_but_have_no_effect_end_the_run(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("lose", "delete", times=None)
        batch = await harness.submit(csv_file(5))
        await insert_copy(harness, batch, 2)

        await harness.service.wait(batch)

        assert batch.status is BatchStatus.RESUMABLE
        await harness.heal()
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_an_activation_that_a_gateway_answered_may_be_applied_late(tmp_path: Path):
    """
    The batch is in doubt then: an abandon that did not settle would delete active hospitals.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault("late_error", "activate", status=408, seconds=1)
        await harness.fault("slow", "list_batch", seconds=2, skip=1)
        batch = await harness.load(csv_file(3))
        assert batch.status is BatchStatus.RESUMABLE

        with pytest.raises(BatchConflict, match="active"):
            await harness.service.abandon(batch.id)

        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_a_reason_that_cannot_be_encoded_is_made_so(tmp_path: Path, monkeypatch: Any):
    async def scenario(harness: Harness) -> None:
        wild = Answer(422, b'{"detail": "bad \\ud800 name"}')
        monkeypatch.setattr("directory.desk.REJECTED", wild)
        await harness.fault("reject", name="Hospital 2")

        batch = await harness.load(csv_file(3))

        assert batch.status is BatchStatus.FAILED
        assert batch.row(2).error == "refused by the directory: bad ? name"

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "kind", ["drop_before", "error_before", "garbled", "truncated", "hang", "refuse"]
)
@pytest.mark.parametrize("times", [1, 3])
def test_lists_that_fail_are_asked_again(tmp_path: Path, kind: str, times: int):
    async def scenario(harness: Harness) -> None:
        await harness.fault(kind, "list_batch", times=times)
        await harness.fault("drop_after", times=2)

        batch = await harness.load(csv_file(20))

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, wake_timeout_seconds=200)


@pytest.mark.parametrize("endpoint", ["create", "list_batch", "activate"])
def test_an_answer_from_something_in_between_ends_the_run_resumable(tmp_path: Path, endpoint: str):
    """
    A gateway's 404 is not an empty batch: reading it so would send every row again.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault("gateway", endpoint, status=404)

        batch = await harness.load(csv_file(5))

        assert batch.status is BatchStatus.RESUMABLE
        assert "HOSPITAL_API_BASE_URL" in (batch.failure_reason or "")
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


@pytest.mark.parametrize("at_s", [0.5, 2.0, 4.99, 5.0])
def test_a_directory_that_restarts_in_the_middle_and_forgets_is_filled_again(
    tmp_path: Path, at_s: float
):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(at_s)
        await harness.restart_directory(down_seconds=3)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_a_directory_that_forgets_between_the_creates_and_the_look_is_filled_again(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("slow", "list_batch", seconds=20)
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(6)
        await harness.restart_directory()
        # Another client takes the first ids, which count from 1 again.
        other = {"name": "Foreign", "address": "Elsewhere 1", "active": True}
        await harness.control.post("/_directory/hospitals", json=other)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        assert len(await harness.hospitals()) == 21

    play(tmp_path, scenario)


def test_a_directory_that_evicts_rows_ends_the_run_with_the_reason(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.load(csv_file(20))

        assert batch.status is BatchStatus.RESUMABLE
        assert "lost row" in (batch.failure_reason or "")

    play(tmp_path, scenario, directory=DirectorySettings(keep=10))


@pytest.mark.parametrize("status", [None, 503])
def test_a_sleeping_directory_is_woken_before_the_first_create(tmp_path: Path, status: int | None):
    async def scenario(harness: Harness) -> None:
        body = {"wake_seconds": 27.6, "status": status}
        await harness.control.post("/_directory/sleep", json=body)
        started_s = now_s()

        batch = await harness.load(csv_file(20))

        await assert_exactly_once(harness, batch)
        assert now_s() - started_s < 27.6 + 5 + 5.1
        assert harness.wire.requests.count("POST /hospitals/") == 20

    play(tmp_path, scenario)


def test_a_directory_that_is_down_leaves_the_batch_resumable_within_the_wake_timeout(
    tmp_path: Path,
):
    async def scenario(harness: Harness) -> None:
        harness.wire.up = False
        started_s = now_s()

        batch = await harness.load(csv_file(20))

        assert batch.status is BatchStatus.RESUMABLE
        assert "could not be reached for 90 s" in (batch.failure_reason or "")
        assert now_s() - started_s <= 90.0
        assert all(row.status is RowStatus.PENDING for row in batch.rows)
        harness.wire.up = True
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


@pytest.mark.parametrize("down", ["refused", "hanging"])
def test_a_directory_that_goes_down_in_the_middle_leaves_the_batch_resumable(
    tmp_path: Path, down: str
):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        if down == "refused":
            harness.wire.up = False
        else:
            await harness.control.post("/_directory/sleep", json={"wake_seconds": 1000})
        started_s = now_s()

        await harness.service.wait(batch)

        assert batch.status is BatchStatus.RESUMABLE
        assert "could not be reached" in (batch.failure_reason or "")
        # A list sent into the silence is given up after HTTP_TIMEOUT_SECONDS.
        assert now_s() - started_s <= 3 + 30 + 90.1
        harness.wire.up = True
        await asyncio.sleep(1000)
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_a_directory_that_cannot_list_for_hours_is_waited_for_as_long_as_it_was_set(
    tmp_path: Path,
):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", "list_batch", times=2000)

        batch = await harness.load(csv_file(2))

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, wake_timeout_seconds=86_400)


def test_strangers_who_use_up_the_budget_cost_no_try(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("refuse", times=40)
        await harness.fault("drop_before", name="Hospital 3")

        batch = await harness.load(csv_file(20))

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, max_attempts=2)


def test_strangers_who_use_up_every_budget_end_the_run_after_five_windows(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("refuse", times=None)
        started_s = now_s()

        batch = await harness.load(csv_file(20))

        assert batch.status is BatchStatus.RESUMABLE
        assert "5 rate windows" in (batch.failure_reason or "")
        assert 5 * 61 <= now_s() - started_s <= 6 * 61
        assert all(row.status is RowStatus.PENDING for row in batch.rows)
        await harness.heal()
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_a_row_that_runs_out_of_tries_fails_and_a_resume_sends_it_again(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")

        batch = await harness.load(csv_file(5))

        assert batch.status is BatchStatus.RESUMABLE
        assert batch.row(3).status is RowStatus.FAILED
        assert batch.created_count == 4
        assert "after 4 tries" in (batch.row(3).error or "")
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_a_resume_handles_only_what_is_not_created(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")
        batch = await harness.load(csv_file(20))

        resumption = await harness.service.resume(batch.id)
        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        assert [row.hospital.row for row in resumption.handled()] == [3]
        # 20, three more tries of the third row, and one by the resume.
        assert harness.wire.requests.count("POST /hospitals/") == 24

    play(tmp_path, scenario)


def test_surplus_copies_are_deleted_before_the_batch_is_activated(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(5))
        await insert_copy(harness, batch, 2)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        methods = [request.partition(" ")[0] for request in harness.wire.requests]
        change = methods.index("DELETE")
        assert methods[change + 1 :] == ["GET", "PATCH", "GET"]  # looked at, activated, looked at

    play(tmp_path, scenario)


def test_a_copy_that_comes_between_the_look_and_the_activation_is_deleted(tmp_path: Path):
    """
    It became active with the others: only the count in the activation's answer tells.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault("slow", "list_batch", seconds=2)
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(6)
        await insert_copy(harness, batch, 2)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_a_batch_is_looked_at_once_more_after_its_activation(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("drop_after", name="Hospital 2")
        await harness.fault("slow", "activate", seconds=2)
        batch = await harness.submit(csv_file(5))
        # 5 s for the creates, 15 s until the second look; then the activation is answered late.
        await asyncio.sleep(21)
        await insert_copy(harness, batch, 2)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_a_batch_that_late_copies_filled_up_is_cleared_and_completed(tmp_path: Path):
    """
    The directory answers 400 to the last row, which was not refused for good.
    """

    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await insert_copy(harness, batch, 2)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, max_concurrent_requests=5)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error_after", "late", "refuse"])
@pytest.mark.parametrize("endpoint", ["delete", "get"])
def test_a_delete_that_goes_wrong_deletes_nothing_else(tmp_path: Path, kind: str, endpoint: str):
    async def scenario(harness: Harness) -> None:
        await harness.fault(kind, endpoint)
        batch = await harness.submit(csv_file(5))
        await insert_copy(harness, batch, 2)

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_hospitals_that_the_file_does_not_have_are_named_and_not_deleted(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(5))
        foreign = {"name": "Foreign", "address": "Elsewhere 1", "creation_batch_id": str(batch.id)}
        created = await harness.control.post("/_directory/hospitals", json=foreign)

        await harness.service.wait(batch)

        assert batch.status is BatchStatus.RESUMABLE
        assert f"ids {created.json()['id']}" in (batch.failure_reason or "")
        assert len(await harness.hospitals(batch.id)) == 6

    play(tmp_path, scenario)


def test_an_id_that_means_another_hospital_by_now_is_not_deleted(tmp_path: Path):
    """
    Ids count from 1 again after the directory restarts.
    """

    async def scenario(harness: Harness) -> None:
        batch_id = UUID(int=7)
        mine = {"name": "Mine", "address": "Here 1", "creation_batch_id": str(batch_id)}
        other = {"name": "Other", "address": "There 1"}
        for body in (other, mine):
            await harness.control.post("/_directory/hospitals", json=body)
        directory = harness.service._directory
        stale = ListedHospital(1, "Mine", "Here 1", None, batch_id, active=False)
        true = ListedHospital(2, "Mine", "Here 1", None, batch_id, active=False)

        activated = replace(true, active=True)  # as it was when it was looked at

        assert await directory.delete_copy(batch_id, stale) == Absent()
        assert await directory.delete_copy(batch_id, activated) == Absent()
        assert await directory.delete_copy(batch_id, true) == Deleted()
        assert [h["name"] for h in await harness.hospitals()] == ["Other"]

    play(tmp_path, scenario)


def test_three_files_at_once_are_paced_so_that_no_create_is_refused(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        started_s = now_s()
        batches = [await harness.submit(csv_file(20, start=n)) for n in (1, 101, 201)]

        for batch in batches:
            await harness.service.wait(batch)

        stats = (await harness.control.get("/_directory/stats")).json()
        assert not any(stats["refused"].values())
        assert now_s() - started_s <= 61 + 2 * 5 + 0.1
        for batch in batches:
            await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_a_small_file_behind_a_full_queue_takes_its_turn(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        large = [await harness.submit(csv_file(20, start=n * 100)) for n in range(4)]
        small = await harness.submit(csv_file(2, start=5000))
        started_s = now_s()

        await harness.service.wait(small)

        assert small.status is BatchStatus.COMPLETED
        assert now_s() - started_s < 61 + 5 + 1
        assert any(batch.status is BatchStatus.PROCESSING for batch in large)

    play(tmp_path, scenario)
