"""Several processes on one database: what one leaves another finishes, and nobody doubles it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from models.batch import ENDED, Batch, BatchStatus
from models.caller import ANYBODY
from models.errors import (
    BatchConflict,
    BatchNotFound,
    DirectoryUnreachable,
    StorageUnavailable,
)
from services.database_peers import SEEN_EVERY_S
from services.off_loop import off_loop
from services.outlook import UNHEARD
from services.patient_directory import PROMPT_S, PROMPT_TRIES
from services.storage.postgres import LEASE_S
from tests.harness import assert_exactly_once, csv_file
from tests.shared_harness import Process, SharedHarness
from tests.virtual_time import VirtualTimeLoop, run_virtual

T = TypeVar("T")
Scenario = Callable[[SharedHarness], Awaitable[None]]
SOON_S = 3 * LEASE_S
MINUTE_S = 62.0


def play(folder: Path, scenario: Scenario) -> None:
    """Run *scenario* on a virtual clock with two processes."""

    async def run() -> None:
        harness = SharedHarness(folder, processes=2, max_csv_size=100)
        async with harness:
            await scenario(harness)
            assert harness.wrongs == []

    run_virtual(run())


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def ended(harness: SharedHarness, batch: Batch, within_s: float = 600) -> Batch:
    """Return a batch as it is stored when it has ended."""
    until_s = now_s() + within_s
    while harness.observer.batches[batch.id].status not in (
        BatchStatus.COMPLETED,
        BatchStatus.RESUMABLE,
        BatchStatus.FAILED,
    ):
        assert now_s() < until_s, "it takes too long"
        await asyncio.sleep(0.1)
    return harness.observer.batches[batch.id]


async def running(harness: SharedHarness, batch: Batch) -> tuple[Process, Process]:
    """Return the process that has creates of the batch under way, which is asked, and the other."""
    while not harness.creates_under_way:  # noqa: ASYNC110 - the time is virtual
        await asyncio.sleep(0.01)
    harness.ask_who_creates()
    other = next(one for one in harness.processes if one is not harness.asked)
    return harness.asked, other


def creates(harness: SharedHarness) -> int:
    return harness.wire.requests.count("POST /hospitals/")


@pytest.mark.parametrize("at_s", [0.0, 1.0, 5.0, 5.2])
def test_what_a_killed_process_ran_is_finished_by_another(tmp_path: Path, at_s: float):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(20))
        await running(harness, batch)
        await asyncio.sleep(at_s)
        await harness.kill()

        await assert_exactly_once(harness, await ended(harness, batch, 60))

        assert creates(harness) == 20  # what was under way is adopted, and not sent again

    play(tmp_path, scenario)


def test_what_a_stopped_process_ran_is_gone_on_with_at_once(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(40))
        await running(harness, batch)
        await harness.stop()

        assert (await harness_view(harness, batch)).status is BatchStatus.PROCESSING
        _, other = await running_elsewhere(harness, batch)

        assert other.storage.holds(batch.id)
        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)


async def harness_view(harness: SharedHarness, batch: Batch) -> Batch:
    await asyncio.sleep(0)
    return harness.observer.batches[batch.id]


async def running_elsewhere(harness: SharedHarness, batch: Batch) -> tuple[Process, Process]:
    other = next(one for one in harness.processes if one is not harness.asked)
    until_s = now_s() + 1
    while not other.storage.holds(batch.id):
        assert now_s() < until_s
        await asyncio.sleep(0.01)
    return harness.asked, other


@pytest.mark.parametrize("frozen_s", [LEASE_S + 3, 30.0, 300.0])
def test_a_process_that_slept_sends_nothing_of_what_another_took_over(
    tmp_path: Path, frozen_s: float
):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(40))
        sleeper, _ = await running(harness, batch)
        sleeper.freeze()
        await asyncio.sleep(frozen_s)
        assert harness.observer.taken_over == {batch.id}
        sent_by_it = list(sleeper.line.sent)

        sleeper.thaw()
        await assert_exactly_once(harness, await ended(harness, batch))

        await asyncio.sleep(MINUTE_S)
        assert sleeper.line.sent == sent_by_it
        assert len(sleeper.service._claims) == 0
        await sleeper.service.refresh(batch.id)
        assert sleeper.service.get(batch.id).status is BatchStatus.COMPLETED

    play(tmp_path, scenario)


def test_a_process_that_has_not_heard_yet_asks_before_it_sends(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(40))
        runner, other = await running(harness, batch)
        await asyncio.sleep(MINUTE_S - 2)
        assert creates(harness) == 30  # the rest waits for the rate window

        runner.is_deaf = True
        harness.forget(runner)
        other.take(batch.id)

        await assert_exactly_once(harness, await ended(harness, batch))
        assert len([method for method, _ in runner.line.sent if method == "POST"]) == 30

    play(tmp_path, scenario)


def test_a_late_answer_allows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It was right when it was given: that the process still had the batch."""

    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(40))
        holder, _ = await running(harness, batch)
        delays_s = [PROMPT_S * 2] * PROMPT_TRIES  # so often a row waits for another turn

        async def held_up(function: Callable[[], T], *, within_s: float | None = None) -> T:
            answer = await off_loop(function, within_s=within_s)
            if function == holder.storage.check:
                is_late = not delays_s
                holder.cut_off(is_late)
                await asyncio.sleep(MINUTE_S if is_late else delays_s.pop())
                holder.cut_off(False)
            return answer

        monkeypatch.setattr("services.database_peers.off_loop", held_up)

        await assert_exactly_once(harness, await ended(harness, batch))
        await asyncio.sleep(3 * MINUTE_S)
        await assert_exactly_once(harness, harness.observer.batches[batch.id])

    play(tmp_path, scenario)


