"""The two clocks. Intervals are measured on the monotonic one, which no step of the time can touch.

The wall clock is for people, and for the times that must survive a restart. The rule for these: at
the start a time of an earlier process is turned into an age, at least zero, and counts as monotonic
from then on. A wall clock that is set back between two processes makes things look younger, one
that is set forward makes them look older; after the start it can be set as anyone likes.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

WallClock: TypeAlias = Callable[[], datetime]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_s() -> float:
    """Return the monotonic time, in seconds."""
    return asyncio.get_running_loop().time()


def utc_now() -> datetime:
    """Return the wall clock's time."""
    return datetime.now(UTC)


def epoch_us(when: datetime) -> int:
    """Return a time as whole microseconds since the epoch."""
    return (when - EPOCH) // timedelta(microseconds=1)


def age_s(then: float, now: float) -> float:
    """Return how long ago *then* was by the wall clock, at least 0.0; all in seconds."""
    return max(0.0, now - then)
