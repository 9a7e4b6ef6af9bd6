"""Ctrl-C and SIGTERM end the client in the same way, wherever it is."""

import signal
from types import FrameType


class Interrupted(BaseException):
    """Somebody wants the client to end.

    Not an Exception, and not a KeyboardInterrupt either: libraries turn those into something else.

    Attributes:
        exit_status: 128 and the signal's number, as shells count.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


def listen() -> None:
    """From now on raise Interrupted on SIGINT and SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)
