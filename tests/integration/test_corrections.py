"""Rows that cannot go as they are: corrected in place, or skipped from the start."""

from pathlib import Path
from typing import Any

import pytest

from models.batch import Batch, BatchStatus
from models.errors import BatchConflict, FileRejected, RowNotFound, RowRejected
from models.row import RowStatus
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import now_s, play

MIXED = (
    "name,address,phone\n"
    "Hospital 1,1 Main Street,\n"
    "X,2 Main Street,n/a\n"
    "Hospital 3,3 Main Street,555-0103\n"
    "Hospital 4,4 Main Street,555-0104,too much\n"
)


async def refused_batch(harness: Harness, rows: int = 5, *names: str) -> Batch:
    """Return a batch of which the directory refused rows; it takes them once corrected."""
    for name in names or ("Hospital 3",):
        await harness.fault("reject", times=None, name=name)
    batch = await harness.load(csv_file(rows))
    assert batch.status is BatchStatus.FAILED
    return batch


async def skipping(harness: Harness, content: str) -> Batch:
    batch = await harness.upload(content, skip_invalid=True)
    await harness.service.wait(batch)
    return batch


def excluded(batch: Batch) -> list[int]:
    return [row.hospital.row for row in batch.rows if row.is_excluded]


async def held(harness: Harness) -> set[str]:
    return {hospital["name"] for hospital in await harness.hospitals() if hospital["active"]}