def test_a_process_that_is_cut_off_goes_on_if_nobody_took_over(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(40))
        await running(harness, batch)
        for process in harness.processes:
            process.cut_off(is_away=True)
        await asyncio.sleep(100)
        assert creates(harness) <= 30  # what was allowed before; nothing is sent unasked
        for process in harness.processes:
            process.cut_off(is_away=False)

        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)


def test_a_run_that_was_to_end_anyway_lets_go_of_a_lost_batch(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(20))
        runner, _ = await running(harness, batch)
        await harness.service.cancel(batch.id)
        runner.cut_off(is_away=True)
        await asyncio.sleep(SOON_S)
        assert (await ended(harness, batch)).cancelled
        runner.cut_off(is_away=False)
        await asyncio.sleep(SOON_S)

        assert len(runner.service._claims) == 0
        await runner.service.resume(batch.id)
        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)


@pytest.mark.parametrize("number", range(0, 40, 3))
def test_a_cancel_that_was_confirmed_holds_at_whatever_moment_it_comes(tmp_path: Path, number: int):
    async def scenario(harness: SharedHarness) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        harness.ask(number)
        batch = await harness.submit(csv_file(20))
        await loop.turns(number // 2)

        await harness.service.refresh(batch.id)
        await harness.service.cancel(batch.id)

        stopped = await ended(harness, batch)
        assert (stopped.status, stopped.cancelled) == (BatchStatus.RESUMABLE, True)

    play(tmp_path, scenario)


def test_what_nobody_runs_is_cancelled_by_whom_is_asked_and_can_be_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def scenario(harness: SharedHarness) -> None:
        monkeypatch.setattr(harness, "offer", lambda _: None)
        batch = await harness.submit(csv_file(20))

        await harness.service.cancel(batch.id)

        stopped = harness.observer.batches[batch.id]
        assert (stopped.status, stopped.cancelled) == (BatchStatus.RESUMABLE, True)
        assert creates(harness) == 0
        assert await harness.service.abandon(batch.id) == 0

    play(tmp_path, scenario)


def test_what_a_killed_process_left_is_cancelled_and_resumed_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(20))
        _, other = await running(harness, batch)
        with monkeypatch.context() as patched:
            patched.setattr(harness, "offer", lambda _: None)
            await harness.kill()
            await asyncio.sleep(SOON_S)
            await other.service.cancel(batch.id)

            assert harness.observer.batches[batch.id].status is BatchStatus.RESUMABLE
        await other.service.resume(batch.id)

        await assert_exactly_once(harness, await ended(harness, batch))
        assert creates(harness) == 20

    play(tmp_path, scenario)


def test_who_cannot_ask_says_so_and_does_not_guess_how_long_it_takes(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(40))
        holder, other = await running(harness, batch)
        for process in (holder, other):
            process.cut_off(True)
        await asyncio.sleep(3 * SEEN_EVERY_S)

        for process in (holder, other):
            assert process.service.outlook(await shown_by(process, batch)) == UNHEARD
            assert failures(process) > 0
            process.cut_off(False)
        await asyncio.sleep(SEEN_EVERY_S)

        for process in (holder, other):
            assert process.service.outlook(await shown_by(process, batch)).eta_s is not None
        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)


