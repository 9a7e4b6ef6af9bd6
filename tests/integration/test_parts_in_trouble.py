"""What goes wrong with one part of a file stays there; what tells of all parts is heeded by all.

In process, on a virtual clock; unless a test is about pace, none is kept.
"""

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid5

import httpx
import pytest

from directory.app import DirectorySettings
from models.batch import BatchStatus
from models.errors import BatchConflict
from models.row import RowStatus
from tests.harness import Harness, Wire, assert_exactly_once, csv_file
from tests.integration.test_exactly_once import now_s, play
from tests.integration.test_interruptions import recovered

PACED = {"max_csv_size": 1000}
UNPACED = PACED | {
    "create_rate_limit": 0,
    "directory": DirectorySettings(create_limit=0, lookup_limit=0, root_limit=0),
}
CREATE, ACTIVATE = "POST /hospitals/", "PATCH /hospitals/batch/"


def test_nothing_is_sent_of_a_part_that_could_not_be_made_known(tmp_path: Path):
    """
    After a crash nobody would look for what it has.
    """

    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(45))
        os.rename(tmp_path, tmp_path.with_name("away"))

        await asyncio.sleep(30)

        assert await harness.hospitals() == []
        os.rename(tmp_path.with_name("away"), tmp_path)
        await harness.service.wait(batch)
        assert batch.status is BatchStatus.RESUMABLE
        assert "could not be saved" in (batch.failure_reason or "")
        await assert_exactly_once(harness, await harness.resume(batch))

    play(tmp_path, scenario, **PACED)


@pytest.mark.parametrize("at_s", [0.1, 4.99, 5.01, 61.1, 65.9, 66.1])
def test_after_a_kill_no_row_of_any_part_is_sent_twice(tmp_path: Path, at_s: float):
    """What was under way is waited for and adopted, of the last part as of the first."""

    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(45))
        await asyncio.sleep(at_s)
        await harness.kill()

        await assert_exactly_once(harness, await recovered(harness, batch))

        assert harness.wire.requests.count(CREATE) == 45

    play(tmp_path, scenario, **PACED)


def test_a_directory_that_forgot_everything_is_filled_anew_in_one_go(tmp_path: Path):
    """Once one part is found lost all are looked at: they settle together, not one by one."""

    async def scenario(harness: Harness) -> None:
        batch = await harness.submit(csv_file(200))
        await asyncio.sleep(48)
        assert batch.created_count >= 180
        await harness.restart_directory()
        restarted_s = now_s()

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        assert now_s() - restarted_s < 100

    play(tmp_path, scenario, **UNPACED)


class SlowWay(httpx.AsyncBaseTransport):
    """The way to the directory, on which the answer to one list, the *number*th, takes 25 s."""

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire = wire
        self._number = number
        self.lists = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_list = request.method == "GET" and request.url.path.startswith("/hospitals/batch/")
        self.lists += is_list
        is_slow = is_list and self.lists == self._number
        answer = await self._wire.handle_async_request(request)
        if is_slow:
            await asyncio.sleep(25)
        return answer


def test_a_look_from_before_the_directory_forgot_verifies_nothing(tmp_path: Path):
    """Its answer comes when the other part, found lost by a later look, is whole again."""

    async def scenario(harness: Harness) -> None:
        await harness.fault("drop_before", "activate", times=None)
        batch = await harness.load(csv_file(40))
        assert batch.created_count == 40
        await harness.heal()
        await harness.fault("error_before", "list_batch", skip=1)
        harness.line.way = SlowWay(harness.wire, number=1)
        await harness.service.resume(batch.id)
        await asyncio.sleep(0.1)
        await harness.restart_directory()
        harness.wire.requests.clear()

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        requests = harness.wire.requests
        first = next(i for i, request in enumerate(requests) if request.startswith(ACTIVATE))
        assert requests[:first].count(CREATE) == 40

    play(tmp_path, scenario, **UNPACED)


def test_a_directory_that_forgets_after_the_last_activation_is_filled_anew(tmp_path: Path):
    """
    The answer of the last part's look is on its way: only another look at the first part tells.
    """

    async def scenario(harness: Harness) -> None:
        harness.line.way = way = SlowWay(harness.wire, number=5)
        batch = await harness.submit(csv_file(40))
        await asyncio.sleep(15)
        assert way.lists == 5
        assert all(h["active"] for h in await harness.hospitals())
        await harness.restart_directory()

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)

    play(tmp_path, scenario, **UNPACED)


