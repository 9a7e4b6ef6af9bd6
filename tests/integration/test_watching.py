"""What the watchers of a batch are told, and what it costs: the whole service, on a virtual clock.

A watcher is an ASGI client of one stream, which takes each piece when it likes to.
"""

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.types import Message

from models.batch import Batch, BatchStatus
from models.errors import ShuttingDown
from models.outlook import Outlook
from models.row import RowStatus
from routers.event_stream import EventStream, Feeds
from routers.problem import UploadCutOff
from routers.progress_document import progress_json
from services.batch_service import BatchService
from tests.e2e.event_client import Event, merged, parse
from tests.harness import Harness, csv_file
from tests.integration.test_exactly_once import now_s, play
from tests.virtual_time import VirtualTimeLoop

PROMISE_S = 0.1
SOON_S = 0.06  # enough for what is gathered to be told
AGES_S = 3600.0


class CountingService:
    """The service, counting how often it is asked where a batch stands."""

    def __init__(self, service: BatchService) -> None:
        self._service = service
        self.looks = 0

    def outlook(self, batch: Batch) -> Outlook:
        self.looks += 1
        return self._service.outlook(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)


class Watcher:
    """One client of one stream.

    Attributes:
        pieces: What it took, in order.
        at_s: When, each.
    """

    def __init__(self, feeds: Feeds, service: Any, batch: Batch) -> None:
        self.pieces: list[bytes] = []
        self.at_s: list[float] = []
        self.ended = False
        self.broken = False
        self._ready = asyncio.Event()
        self._ready.set()
        self._incoming: asyncio.Queue[Message | Exception] = asyncio.Queue()
        stream = EventStream(feeds, service, batch)
        self.task = asyncio.create_task(stream({"type": "http"}, self._receive, self._send))

    @property
    def events(self) -> list[Event]:
        return parse(b"".join(self.pieces))

    @property
    def view(self) -> dict[str, Any]:
        return merged(self.events)

    def fall_asleep(self) -> None:
        self._ready.clear()

    def wake_up(self) -> None:
        self._ready.set()

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    def say(self, message: Message | Exception) -> None:
        self._incoming.put_nowait(message)

    async def _receive(self) -> Message:
        message = await self._incoming.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def _send(self, message: Message) -> None:
        await self._ready.wait()
        if self.broken:
            raise OSError
        if message.get("body"):
            self.pieces.append(message["body"])
            self.at_s.append(now_s())
        self.ended = message["type"] == "http.response.body" and not message["more_body"]


def rows_of(service: BatchService, batch: Batch) -> list[dict[str, Any]]:
    """Return what polling shows of the rows."""
    document: dict[str, Any] = json.loads(progress_json(service, batch))
    return list(document["hospitals"])


@pytest.mark.parametrize(
    "fault", [None, "drop_after", "error_before", "hang", "reject", "late", "truncated"]
)
def test_the_events_of_a_whole_upload_are_what_polling_shows_within_a_tenth_of_a_second(
    tmp_path: Path, fault: str | None
):
    async def scenario(harness: Harness) -> None:
        if fault:
            await harness.fault(fault, times=3, skip=5)
        batch = await harness.submit(csv_file(20))
        watcher = Watcher(Feeds(), harness.service, batch)
        steady, since_s = None, 0.0

        while not watcher.task.done():
            polled = (batch.status, batch.step, rows_of(harness.service, batch))
            if polled != steady:
                steady, since_s = polled, now_s()
            elif now_s() - since_s >= PROMISE_S:
                view = watcher.view
                assert (view["status"], view["hospitals"]) == (batch.status, polled[2])
                assert view["current_step"] == harness.service.outlook(batch).step
            await asyncio.sleep(0.02)

        first, *changes, done = watcher.events
        assert first.kind == "progress"
        assert {event.kind for event in changes} == {"rows"}
        assert done.kind == "done"
        assert done.data == json.loads(progress_json(harness.service, batch))
        assert merged([first, *changes]) == done.data
        assert watcher.ended

    play(tmp_path, scenario)


