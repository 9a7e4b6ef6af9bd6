"""Reading a large file without taking the event loop's time."""

import io
import time
from collections.abc import Callable
from typing import BinaryIO

REST = 2.0  # seconds for each second of work; 4 gains little more, 1 too little (0.73, 0.65, 0.57)


class PacedFile(io.RawIOBase):
    """A file for a reader in a thread of its own, which rests before each further piece.

    Only one thread at a time runs Python. A reader that does not rest leaves the event loop a few
    turns in a hundred: with three such readers other clients got 2 % of their usual rate.
    """

    def __init__(
        self,
        file: BinaryIO,
        sleep: Callable[[float], None] = time.sleep,  # noqa: TID251 - not in the event loop
    ) -> None:
        self._file = file
        self._sleep = sleep
        self._since_s: float | None = None  # of the reader's own CPU time

    def read(self, size: int = -1) -> bytes:
        if self._since_s is not None:
            worked_s = time.thread_time() - self._since_s
            self._sleep(worked_s * REST)
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
