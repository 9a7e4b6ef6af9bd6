"""Reading a large file without taking the event loop's time."""

import asyncio
import io
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

REST = 2.0  # seconds for each second of work; 4 gains little more, 1 too little (0.73, 0.65, 0.57)
WORK_S = 0.001  # of work before it is asked whether others want to work
LATE_S = 0.0002  # an idle event loop turns in a quarter of it
LONGEST_S = 1.0  # that a turn is waited for: the loop may have ended


class PacedFile(io.RawIOBase):
    """A file for a reader in a thread of its own, which rests while others have work to do.

    Only one thread at a time runs Python. A reader that does not rest leaves the event loop a few
    turns in a hundred: with three such readers other clients got 2 % of their usual rate.

    Args:
        file: What is read.
        is_busy: Waits for the event loop's next turn; tells whether it had something else to do.
        sleep: How it rests.
    """

    def __init__(
        self,
        file: BinaryIO,
        is_busy: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251 - not in the event loop
    ) -> None:
        self._file = file
        self._is_busy = is_busy
        self._sleep = sleep
        self._worked_s = 0.0
        self._since_s: float | None = None  # of the reader's own CPU time

    def read(self, size: int = -1) -> bytes:
        if self._since_s is not None:
            self._worked_s += time.thread_time() - self._since_s
        if self._worked_s >= WORK_S:
            if self._is_busy():
                self._sleep(self._worked_s * REST)
            self._worked_s = 0.0
        piece = self._file.read(size)
        self._since_s = time.thread_time()
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._since_s = None  # whoever reads on may do so in another thread, with its own CPU time
        return self._file.seek(offset, whence)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def busy_loop(loop: asyncio.AbstractEventLoop) -> Callable[[], bool]:
    """Return what tells another thread whether *loop* has something to do."""

    def is_busy() -> bool:
        turned = threading.Event()
        since_s = time.perf_counter()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # it is closed: nobody else is left
            return False
        turned.wait(LONGEST_S)
        return time.perf_counter() - since_s > LATE_S

    return is_busy