def test_a_change_alone_is_told_at_once_and_many_are_gathered(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(20))
        watcher = Watcher(Feeds(), harness.service, batch)
        await asyncio.sleep(2)
        before, began_s = len(watcher.pieces), now_s()

        for _ in range(100):  # one second of changes every 10 ms
            harness.service._tracker.poke(batch)
            await asyncio.sleep(0.01)
        await asyncio.sleep(SOON_S)

        told_s = watcher.at_s[before:]
        assert told_s[0] - began_s < 0.01
        gaps = [later - earlier for earlier, later in pairwise(told_s)]
        assert min(gaps) > 0.045
        assert max(gaps) < PROMISE_S
        assert len(told_s) <= 22

    play(tmp_path, scenario)


def test_what_takes_long_to_tell_is_told_less_often(tmp_path: Path):
    """A batch so large that it took all the time to tell would never end."""

    class Costly(CountingService):
        def outlook(self, batch: Batch) -> Outlook:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.now_s += 0.05
            return super().outlook(batch)

    async def scenario(harness: Harness) -> None:
        service = Costly(harness.service)
        await harness.fault("hang", times=None, seconds=AGES_S)
        batch = await harness.submit(csv_file(2))
        watcher = Watcher(Feeds(), service, batch)
        began_s = now_s()

        while now_s() < began_s + 10:
            harness.service._tracker.poke(batch)
            await asyncio.sleep(0.01)

        assert 10 < service.looks < 10 / 0.05 / 9
        assert len(watcher.pieces) == pytest.approx(service.looks, abs=2)

    play(tmp_path, scenario)