def failures(process: Process) -> float:
    """Return how often its metrics say that it could store nothing."""
    shown = process.meters.registry.get_sample_value("hospital_bulk_checkpoint_failures_total")
    assert shown is not None
    return shown


@pytest.mark.parametrize("lost", range(12))
def test_whatever_answer_of_the_database_is_lost_the_batch_ends_exactly_once(
    tmp_path: Path, lost: int
):
    """The statement was carried out all the same."""

    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(20))
        for process in harness.processes:
            process.database.lose_answers(after=lost)

        stored = await ended(harness, batch)
        if stored.status is BatchStatus.RESUMABLE:
            await asyncio.sleep(1)
            await harness.service.refresh(batch.id)
            await harness.service.resume(batch.id)
        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)


def test_what_is_resumed_through_one_may_be_run_by_another_and_cancelled_through_a_third_time(
    tmp_path: Path,
):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(35))
        runner, other = await running(harness, batch)
        await other.service.refresh(batch.id)
        await other.service.cancel(batch.id)
        assert (await ended(harness, batch)).status is BatchStatus.RESUMABLE
        for process in (other, runner):
            await process.service.refresh(batch.id)
            await process.service.resume(batch.id)
            await process.service.cancel(batch.id)
            assert (await ended(harness, batch)).cancelled
        with pytest.raises(BatchConflict):
            await runner.service.cancel(batch.id)

        await other.service.refresh(batch.id)
        await other.service.resume(batch.id)
        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)


@pytest.mark.parametrize("number", [1, 2])
def test_an_upload_that_was_refused_is_not_loaded_though_it_was_stored(tmp_path: Path, number: int):
    async def scenario(harness: SharedHarness) -> None:
        harness.asked.database.lose_answers(number)
        with pytest.raises(StorageUnavailable):
            await harness.submit(csv_file(5))

        await asyncio.sleep(SOON_S)
        assert harness.observer.batches == {}
        assert creates(harness) == 0

    play(tmp_path, scenario)


def test_an_upload_that_was_refused_is_removed_when_the_database_is_back(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        refusing, _ = harness.processes
        refusing.database.lose_answers(for_good=True)
        with pytest.raises(StorageUnavailable):
            await harness.upload(csv_file(5))
        assert harness.stored() == 1

        refusing.cut_off(is_away=False)
        await asyncio.sleep(LEASE_S / 2)

        assert harness.stored() == 0
        await asyncio.sleep(SOON_S)
        assert await harness.hospitals() == []

    play(tmp_path, scenario)


def test_an_upload_that_one_process_refused_is_loaded_once_by_another(tmp_path: Path):
    """Its client sends it again until it is accepted; it may be stored from the first time."""

    async def scenario(harness: SharedHarness) -> None:
        refusing, _ = harness.processes
        await asyncio.sleep(1)
        refusing.database.lose_answers(after=1, for_good=True)  # what there is is read first
        with pytest.raises(StorageUnavailable):
            await harness.upload(csv_file(5), idempotency_key="monday")
        harness.ask(1)
        with pytest.raises(StorageUnavailable):  # nobody knows whether it is to be removed
            await harness.upload(csv_file(5), idempotency_key="monday")
        await asyncio.sleep(LEASE_S)
        batch = await harness.upload(csv_file(5), idempotency_key="monday")
        refusing.cut_off(is_away=False)
        await asyncio.sleep(LEASE_S)

        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)