def test_what_partial_activations_left_out_goes_where_its_part_is(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("partial", "activate", skip=1, times=2)

        batch = await harness.load(csv_file(70))

        await assert_exactly_once(harness, batch)
        assert len(batch.further) == 2
        held = Counter(h["creation_batch_id"] for h in await harness.hospitals())
        for part in batch.further:
            first, further = batch.directory_batch_ids(part)
            assert further == uuid5(first, "1")
            assert held[str(first)] + held[str(further)] == len(batch.rows_of(part))
            assert held[str(further)] > 0

    play(tmp_path, scenario, **UNPACED)


def test_a_part_that_becomes_active_while_others_are_deleted_is_not_deleted(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject")
        batch = await harness.load(csv_file(60))
        await harness.fault("slow", "delete_batch", seconds=20)
        abandoning = asyncio.create_task(harness.service.abandon(batch.id))
        await asyncio.sleep(10)
        last = batch.directory_batch_ids(2)[0]
        await harness.control.patch(f"/hospitals/batch/{last}/activate")

        with pytest.raises(BatchConflict, match="active"):
            await abandoning

        assert batch.status is BatchStatus.ABANDONING
        assert len(await harness.hospitals(last)) == 20

    play(tmp_path, scenario, **UNPACED)


def test_nothing_is_activated_on_a_look_from_before_a_loss(tmp_path: Path):
    """One of six parts was looked at just before the directory forgot all; that answer is slow."""

    async def scenario(harness: Harness) -> None:
        await harness.fault("reject", name="Hospital 120")
        batch = await harness.load(csv_file(120))
        await harness.service.correct(batch.id, 120, {"name": "Hospital 120b"})
        harness.line.way = SlowWay(harness.wire, number=2)
        await harness.fault("error_before", "list_batch", skip=2, times=4)
        await harness.service.resume(batch.id)
        await asyncio.sleep(0.1)
        await harness.restart_directory()
        harness.wire.requests.clear()

        await harness.service.wait(batch)

        await assert_exactly_once(harness, batch)
        requests = harness.wire.requests
        first = next(i for i, request in enumerate(requests) if request.startswith("PATCH"))
        assert requests[:first].count("POST /hospitals/") == 120

    play(tmp_path, scenario, max_concurrent_requests=200, **unpaced(workers=200))


def test_a_full_directory_that_drops_the_oldest_rows_is_noticed(tmp_path: Path):
    """The first part was filled anew and has the youngest rows; the oldest are the second's."""

    async def scenario(harness: Harness) -> None:
        await harness.fault("slow", "activate", seconds=2, times=None)
        batch = await harness.submit(csv_file(160))
        await asyncio.sleep(11)
        await harness.control.delete(f"/hospitals/batch/{batch.id}")
        await asyncio.sleep(53)
        assert 160 > batch.rows.count(RowStatus.CREATED_AND_ACTIVATED) >= 80
        for number in range(5):
            stranger = {"name": f"Stranger {number}", "address": "1 Side Street"}
            await harness.control.post("/_directory/hospitals", json=stranger)

        await harness.service.wait(batch)

        assert batch.status is BatchStatus.RESUMABLE
        assert "lost" in (batch.failure_reason or "")

    play(tmp_path, scenario, **unpaced(keep=160))


@pytest.mark.parametrize("rows", [20, 60])
def test_what_became_active_while_a_delete_waited_is_not_deleted(tmp_path: Path, rows: int):
    """A delete that is refused for its rate goes again by itself, minutes later perhaps."""

    async def scenario(harness: Harness) -> None:
        await harness.fault("reject")
        batch = await harness.load(csv_file(rows))
        await harness.fault("refuse", "delete_batch", times=12)
        abandoning = asyncio.create_task(harness.service.abandon(batch.id))
        await asyncio.sleep(40)
        for part in range(batch.parts):
            one = batch.directory_batch_ids(part)[0]
            await harness.control.patch(f"/hospitals/batch/{one}/activate")

        with pytest.raises(BatchConflict, match="active"):
            await abandoning

        assert len(await harness.hospitals()) == rows - 1

    play(tmp_path, scenario, **unpaced())


def test_an_abandon_of_many_parts_goes_on_over_single_failures(tmp_path: Path):
    async def scenario(harness: Harness) -> None:
        await harness.fault("reject")
        batch = await harness.load(csv_file(1000))
        for number in range(8):
            await harness.fault("error_before", "delete_batch", skip=number * 5)

        assert await harness.service.abandon(batch.id) == 999

        assert await harness.hospitals() == []

    play(tmp_path, scenario, **unpaced())


def unpaced(**directory: int) -> dict[str, Any]:
    settings = DirectorySettings(create_limit=0, lookup_limit=0, root_limit=0, **directory)
    return {"max_csv_size": 10_000, "create_rate_limit": 0, "directory": settings}
