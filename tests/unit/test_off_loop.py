"""Work in threads that is not waited for longer than it is worth."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from services.off_loop import off_loop


async def test_what_no_thread_had_time_for_is_not_begun_later():
    """Else what nobody waits for any more would keep others waiting."""
    begun: list[int] = []
    is_free = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.create_task(off_loop(lambda: is_free.wait(10)))
    await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        await off_loop(lambda: begun.append(1), within_s=0.05)
    await asyncio.sleep(0)  # the threads' queue hears of it in the next turn of the loop
    is_free.set()
    await busy
    await off_loop(lambda: begun.append(2))

    assert begun == [2]


async def test_what_was_begun_goes_on():
    is_free, has_ended = threading.Event(), threading.Event()

    def work() -> None:
        assert is_free.wait(10)
        has_ended.set()

    with pytest.raises(TimeoutError):
        await off_loop(work, within_s=0.05)
    is_free.set()

    assert await asyncio.to_thread(has_ended.wait, 10)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_process_that_slept_hears_the_answer_that_came_meanwhile(loop_factory):
    async def sleep_meanwhile() -> str:
        asyncio.get_running_loop().call_later(0.01, time.sleep, 0.2)  # noqa: TID251 - it stalls
        return await off_loop(answer, within_s=0.1)

    def answer() -> str:
        time.sleep(0.05)  # noqa: TID251 - in a thread, while the loop stalls
        return "the answer"

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(sleep_meanwhile()) == "the answer"
