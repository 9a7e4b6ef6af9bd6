"""A service that is killed or stopped at any moment goes on by itself and ends exactly once."""

import asyncio
import json
from pathlib import Path

import pytest

from models.batch import Batch, BatchStatus
from models.errors import BatchConflict, ShuttingDown
from models.row import RowStatus
from tests.harness import Harness, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import now_s, play


async def recovered(harness: Harness, batch: Batch, **changes: object) -> Batch:
    """Start the service again and return the batch when it has ended."""
    await harness.start(**changes)
    again = harness.service.get(batch.id)
    await harness.service.wait(again)
    return again


@pytest.mark.parametrize("at_s", [0.0, 0.01, 1.0, 4.99, 5.0, 5.01, 5.2])
def test_a_kill_at_any_moment_ends_exactly_once_after_a_plain_restart(tmp_path: Path, at_s: float):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(at_s)
        await harness.kill()

        again = await recovered(harness, batch)

        await assert_exactly_once(harness, again)
        # What was under way is waited for and adopted, not sent a second time.
        assert harness.wire.requests.count("POST /hospitals/") == 20

    play(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "hang", "late", "slow"])
@pytest.mark.parametrize("at_s", [1.0, 6.0, 18.0, 21.0, 26.0])
def test_a_kill_while_outcomes_are_unknown_ends_exactly_once(
    tmp_path: Path, kind: str, at_s: float
):
    async def scenario(harness: Harness) -> None:
        await harness.fault(kind, times=5)
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(at_s)
        await harness.kill()

        again = await recovered(harness, batch)

        await assert_exactly_once(harness, again)

    play(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["drop_after", "late", "slow", "error_before"])
def test_a_kill_around_the_activation_ends_exactly_once(tmp_path: Path, kind: str):
    async def scenario(harness: Harness) -> None:
        await harness.fault(kind, "activate", seconds=10)
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(6)
        await harness.kill()

        again = await recovered(harness, batch)

        await assert_exactly_once(harness, again)

    play(tmp_path, scenario)


