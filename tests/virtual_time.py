"""An event loop whose clock jumps to the next timer whenever nothing is left to do.

Hours of waiting take milliseconds, and every run is the same. Work for threads is done inline.
"""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Held(Exception):
    """Raised by work for a thread that is to be begun anew later, when *until* is done."""

    def __init__(self, until: asyncio.Future[None]) -> None:
        super().__init__()
        self.until = until


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the loop's clock to it."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        counting = self.loop.count_turn()
        if not ready and timeout is None and not counting:
            raise RuntimeError("deadlock: nothing is left that could ever happen")
        if not ready and timeout:
            self.loop.now_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._turns_left = 0
        self._counting: asyncio.Future[None] | None = None
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    @property
    def _clock_resolution(self) -> float:
        """Next to nothing: else a shorter wait would be over before its time, again and again."""
        return math.ulp(self.now_s)

    @_clock_resolution.setter
    def _clock_resolution(self, _: float) -> None:
        """The real clock's does not count."""

    async def turns(self, number: int) -> None:
        """Return after *number* turns of the loop: at some await of whatever else is running."""
        self._turns_left = number
        self._counting = self.create_future()
        await self._counting

    def count_turn(self) -> bool:
        """Count one turn of the loop; return whether somebody waits for turns."""
        counting, self._turns_left = self._counting, self._turns_left - 1
        if counting is not None and self._turns_left <= 0:
            counting.set_result(None)
            self._counting = None
        return counting is not None

    def time(self) -> float:
        return self.now_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self._work(future, partial(func, *args))
        return future

    def _work(self, future: asyncio.Future[T], work: Callable[[], T]) -> None:
        try:
            result = work()
            if not future.cancelled():  # by somebody who waits for it no longer
                future.set_result(result)
        except Held as held:
            held.until.add_done_callback(lambda _: self._work(future, work))
        except asyncio.CancelledError:
            future.cancel()
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits it
            if not future.cancelled():
                future.set_exception(error)


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end on a virtual clock that starts at 1000 s."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
