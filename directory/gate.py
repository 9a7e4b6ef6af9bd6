"""Whether the directory is there at all: up, down for a restart, asleep or waking."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waking:
    """The directory is not awake yet.

    Attributes:
        wait_s: Seconds until it is.
        status: What a proxy answers meanwhile; None lets the request wait.
    """

    wait_s: float
    status: int | None


class Gate:
    """Tell what a request finds on arrival. Pure: the time is passed in."""

    def __init__(self) -> None:
        self._down_until_s = -math.inf
        self._awake_at_s = -math.inf
        self._wake_s: float | None = None  # asleep, and nobody has knocked yet
        self._status: int | None = None

    def go_down(self, until_s: float) -> None:
        """Be unreachable until *until_s*; a process that starts anew is awake."""
        self._down_until_s = until_s
        self._awake_at_s = -math.inf
        self._wake_s = None

    def fall_asleep(self, wake_s: float, status: int | None, now_s: float) -> None:
        """Sleep until the next request, and take *wake_s* from then on to wake.

        While it wakes up it cannot fall asleep: later requests would overtake those that wait.
        """
        if now_s < self._awake_at_s:
            return
        self._wake_s = wake_s
        self._status = status

    def is_down(self, now_s: float) -> bool:
        return now_s < self._down_until_s

    def knock(self, now_s: float) -> Waking | None:
        """Return None when awake; the first knock starts the waking."""
        if self._wake_s is not None:
            self._awake_at_s = now_s + self._wake_s
            self._wake_s = None
        wait_s = self._awake_at_s - now_s
        return Waking(wait_s, self._status) if wait_s > 0 else None