def test_one_upload_sent_to_two_processes_at_once_is_one_batch(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        uploads = []
        for number in (0, 1, 0, 1):
            harness.ask(number)
            uploads.append(
                asyncio.create_task(harness.upload(csv_file(20), idempotency_key="monday"))
            )
            await asyncio.sleep(0)
        batches = await asyncio.gather(*uploads)

        assert len({batch.id for batch in batches}) == 1
        await assert_exactly_once(harness, await ended(harness, batches[0]))

    play(tmp_path, scenario)


def test_processes_share_what_the_directory_allows(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        batches = []
        for number in range(4):
            harness.ask(number)
            batches.append(await harness.submit(csv_file(25, start=100 * number + 1)))

        for batch in batches:
            await assert_exactly_once(harness, await ended(harness, batch))

        sent_s = sorted(s for one in harness.processes for _, s in one.line.sent if _ == "POST")
        assert len(sent_s) == 100
        assert all(late - early >= 60 for early, late in zip(sent_s, sent_s[30:], strict=False))
        assert sent_s[-1] - sent_s[0] < 4 * 61

    play(tmp_path, scenario)


@pytest.mark.parametrize("call", ["resume", "abandon"])
def test_a_refused_call_leaves_in_doubt_what_a_killed_process_sent(tmp_path: Path, call: str):
    async def scenario(harness: SharedHarness) -> None:
        for _ in range(5):
            await harness.fault("stall", seconds=15)
        batch = await harness.submit(csv_file(5))
        _, other = await running(harness, batch)
        await harness.kill()
        harness.ask(1 - harness.processes.index(harness.asked))
        until_s = now_s() + SOON_S
        while not other.storage.holds(batch.id) and now_s() < until_s:
            await other.service.refresh(batch.id)
            with pytest.raises(BatchConflict):
                await getattr(other.service, call)(batch.id)
            await asyncio.sleep(0.05)

        await assert_exactly_once(harness, await ended(harness, batch))
        await asyncio.sleep(MINUTE_S)
        await assert_exactly_once(harness, harness.observer.batches[batch.id])

    play(tmp_path, scenario)


def test_no_process_shows_less_than_another_showed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(2))
        holder, other = await running(harness, batch)
        monkeypatch.setattr("services.progress_tracker.off_loop", answered_late)
        while (await shown_by(other, batch)).status not in ENDED:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)

        assert holder.storage.holds(batch.id)  # it has not heard yet that its write is done
        assert (await shown_by(holder, batch)).status is BatchStatus.COMPLETED

    play(tmp_path, scenario)


async def answered_late(function: Callable[[], T]) -> T:
    """Ask the database now; its answer takes its time."""
    answer = await off_loop(function)
    await asyncio.sleep(0.3)
    return answer


async def shown_by(process: Process, batch: Batch) -> Batch:
    """Return what a request to *process* tells of a batch."""
    await process.service.refresh(batch.id)
    return process.service.get(batch.id)


def test_an_abandonment_that_fails_waits_for_the_next_cleanup(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        await harness.fault("gateway", name="Hospital 2", times=None)
        batch = await harness.load(csv_file(2))
        assert batch.status is BatchStatus.RESUMABLE
        await harness.fault("gateway", "delete_batch", times=None)
        with pytest.raises(DirectoryUnreachable):
            await harness.service.abandon(batch.id)
        assert harness.service.get(batch.id).status is BatchStatus.ABANDONING

        await asyncio.sleep(SOON_S)
        before = len(harness.wire.requests)
        await asyncio.sleep(300)
        assert len(harness.wire.requests) == before
        # An upload that is sent again is told so, and does not wait for it.
        assert not await asyncio.wait_for(harness.service.wait(batch), 1)

        await harness.heal()
        await asyncio.sleep(600)
        assert harness.stored() == 0

    play(tmp_path, scenario)


def test_a_batch_that_cannot_be_read_hides_no_other(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        damaged = await harness.load(csv_file(1))
        sound = await harness.load(csv_file(2))
        harness.damage(damaged.id)
        await asyncio.sleep(SOON_S)
        await harness.stop()
        await harness.start()

        for service in harness.services:
            await service.refresh_all()
            listed = service.page(ANYBODY, frozenset(), None, 10).batches
            assert [batch.id for batch in listed] == [sound.id]
            await service.refresh(damaged.id)
            with pytest.raises(BatchNotFound):
                service.get(damaged.id)
        await assert_exactly_once(harness, await harness.load(csv_file(3)))

    play(tmp_path, scenario)


def test_what_cannot_be_read_when_it_is_claimed_can_be_claimed_again(tmp_path: Path):
    async def scenario(harness: SharedHarness) -> None:
        batch = await harness.submit(csv_file(5))
        await running(harness, batch)
        await harness.service.cancel(batch.id)
        await ended(harness, batch)
        await asyncio.sleep(1)
        await harness.service.refresh(batch.id)

        harness.asked.database.lose_answers(after=1)  # the claim's is heard
        with pytest.raises(StorageUnavailable):
            await harness.service.resume(batch.id)

        await asyncio.sleep(SOON_S)
        await harness.service.resume(batch.id)
        await assert_exactly_once(harness, await ended(harness, batch))

    play(tmp_path, scenario)