def test_a_corrected_row_makes_a_failed_batch_resumable_and_only_it_is_sent(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await refused_batch(harness)

        row = await harness.service.correct(batch.id, 3, {"name": "Third Hospital"})

        assert row.hospital.content == (
            "Third Hospital",
            "3 Main Street Springfield",
            "555-0100003",
        )
        assert batch.status is BatchStatus.RESUMABLE
        assert "Row 3 was corrected" in (batch.failure_reason or "")
        sent = harness.wire.requests.count("POST /hospitals/")
        resumption = await harness.service.resume(batch.id)
        await harness.service.wait(batch)
        assert [one.hospital.row for one in resumption.handled()] == [3]
        assert harness.wire.requests.count("POST /hospitals/") == sent + 1
        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_a_phone_can_be_emptied(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await refused_batch(harness)

        await harness.service.correct(batch.id, 3, {"name": "Third Hospital", "phone": " "})

        await assert_exactly_once(harness, await harness.resume(batch))
        [third] = [h for h in await harness.hospitals() if h["name"] == "Third Hospital"]
        assert third["phone"] is None

    play(tmp_path, scenario)


def test_a_correction_that_was_told_holds_over_a_crash(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await refused_batch(harness)
        await harness.service.correct(batch.id, 3, {"name": "Third Hospital"})
        await harness.kill()

        await harness.start()

        again = harness.service.get(batch.id)
        assert again.status is BatchStatus.RESUMABLE
        assert again.row(3).hospital.name == "Third Hospital"
        await assert_exactly_once(harness, await harness.resume(again))

    play(tmp_path, scenario)


def test_a_batch_with_another_refused_row_left_says_so_and_fails_again(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await refused_batch(harness, 5, "Hospital 3", "Hospital 5")
        await harness.service.correct(batch.id, 3, {"name": "Third Hospital"})
        assert "Still refused: row 5" in (batch.failure_reason or "")

        await harness.resume(batch)

        assert batch.status is BatchStatus.FAILED
        assert excluded(batch) == [5]
        await harness.service.correct(batch.id, 5, {"name": "Fifth Hospital"})
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("changes", "error_types"),
    [
        ({"name": "X"}, ["too_short"]),
        ({"name": ""}, ["required"]),
        ({"address": "x" * 501, "phone": "n/a"}, ["too_long", "invalid_phone"]),
        ({"name": "A\x00B"}, ["control_character"]),
    ],
)
def test_values_that_break_the_rules_change_nothing(
    tmp_path: Path, changes: dict[str, str], error_types: list[str]
):
    async def scenario(harness: Harness) -> None:
        batch = await refused_batch(harness)
        before = list(batch.rows)

        with pytest.raises(RowRejected) as caught:
            await harness.service.correct(batch.id, 3, changes)

        assert [error.error_type for error in caught.value.errors] == error_types
        assert {error.row for error in caught.value.errors} == {3}
        assert (batch.status, list(batch.rows)) == (BatchStatus.FAILED, before)

    play(tmp_path, scenario)


def test_only_a_refused_or_skipped_row_can_be_corrected(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await refused_batch(harness)
        for number in (0, 6, -1, 10**30):
            with pytest.raises(RowNotFound, match="rows 1 to 5"):
                await harness.service.correct(batch.id, number, {"name": "Other"})

        with pytest.raises(BatchConflict, match="Only a row"):
            await harness.service.correct(batch.id, 1, {"name": "Other"})
        await harness.service.correct(batch.id, 3, {"name": "Third Hospital"})
        with pytest.raises(BatchConflict, match="Only a row"):  # it may have been sent by now
            await harness.service.correct(batch.id, 3, {"name": "Other"})

    play(tmp_path, scenario)


def test_a_row_out_of_tries_is_not_corrected_but_sent_again(tmp_path: Path):
    """
    Its create may have been carried out: another content would leave a copy of the old one.
    """

    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")
        batch = await harness.load(csv_file(5))
        assert batch.row(3).status is RowStatus.FAILED

        with pytest.raises(BatchConflict, match="Only a row"):
            await harness.service.correct(batch.id, 3, {"name": "Other"})

        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario)


def test_it_is_refused_while_the_batch_runs_and_when_it_is_completed(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.upload(MIXED, skip_invalid=True)
        with pytest.raises(BatchConflict, match="being worked on"):
            await harness.service.correct(batch.id, 2, {"name": "Hospital 2", "phone": ""})
        await harness.service.wait(batch)

        with pytest.raises(BatchConflict, match="completed"):
            await harness.service.correct(batch.id, 2, {"name": "Hospital 2", "phone": ""})

    play(tmp_path, scenario)


def test_the_sound_rows_of_a_file_are_loaded_and_the_others_say_why_not(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await skipping(harness, MIXED)

        assert batch.status is BatchStatus.COMPLETED
        assert batch.is_activated
        assert (batch.created_count, batch.failed_count) == (2, 2)
        assert excluded(batch) == [2, 4]
        for number, words in {2: ("name in full", "phone"), 4: ("3 fields",)}.items():
            for word in words:
                assert word in (batch.row(number).error or "")
        assert batch.row(2).hospital.content == ("X", "2 Main Street", "n/a")
        assert batch.row(4).hospital.name == "Hospital 4, 4 Main Street, 555-0104, too much"
        assert batch.row(4).hospital.address == ""  # so that it does not pass for a sound row
        assert await held(harness) == {"Hospital 1", "Hospital 3"}
        assert batch.elapsed_seconds(now_s()) == pytest.approx(5.0, abs=0.5)

    play(tmp_path, scenario)


def test_skipped_rows_stay_skipped_over_a_crash_and_a_resume(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")
        batch = await skipping(harness, MIXED)
        assert batch.status is BatchStatus.RESUMABLE
        await harness.kill()
        await harness.start()
        again = harness.service.get(batch.id)
        assert excluded(again) == [2, 4]

        await harness.resume(again)

        assert again.status is BatchStatus.COMPLETED
        assert await held(harness) == {"Hospital 1", "Hospital 3"}
        assert len(await harness.hospitals()) == 2

    play(tmp_path, scenario)


def test_a_skipped_row_of_a_stopped_batch_can_be_corrected_and_is_loaded(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=4, name="Hospital 3")
        batch = await skipping(harness, MIXED)

        await harness.service.correct(batch.id, 2, {"name": "Hospital 2", "phone": ""})
        await harness.resume(batch)

        assert batch.status is BatchStatus.COMPLETED
        assert excluded(batch) == [4]
        assert await held(harness) == {"Hospital 1", "Hospital 2", "Hospital 3"}
        assert len(await harness.hospitals()) == 3

    play(tmp_path, scenario)


def test_a_batch_whose_sound_rows_were_refused_is_failed_and_not_completed(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", times=None, name="Hospital 3")

        batch = await skipping(harness, MIXED)

        assert batch.status is BatchStatus.FAILED
        assert "row 3" in (batch.failure_reason or "")
        assert await held(harness) == set()

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "content",
    [
        "name,address\nX,2 Main Street\n",  # no sound row
        "name,address,name\nHospital 1,1 Main Street,x\nX,2 Main Street,x\n",
        'name,address\nHospital 1,1 Main Street\n"Hospital 2,2 Main Street\nHospital 3,3 Main\n',
        csv_file(21),
        "",
    ],
    ids=["no sound row", "header", "open quote", "too many rows", "empty"],
)
def test_what_is_wrong_with_more_than_single_rows_refuses_the_file(tmp_path: Path, content: str):
    async def scenario(harness: Harness) -> None:
        with pytest.raises(FileRejected):
            await skipping(harness, content)

    play(tmp_path, scenario)
    assert not list(tmp_path.glob("*.json"))


def test_a_file_without_errors_is_loaded_as_ever(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await assert_exactly_once(harness, await skipping(harness, csv_file(3)))

    play(tmp_path, scenario)


def test_without_being_asked_no_row_is_skipped(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        with pytest.raises(FileRejected) as caught:
            await harness.submit(MIXED)

        rows: list[Any] = [error.row for error in caught.value.errors]
        assert rows == [2, 2, 4]

    play(tmp_path, scenario)
