"""When creates were last sent, so that a successor knows how full the directory's rate window is.

One file of as many lines as creates are allowed in a window, overwritten in turn: seconds since the
epoch. A line is written before its create leaves, at once (2 us) and not flushed to the disk: it
has to outlive the process, and not the machine. Losing it costs no row: creates that come too early
are refused by the directory and go again.
"""

import contextlib
import math
import os
from contextvars import Context
from datetime import datetime
from pathlib import Path

from services.clock import age_s
from services.logs import get_logger

logger = get_logger(__name__)

NAME = ".recent-sends"
LINE = "{:20.6f}\n"
LINE_BYTES = 21
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


class SendLog:
    """The last sends, in the folder of the checkpoints.

    Args:
        folder: Owned by this process when `open` is called.
        size: How many sends are remembered; 0: none.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._path = folder / NAME
        self._size = size
        self._file: int | None = None
        self._next = 0

    def open(self, now: datetime) -> list[float]:
        """Begin to remember; return the ages of an earlier process's sends, in seconds."""
        if not self._size:
            return []
        times: list[float] = []
        try:
            with contextlib.suppress(FileNotFoundError):
                times = sorted(_times(self._path.read_bytes()))[-self._size :]
            self._file = os.open(self._path, FLAGS, 0o644)
        except OSError as error:
            logger.warning("recent sends are not remembered", error=error.strerror)
        ages_s = [age_s(time, now.timestamp()) for time in times]
        for age in ages_s:
            self._add(now.timestamp() - age)
        return ages_s

    def add(self, now: datetime) -> None:
        """Remember a send that leaves *now*."""
        self._add(now.timestamp())

    def _add(self, time: float) -> None:
        if self._file is None:
            return
        line = LINE.format(time).encode()
        try:
            os.pwrite(self._file, line, self._next * LINE_BYTES)
        except OSError as error:
            # Not bound to a batch: whoever's turn ends grants the next one, of any batch.
            Context().run(logger.warning, "a send could not be remembered", error=error.strerror)
        self._next = (self._next + 1) % self._size

    def close(self) -> None:
        """Remember no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _times(content: bytes) -> list[float]:
    """Read what can be read; a line that was torn or damaged is passed over."""
    times = []
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError):
            times.append(float(line.strip(b" \0")))  # NULs: of lines that a full disk refused
    return [time for time in times if math.isfinite(time)]
