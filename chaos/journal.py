"""One line for each event, with its time: what was done, what was seen."""

import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self


class Journal:
    """A file of events, complete up to the last one at any moment.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._started_s = time.monotonic()

    def note(self, event: str) -> None:
        """Write *event* with the seconds since the start and the time of day (UTC, as the logs)."""
        seconds = time.monotonic() - self._started_s
        clock = datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]
        self._file.write(f"{seconds:9.3f} {clock} {event}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