def test_every_kind_of_change_is_told(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("hang", times=None, seconds=AGES_S)
        tracker = harness.service._tracker
        batch = await harness.submit(csv_file(2))
        watcher = Watcher(Feeds(), harness.service, batch)
        await asyncio.sleep(1)

        tracker.set_row(batch, 2, RowStatus.VERIFYING, error="unclear")
        await asyncio.sleep(SOON_S)
        assert watcher.events[-1].data["hospitals"] == rows_of(harness.service, batch)[1:]
        tracker.set_step(batch, "waiting")
        await asyncio.sleep(SOON_S)
        assert watcher.view["current_step"] == "waiting"
        tracker.set_status(batch, BatchStatus.ACTIVATING)
        await asyncio.sleep(SOON_S)
        assert watcher.view["status"] == "activating"
        batch.failure_reason = "noted"
        tracker.touch(batch)
        await asyncio.sleep(SOON_S)
        assert watcher.view["failure_reason"] == "noted"
        await tracker.announce(batch, BatchStatus.PROCESSING, resume_count=7)
        await asyncio.sleep(SOON_S)
        assert (watcher.view["status"], watcher.view["resume_count"]) == ("processing", 7)

    play(tmp_path, scenario)


def test_what_is_told_may_change_without_the_batch(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(2))
        watcher = Watcher(Feeds(), harness.service, batch)
        await asyncio.sleep(2)
        before = len(watcher.events)

        harness.service._tracker.poke(batch)
        await asyncio.sleep(SOON_S)

        [event] = watcher.events[before:]
        assert event.kind == "rows"
        assert event.data["hospitals"] == []
        assert event.data["processing_time_seconds"] == pytest.approx(2.0, abs=0.05)

    play(tmp_path, scenario)


def test_a_hundred_watchers_cost_one_encoding_a_change(tmp_path: Path):
    """They get the very same bytes, not equal ones."""

    async def looks(watchers: int, folder: Path) -> int:
        async with Harness(folder, max_concurrent_requests=3) as harness:
            service, feeds = CountingService(harness.service), Feeds()
            batch = await harness.submit(csv_file(20))
            crowd = [Watcher(feeds, service, batch) for _ in range(watchers)]
            await asyncio.gather(*(watcher.task for watcher in crowd))

            for told in zip(*(watcher.pieces for watcher in crowd), strict=True):
                assert len({id(piece) for piece in told}) == 1
            assert len(crowd[0].pieces) > 5
            return service.looks

    async def scenario(harness: Harness) -> None:
        assert await looks(100, tmp_path / "many") == await looks(1, tmp_path / "one")

    play(tmp_path / "unused", scenario)


def test_a_batch_that_nobody_watches_any_more_is_not_looked_at(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        service, feeds = CountingService(harness.service), Feeds()
        batch = await harness.submit(csv_file(20))
        crowd = [Watcher(feeds, service, batch) for _ in range(10)]
        await asyncio.sleep(1)

        for watcher in crowd:
            watcher.leave()
        await asyncio.sleep(0)
        harness.service._tracker.poke(batch)  # also what was just about to be told is dropped
        await asyncio.sleep(SOON_S)
        looks = service.looks
        await harness.service.wait(batch)
        await asyncio.sleep(SOON_S)

        assert batch.status is BatchStatus.COMPLETED
        assert service.looks == looks
        assert all(watcher.task.done() for watcher in crowd)

    play(tmp_path, scenario)


def test_a_slow_watcher_holds_up_nobody_and_comes_back_to_the_newest_truth(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        feeds, service = Feeds(), CountingService(harness.service)
        batch = await harness.submit(csv_file(20))
        slow, quick = Watcher(feeds, service, batch), Watcher(feeds, service, batch)
        await asyncio.sleep(0.5)
        slow.fall_asleep()
        before = len(slow.pieces)
        for _ in range(1000):
            harness.service._tracker.poke(batch)
            await asyncio.sleep(0.001)
        await asyncio.sleep(5.5 - 1.5)
        assert quick.task.done()
        assert quick.view["status"] == "completed"
        assert not slow.task.done()

        slow.wake_up()
        await slow.task

        stale, *missed = slow.events[before:]
        assert stale.kind == "rows"  # it was on its way already
        assert [event.kind for event in missed] == ["progress", "done"]
        assert slow.view == quick.view

    play(tmp_path, scenario)


def test_a_stream_shows_at_least_what_was_true_when_it_began(tmp_path: Path):
    """A watcher that sleeps keeps the batch's feed alive, with what it told last."""

    async def scenario(harness: Harness) -> None:
        feeds = Feeds()
        await harness.fault("gateway", times=None)
        batch = await harness.load(csv_file(3))
        assert batch.status is BatchStatus.RESUMABLE
        sleeper = Watcher(feeds, harness.service, batch)
        sleeper.fall_asleep()
        await asyncio.sleep(1)
        await harness.heal()

        await harness.service.resume(batch.id)
        watcher = Watcher(feeds, harness.service, batch)
        await watcher.task
        sleeper.wake_up()
        await sleeper.task

        assert watcher.events[0].data["status"] == "processing"
        assert watcher.events[-1].data["status"] == "completed"
        assert sleeper.events[-1].data["status"] == "completed"

    play(tmp_path, scenario)


def test_who_joins_right_after_another_misses_no_change_between_them(tmp_path: Path):
    """What the first was shown is too old for the second, however young it is."""

    async def scenario(harness: Harness) -> None:
        await harness.fault("hang", times=None, seconds=AGES_S)
        feeds, tracker = Feeds(), harness.service._tracker
        batch = await harness.submit(csv_file(2))
        await asyncio.sleep(1)
        first = Watcher(feeds, harness.service, batch)
        await asyncio.sleep(0.001)

        tracker.set_row(batch, 2, RowStatus.VERIFYING, error="unclear")
        second = Watcher(feeds, harness.service, batch)
        await asyncio.sleep(SOON_S)

        assert second.view["hospitals"] == rows_of(harness.service, batch)
        assert first.view["hospitals"] == rows_of(harness.service, batch)

    play(tmp_path, scenario)


def test_every_change_is_told_when_it_comes_while_a_piece_is_on_its_way(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        feeds = Feeds()
        batch = await harness.submit(csv_file(20))
        crowd = [Watcher(feeds, harness.service, batch) for _ in range(20)]
        while not all(watcher.task.done() for watcher in crowd):
            for number, watcher in enumerate(crowd):
                asleep = int(now_s() * 1000) % (number + 2)
                if asleep and batch.status is not BatchStatus.COMPLETED:
                    watcher.fall_asleep()
                else:
                    watcher.wake_up()
            await asyncio.sleep(0.007)

        final = json.loads(progress_json(harness.service, batch))
        for watcher in crowd:
            *told, done = watcher.events
            assert merged(told) == done.data == final

    play(tmp_path, scenario)


def test_a_silent_stream_gives_a_sign_of_life_every_15_seconds(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("hang", times=None, seconds=AGES_S)
        batch = await harness.submit(csv_file(1))
        watcher = Watcher(Feeds(), harness.service, batch)
        await asyncio.sleep(1)
        before, began_s = len(watcher.pieces), now_s()
        await asyncio.sleep(28)

        assert all(piece.startswith(b":") for piece in watcher.pieces[before:])
        assert len(watcher.pieces) - before == 1
        assert watcher.at_s[before] - began_s < 15

    play(tmp_path, scenario)


def test_a_stream_ends_without_a_done_when_its_batch_is_forgotten(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("gateway", endpoint="activate")
        batch = await harness.load(csv_file(2))
        await harness.fault("slow", endpoint="delete_batch", seconds=20)

        abandon = asyncio.create_task(harness.service.abandon(batch.id))
        await asyncio.sleep(harness.settings.settle_seconds + 10)  # the delete is under way
        watcher = Watcher(Feeds(), harness.service, batch)
        await abandon
        await asyncio.sleep(SOON_S)

        assert watcher.task.done()
        assert watcher.ended
        assert watcher.view["status"] == "abandoning"
        assert {event.kind for event in watcher.events} <= {"progress", "rows"}

    play(tmp_path, scenario)


def test_streams_end_when_the_service_stops(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        feeds = Feeds()
        batch = await harness.submit(csv_file(20))
        crowd = [Watcher(feeds, harness.service, batch) for _ in range(10)]
        sleeper = Watcher(feeds, harness.service, batch)
        await asyncio.sleep(1)
        sleeper.fall_asleep()
        stopped_s, known = now_s(), len(sleeper.pieces)

        harness.service.stop()
        await asyncio.wait({watcher.task for watcher in crowd})
        assert now_s() == stopped_s
        await asyncio.sleep(10)
        sleeper.wake_up()
        await sleeper.task

        assert all(watcher.ended for watcher in [*crowd, sleeper])
        assert crowd[0].events[-1].kind != "done"
        assert len(sleeper.pieces) == known

    play(tmp_path, scenario)


@pytest.mark.parametrize("how", ["leaves", "is cut off", "cannot be written to"])
def test_a_client_that_breaks_off_in_any_way_ends_its_stream_and_no_other(tmp_path: Path, how: str):
    async def scenario(harness: Harness) -> None:
        feeds = Feeds()
        batch = await harness.submit(csv_file(2))
        leaving, staying = (Watcher(feeds, harness.service, batch) for _ in range(2))
        await asyncio.sleep(1)

        match how:
            case "leaves":
                leaving.leave()
            case "is cut off":
                leaving.say(UploadCutOff(ShuttingDown()))
            case _:
                leaving.broken = True
                harness.service._tracker.poke(batch)
        await asyncio.sleep(SOON_S)

        assert leaving.task.done()
        assert leaving.task.exception() is None
        await staying.task
        assert staying.events[-1].kind == "done"

    play(tmp_path, scenario)


class TestLargeBatches:
    LARGE: ClassVar[dict[str, Any]] = {"max_csv_size": 10_000, "create_rate_limit": 0}

    def test_a_row_is_told_wherever_it_stands(self, tmp_path: Path):
        """The first event has 1,000 rows; what changes is told all the same, and nothing else."""

        async def scenario(harness: Harness) -> None:
            await harness.fault("hang", times=None, seconds=AGES_S)
            batch = await harness.submit(csv_file(1500))
            await asyncio.sleep(1)
            watcher = Watcher(Feeds(), harness.service, batch)
            await asyncio.sleep(1)
            assert [len(event.data["hospitals"]) for event in watcher.events] == [1000]

            harness.service._tracker.set_row(batch, 1499, RowStatus.VERIFYING, error="unclear")
            await asyncio.sleep(SOON_S)

            [change] = watcher.events[1:]
            assert change.kind == "rows"
            told = [(row["row"], row["error_message"]) for row in change.data["hospitals"]]
            assert told == [(1499, "unclear")]
            assert change.data["selected_hospitals"] == 1500

        play(tmp_path, scenario, **self.LARGE)

    def test_when_more_rows_change_than_a_page_has_it_begins_anew(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            await harness.fault("hang", times=None, seconds=AGES_S)
            batch = await harness.submit(csv_file(1500))
            watcher = Watcher(Feeds(), harness.service, batch)
            await asyncio.sleep(1)
            before = len(watcher.events)

            for number in range(400, 1401):
                harness.service._tracker.set_row(batch, number, RowStatus.VERIFYING)
            await asyncio.sleep(SOON_S)

            [anew] = watcher.events[before:]
            assert anew.kind == "progress"
            assert anew.data["hospitals"] == rows_of(harness.service, batch)

        play(tmp_path, scenario, **self.LARGE)

    def test_a_batch_in_many_parts_is_told_to_its_end(self, tmp_path: Path):
        """Each row is told in its last state, whichever part it is in."""

        async def scenario(harness: Harness) -> None:
            batch = await harness.submit(csv_file(50))
            watcher = Watcher(Feeds(), harness.service, batch)
            watched = asyncio.create_task(harness.service.wait(batch))
            await asyncio.wait({watched, watcher.task})

            *told, done = watcher.events
            seen = {row["row"]: row for event in told for row in event.data["hospitals"]}
            assert done.kind == "done"
            assert done.data["hospitals"] == rows_of(harness.service, batch)
            assert {row["status"] for row in seen.values()} == {"created_and_activated"}
            assert set(seen) == set(range(1, 51))

        play(tmp_path, scenario, **self.LARGE)

    def test_a_change_costs_what_changed_and_not_what_there_is(self, tmp_path: Path):
        async def scenario(harness: Harness) -> None:
            await harness.fault("hang", times=None, seconds=AGES_S)
            batch = await harness.submit(csv_file(1500))
            watcher = Watcher(Feeds(), harness.service, batch)
            await asyncio.sleep(1)
            before = len(watcher.pieces)

            for number in range(1101, 1111):
                harness.service._tracker.set_row(batch, number, RowStatus.VERIFYING)
                await asyncio.sleep(SOON_S)

            changes = watcher.pieces[before:]
            assert len(changes) == 10
            assert max(map(len, changes)) < 1500 < len(watcher.pieces[0]) / 50

        play(tmp_path, scenario, **self.LARGE)


def test_what_can_be_corrected_is_told_with_the_end(tmp_path: Path):
    """The refused row itself did not change when its batch stopped."""

    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", skip=1)
        batch = await harness.submit(csv_file(3))
        watcher = Watcher(Feeds(), harness.service, batch)

        await watcher.task

        *changes, done = watcher.events
        assert merged(changes) == done.data
        assert [row["to_correct"] is not None for row in done.data["hospitals"]] == [
            False,
            True,
            False,
        ]

    play(tmp_path, scenario)