def test_kills_in_a_row_end_exactly_once(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        for _ in range(3):
            await asyncio.sleep(62)
            await harness.kill()
            await harness.start()

        again = harness.service.get(batch.id)
        await harness.service.wait(again)

        await assert_exactly_once(harness, again)

    play(tmp_path, scenario, create_rate_limit=7, max_concurrent_requests=3)


def test_a_directory_that_forgot_while_the_service_was_down_is_filled_again(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("hang", name="Hospital 7")
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(6)
        await harness.kill()
        await harness.restart_directory()

        again = await recovered(harness, batch)

        await assert_exactly_once(harness, again)

    play(tmp_path, scenario)


def test_the_window_goes_on_over_a_kill_and_is_neither_exceeded_nor_waited_out(tmp_path: Path):
    """
    The directory still counts what the process before sent, and nothing else.
    """

    async def scenario(harness: Harness) -> None:
        first = await harness.submit(csv_file(20))
        started_s = now_s()
        await asyncio.sleep(3)
        await harness.kill()
        await harness.start()

        second = await harness.load(csv_file(20, start=101))

        stats = (await harness.control.get("/_directory/stats")).json()
        assert not any(stats["refused"].values())
        sent_s = [round(t - started_s, 1) for t in stats["create_times"]]
        assert sent_s == [0.0] * 20 + [3.0] * 10 + [61.0] * 10
        for batch in (harness.service.get(first.id), second):
            await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


@pytest.mark.parametrize("left", ["missing", "damaged"])
def test_without_a_memory_of_recent_sends_refusals_cost_no_row(tmp_path: Path, left: str):
    async def scenario(harness: Harness) -> None:
        first = await harness.submit(csv_file(20))
        await asyncio.sleep(3)
        await harness.kill()
        memory = tmp_path / ".recent-sends"
        if left == "missing":
            memory.unlink()
        else:
            memory.write_bytes(b"\xff\x00nan\ninf\n" + memory.read_bytes()[40:90])
        await harness.start()

        second = await harness.load(csv_file(20, start=101))

        for batch in (harness.service.get(first.id), second):
            await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_an_interrupted_batch_shows_processing_and_keeps_what_was_created(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("hang", times=1, name="Hospital 7")
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(6)
        await harness.kill()

        await harness.start()

        again = harness.service.get(batch.id)
        assert again.status is BatchStatus.PROCESSING
        assert again.created_count == 19
        assert again.row(1).seconds == pytest.approx(5.0, abs=0.01)
        assert again.elapsed_seconds(now_s()) >= 5
        await harness.service.wait(again)
        await assert_exactly_once(harness, again)

    play(tmp_path, scenario)


def test_without_auto_resume_an_interrupted_batch_waits_to_be_resumed(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(1)
        await harness.kill()

        again = await recovered(harness, batch, auto_resume=False)

        assert again.status is BatchStatus.RESUMABLE
        assert "resume it" in (again.failure_reason or "")
        await assert_exactly_once(harness, await harness.resume(again))

    play(tmp_path, scenario)


def test_an_interrupted_batch_of_another_directory_is_left_alone(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(1)
        await harness.kill()

        again = await recovered(harness, batch, hospital_api_base_url="http://other.test")

        assert again.status is BatchStatus.RESUMABLE
        assert "http://directory.test" in (again.failure_reason or "")
        for call in (harness.service.resume, harness.service.abandon):
            with pytest.raises(BatchConflict, match="another directory"):
                await call(again.id)

    play(tmp_path, scenario)


def test_automatic_resumes_that_create_nothing_end_after_three(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=None)
        batch = await harness.submit(csv_file(5))
        for _ in range(4):
            await asyncio.sleep(17)  # looked at, settled, sent in vain
            await harness.kill()
            await harness.start()

        again = harness.service.get(batch.id)

        assert again.status is BatchStatus.RESUMABLE
        assert "3 automatic resumes" in (again.failure_reason or "")
        await harness.heal()
        await assert_exactly_once(harness, await harness.resume(again))

    play(tmp_path, scenario)


def test_a_service_that_dies_of_what_it_sends_stops_after_three_restarts(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("error_before", times=None)
        batch = await harness.submit(csv_file(3))
        for _ in range(4):
            sent = harness.wire.requests.count("POST /hospitals/")
            for _ in range(10_000):
                await asyncio.sleep(0.01)
                if harness.wire.requests.count("POST /hospitals/") > sent:
                    break
            await harness.kill()
            await harness.start()

        again = harness.service.get(batch.id)

        assert again.status is BatchStatus.RESUMABLE
        assert "3 automatic resumes" in (again.failure_reason or "")

    play(tmp_path, scenario)


def test_no_create_leaves_once_the_service_stops(tmp_path: Path):
    """
    Not even one whose turn had just come.
    """

    async def scenario(harness: Harness) -> None:
        started_s = now_s()
        first = await harness.submit(csv_file(20))
        second = await harness.submit(csv_file(20, start=101))
        await asyncio.sleep(30)
        # The window ends: the last ten turns are granted, and the signal comes at the same moment.
        asyncio.get_running_loop().call_at(started_s + 61, harness.service.stop)
        await harness.service.wait(second)

        assert harness.wire.requests.count("POST /hospitals/") == 30
        await harness.stop()
        await harness.start()
        for batch in (first, second):
            again = harness.service.get(batch.id)
            await harness.service.wait(again)
            await assert_exactly_once(harness, again)

    play(tmp_path, scenario)


def test_restarts_while_a_batch_waits_for_its_turn_do_not_count(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        first = await harness.submit(csv_file(20))
        await asyncio.sleep(6)
        waiting = await harness.submit(csv_file(20, start=101))
        for _ in range(5):
            await asyncio.sleep(2)
            await harness.kill()
            await harness.start()

        again = harness.service.get(waiting.id)
        await harness.service.wait(again)

        await assert_exactly_once(harness, harness.service.get(first.id))
        await assert_exactly_once(harness, again)

    play(tmp_path, scenario, create_rate_limit=20)


def test_a_stop_lets_rows_under_way_finish_and_sends_no_new_one(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(1)

        harness.service.stop()
        ended = await harness.service.wait(batch)
        await harness.stop()

        assert not ended
        assert harness.wire.requests.count("POST /hospitals/") == 5
        document = json.loads((tmp_path / f"{batch.id}.json").read_bytes())
        assert document["status"] == "processing"
        assert sum(row["status"] == "created" for row in document["rows"]) == 5
        with pytest.raises(ShuttingDown):
            await harness.submit(csv_file(1))
        await assert_exactly_once(harness, await recovered(harness, batch))

    play(tmp_path, scenario, max_concurrent_requests=5)


def test_a_stop_finishes_a_batch_whose_rows_are_all_under_way(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(1)
        harness.service.stop()

        assert await harness.service.wait(batch)
        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario)


def test_a_stop_ends_within_the_grace_whatever_hangs(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("hang", times=None)
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(1)
        started_s = now_s()

        await harness.stop()

        assert now_s() - started_s <= 8.1
        await harness.heal()
        await assert_exactly_once(harness, await recovered(harness, batch))

    play(tmp_path, scenario)


def test_ended_batches_are_served_after_a_restart_with_all_results(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        completed = await harness.load(csv_file(3))
        await harness.fault("error_before", times=4, name="Hospital 101")
        resumable = await harness.load(csv_file(3, start=101))
        await harness.kill()

        await harness.start()

        for before in (completed, resumable):
            again = harness.service.get(before.id)
            assert again.status is before.status
            assert again.failure_reason == before.failure_reason
            assert again.seconds == pytest.approx(before.seconds, abs=0.001)
            assert [row.status for row in again.rows] == [row.status for row in before.rows]
            assert [row.hospital_id for row in again.rows] == [
                row.hospital_id for row in before.rows
            ]
        assert harness.service.get(resumable.id).row(1).status is RowStatus.FAILED

    play(tmp_path, scenario)
