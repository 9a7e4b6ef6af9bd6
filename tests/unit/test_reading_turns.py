"""How uploaded files are read beside other work: with rests, large ones one at a time."""

import asyncio
import io
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, cast

import httpx

from config import Settings
from main import create_app
from models.validation import CsvContent
from routers.paced_file import REST, PacedFile, busy_loop
from routers.upload_limit import ORDINARY_BYTES
from services.csv_processor import read_csv

SOUND = b"name,address\nClinic,Sea Road 5\n"
LARGE = SOUND + b"\n" * ORDINARY_BYTES


class SlowReader:
    """Stands for the service: reading a large file takes a while, or until `go` is set."""

    def __init__(self, *, waits: bool = False) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.reading = self.most = 0
        self._waits = waits

    async def wait_until_stopping(self) -> None:
        await asyncio.Event().wait()

    def loading_s(self, rows: int) -> float:
        return 0.0

    async def validate(self, file: BinaryIO) -> CsvContent:
        if len(file.read()) > ORDINARY_BYTES:
            self.begun.set()
            self.reading += 1
            self.most = max(self.most, self.reading)
            await (self.go.wait() if self._waits else asyncio.sleep(0.05))
            self.reading -= 1
        return read_csv(file, max_rows=20)


@asynccontextmanager
async def serving(
    service: SlowReader,
) -> AsyncIterator[Callable[[bytes], Coroutine[Any, Any, bool]]]:
    """Yield what uploads a file to an app on *service* and returns whether it is valid."""
    app = create_app(Settings(_env_file=None))
    app.state.service = service
    transport = httpx.ASGITransport(app)
    async with (
        asyncio.timeout(20),
        httpx.AsyncClient(transport=transport, base_url="http://service.test") as client,
    ):

        async def validate(content: bytes) -> bool:
            files = {"file": ("x.csv", content, "text/csv")}
            answer = await client.post("/hospitals/validate", files=files)
            return bool(answer.json()["is_valid"])

        yield validate


async def test_large_files_are_read_one_at_a_time():
    service = SlowReader()
    async with serving(service) as validate:
        assert await asyncio.gather(*[validate(LARGE) for _ in range(4)]) == [True] * 4

    assert service.most == 1


async def test_an_ordinary_file_does_not_wait_for_a_large_one():
    service = SlowReader(waits=True)
    async with serving(service) as validate, asyncio.TaskGroup() as group:
        large = group.create_task(validate(LARGE))
        await service.begun.wait()

        assert await validate(SOUND)

        assert not large.done()
        service.go.set()


def test_the_reader_of_a_large_file_rests_most_of_the_time_while_others_work():
    rests_s: list[float] = []
    file = PacedFile(io.BytesIO(SOUND + b",\n" * 200_000), lambda: True, rests_s.append)
    worked_s = time.thread_time()

    assert read_csv(cast("BinaryIO", file), max_rows=20).is_valid

    worked_s = time.thread_time() - worked_s
    assert sum(rests_s) > 0.8 * REST * worked_s
    assert max(rests_s) < 0.2 * sum(rests_s)  # in pieces, not at the end


def test_the_reader_does_not_rest_when_nobody_else_works():
    asked: list[bool] = []
    rests_s: list[float] = []

    def is_busy() -> bool:
        asked.append(True)
        return False

    file = PacedFile(io.BytesIO(SOUND + b",\n" * 200_000), is_busy, rests_s.append)

    assert read_csv(cast("BinaryIO", file), max_rows=20).is_valid

    assert rests_s == []
    assert len(asked) > 10  # others may begin at any moment


async def test_a_loop_is_busy_while_it_does_something_else():
    is_busy = busy_loop(asyncio.get_running_loop())

    async def work() -> None:
        while True:
            # Longer than a thread may keep the interpreter (5 ms), or the other never gets it: it
            # would be given away only between two turns of the loop, and taken back at once.
            end_s = time.perf_counter() + 4 * sys.getswitchinterval()
            while time.perf_counter() < end_s:
                pass
            await asyncio.sleep(0)

    working = asyncio.create_task(work())
    busy = [await asyncio.to_thread(is_busy) for _ in range(5)]
    working.cancel()

    assert any(busy)


def test_a_loop_that_has_ended_is_not_waited_for():
    loop = asyncio.new_event_loop()
    loop.close()

    assert not busy_loop(loop)()


def test_an_ordinary_file_is_read_as_if_there_were_no_rests():
    content = SOUND + b"Clinic,Sea Road 5\n" * 19
    file = cast("BinaryIO", PacedFile(io.BytesIO(content), lambda: True))

    assert read_csv(file, max_rows=20) == read_csv(io.BytesIO(content), max_rows=20)
    assert not file.closed


def test_a_file_may_be_read_again_in_another_thread():
    """Each thread has a CPU time of its own: what one has used is nothing to the next."""
    rests_s: list[float] = []
    file = PacedFile(io.BytesIO(SOUND), lambda: True, rests_s.append)
    sum(range(10**6))  # this thread's
    file.read(10)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(file.seek, 0).result()
        again = threads.submit(file.read, 5).result()

    assert again == SOUND[:5]
    assert all(rest_s >= 0 for rest_s in rests_s)
