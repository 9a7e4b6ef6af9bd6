"""What a batch says that it is doing, and when it will have ended, is true."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

from models.batch import Batch, BatchStatus
from services.storage.contract import StorageError
from services.storage.json_files import JsonFiles
from tests.harness import EPOCH, Harness, csv_file
from tests.integration.test_exactly_once import now_s, play

Story = list[tuple[float, str, float | None]]


async def followed(harness: Harness, batch: Batch, every_s: float = 0.5) -> Story:
    """Return what the batch says from now to its end: time, step, seconds to go."""
    story: Story = []
    while batch.running_since is not None:
        told = harness.service.outlook(batch)
        story.append((now_s(), told.step, told.eta_s))
        await asyncio.sleep(every_s)
    return story


def steps(story: Story) -> list[str]:
    """Return the different steps, in their order."""
    told = [step for _, step, _ in story]
    return [step for step, before in zip(told, ["", *told], strict=False) if step != before]


def clock_time(monotonic_s: float) -> str:
    return f"{EPOCH + timedelta(seconds=monotonic_s):%H:%M:%S} UTC"


def test_a_plain_run_says_how_long_it_takes_and_what_it_does(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(0.01)

        story = await followed(harness, batch)

        ended_s = batch.seconds + story[0][0]
        assert steps(story) == ["creating hospitals"]
        for at_s, _, eta_s in story:
            assert eta_s == pytest.approx(ended_s - at_s, abs=0.1)
        done = harness.service.outlook(batch)
        assert (done.step[:9], done.eta_s) == ("completed", 0.0)

    play(tmp_path, scenario)


def test_it_tells_when_the_rate_window_opens_and_how_long_that_makes_the_batch(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        sent_s = now_s()
        await harness.load(csv_file(20))
        batch = await harness.submit(csv_file(20, start=101))
        await asyncio.sleep(0.01)

        story = await followed(harness, batch)

        opens = clock_time(sent_s + 61)
        assert steps(story) == [
            f"waiting for the directory's rate window, which opens at {opens}; rows to send: 10",
            "creating hospitals",
        ]
        for at_s, _, eta_s in story:
            assert eta_s == pytest.approx(sent_s + 61 + 5 - at_s, abs=0.2)

    play(tmp_path, scenario)


def test_it_tells_its_place_behind_other_batches(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.load(csv_file(20))
        first = await harness.submit(csv_file(20, start=101))
        second = await harness.submit(csv_file(20, start=201))
        await asyncio.sleep(6)

        steps = {harness.service.outlook(batch).step for batch in (first, second)}

        places = {re.sub(r".*; (place .*)", r"\1", step) for step in steps if "place" in step}
        assert places in (
            {f"place 2 of 2 in the queue, batch {one.id} is next"} for one in (first, second)
        )
        estimates = [harness.service.outlook(batch).eta_s for batch in (first, second)]
        asked_s = now_s()
        for batch, eta_s in zip((first, second), estimates, strict=True):
            await harness.service.wait(batch)
            assert eta_s == pytest.approx(now_s() - asked_s, abs=6)

    play(tmp_path, scenario)


def test_it_tells_since_when_the_directory_does_not_answer(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        harness.wire.up = False
        batch = await harness.submit(csv_file(20))
        since = clock_time(now_s())
        await asyncio.sleep(40)

        told = harness.service.outlook(batch)

        assert told.step == f"waiting since {since} for the directory to answer"
        assert told.eta_s is None
        harness.wire.up = True
        await harness.service.wait(batch)
        assert batch.status is BatchStatus.COMPLETED

    play(tmp_path, scenario)


def test_it_tells_of_a_directory_that_goes_away_in_the_middle(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.load(csv_file(1, start=101))
        batch = await harness.submit(csv_file(20))
        harness.wire.up = False
        await asyncio.sleep(20)

        assert "for the directory to answer" in harness.service.outlook(batch).step

    play(tmp_path, scenario)


def test_it_tells_which_row_is_settled_and_until_when(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("drop_after", name="Hospital 3")
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(0.01)

        story = await followed(harness, batch, every_s=0.1)

        told = steps(story)
        assert "creating hospitals" in told[0]
        [settling] = [step for step in told if "settling" in step]
        at_s, _, eta_s = next(entry for entry in story if entry[1] == settling)
        # The row was adopted by the first look; what is left is a copy that may come late.
        assert settling.startswith("settling: waiting to be certain whether anything sent arrives")
        assert settling.endswith(f", until {clock_time(at_s + 15)}")
        assert eta_s == pytest.approx(15, abs=0.2)

    play(tmp_path, scenario)


def test_a_row_whose_outcome_is_unclear_is_named(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("late", seconds=12, name="Hospital 3")
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(7)

        assert "whether row 3 arrived" in harness.service.outlook(batch).step

    play(tmp_path, scenario)


def test_it_tells_that_others_use_up_the_rate_limit(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("refuse", times=None)
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(30)

        told = harness.service.outlook(batch)

        assert "others use up the directory's rate limit" in told.step
        assert told.eta_s is None

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [("list_batch", "verifying before activation"), ("activate", "activating")],
)
def test_it_tells_the_last_steps_apart(tmp_path: Path, endpoint: str, words: str):
    async def scenario(harness: Harness) -> None:
        await harness.fault("slow", endpoint=endpoint, seconds=5)
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(7)

        assert harness.service.outlook(batch).step == words

    play(tmp_path, scenario)


def test_a_cancelled_batch_says_that_rows_are_still_under_way(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        await harness.service.cancel(batch.id)

        told = harness.service.outlook(batch)

        assert told.step == "cancelled: waiting for the rows under way"
        assert told.eta_s == pytest.approx(3, abs=0.1)
        await harness.service.wait(batch)
        assert "resume it" in harness.service.outlook(batch).step

    play(tmp_path, scenario)


def test_watchers_hear_when_the_window_opens_later_and_when_the_directory_is_waited_for(
    tmp_path: Path,
):
    async def scenario(harness: Harness) -> None:
        await harness.load(csv_file(20))
        batch = await harness.submit(csv_file(20, start=101))
        await asyncio.sleep(6)
        heard: list[float] = []
        harness.service.watch(batch.id, lambda _: heard.append(now_s()))
        await asyncio.sleep(1)
        assert heard == []

        # A second batch comes behind this one, and then goes away again.
        other = await harness.submit(csv_file(20, start=201))
        await asyncio.sleep(1)
        assert len(heard) == 1
        await harness.service.cancel(other.id)
        await asyncio.sleep(0.1)
        assert len(heard) == 2

    play(tmp_path, scenario)


def test_a_cancelled_batch_that_waits_for_the_disk_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        await harness.service.cancel(batch.id)

        def refuse(*_: object) -> None:
            raise StorageError("full")

        with monkeypatch.context() as disk:
            disk.setattr(JsonFiles, "save", refuse)
            await asyncio.sleep(20)
            assert "storage" in harness.service.outlook(batch).step
        await harness.service.wait(batch)

    play(tmp_path, scenario)


def test_a_resume_shows_nothing_of_what_the_run_before_waited_for(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("late", seconds=12, name="Hospital 3")
        batch = await harness.submit(csv_file(5))
        await asyncio.sleep(7)
        await harness.service.cancel(batch.id)
        await harness.service.wait(batch)

        await harness.service.resume(batch.id)

        told = harness.service.outlook(batch)
        assert "until" not in told.step
        assert told.eta_s is None

    play(tmp_path, scenario)


def test_rows_to_send_are_rows_and_not_looks(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        await asyncio.sleep(2)
        await harness.service.cancel(batch.id)
        await harness.service.wait(batch)
        await harness.service.verify(batch.id)
        await harness.service.resume(batch.id)
        await asyncio.sleep(0.1)

        step = harness.service.outlook(batch).step

        assert step.startswith("waiting for the directory's rate window")
        assert "rows to send" not in step

    play(tmp_path, scenario, max_concurrent_requests=5, lookup_rate_limit=1)
