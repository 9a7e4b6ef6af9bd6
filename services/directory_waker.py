"""Is the directory awake, and if not, how long is it worth waiting?

It sleeps when idle: a first answer after 27.6 s was measured, 60 s are reported. All runs of the
process wait together and ask once.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar, assert_never

from models.outcome import Awake, NotSent, RateLimited, Unexpected, Unknown, WakeOutcome
from services import clock
from services.hospital_api import HospitalApi
from services.logs import get_logger
from services.reasons import Interrupted, not_answering

logger = get_logger(__name__)

# The host sends the directory to sleep after a quarter of an hour; well before that it is awake.
QUIET_S = 300.0
FIRST_PAUSE_S = 0.5  # between two tries to reach it ...
LAST_PAUSE_S = 5.0  # ... doubling up to this
# One try waits no longer than this: a request that hangs from before a restart must not hide that
# the directory is up again.
PROBE_TIMEOUT_S = 30.0
STATE_FRESH_S = 5.0  # how long a look for the health page is good for
STATE_TIMEOUT_S = 2.0  # and how long it may take

T = TypeVar("T")


class DirectoryState(StrEnum):
    """How the directory looked when it was last looked at."""

    AWAKE = "awake"
    ASLEEP = "asleep"  # no answer in time, or its host answers for it
    UNREACHABLE = "unreachable"


class DirectoryWaker:
    """Wakes the directory and waits for it; every wait ends at once when the service stops.

    Args:
        api: The directory's exchanges.
        wake_timeout_s: How long it may be unreachable before a run gives up.
        changed: Called when somebody begins or ends to wait for it.
    """

    def __init__(
        self, api: HospitalApi, wake_timeout_s: float, changed: Callable[[], None]
    ) -> None:
        self._api = api
        self._wake_timeout_s = wake_timeout_s
        self._changed = changed
        self._failing_since_s: list[float] = []  # of everybody who waits for it
        self._stopping = asyncio.Event()
        self._probe: asyncio.Task[WakeOutcome] | None = None
        self._answered_s: float | None = None
        self._told_waiting_s: float | None = None
        self._state: tuple[float, DirectoryState] | None = None
        self._state_lock = asyncio.Lock()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def silent_since_s(self) -> float | None:
        """Since when it is waited for, in monotonic seconds; None if nobody waits."""
        return min(self._failing_since_s, default=None)

    def stop(self) -> None:
        """End every wait."""
        self._stopping.set()

    def close(self) -> None:
        """Ask no more."""
        if self._probe is not None:
            self._probe.cancel()

    def noted(self, outcome: T) -> T:
        """Return *outcome*, remembering when the directory last answered as itself."""
        if not isinstance(outcome, NotSent | Unknown | Unexpected):
            self._answered_s = clock.now_s()
        return outcome

    async def wake_if_quiet(self) -> None:
        """Wake the directory if it may sleep; CannotContinue after the wake timeout."""
        if self._answered_s is None or clock.now_s() - self._answered_s > QUIET_S:
            await self.wake()

    async def wake(self, failing_since_s: float | None = None, reason: str = "no answer") -> None:
        """Return when the directory answers as itself.

        Args:
            failing_since_s: Since when the caller fails, in monotonic seconds; default: now.
            reason: What the caller met.

        Raises:
            CannotContinue: The wake timeout has passed since then.
            Interrupted: The service is stopping.
        """
        since_s = clock.now_s() if failing_since_s is None else failing_since_s
        if self._told_waiting_s is None:
            self._told_waiting_s = since_s
            met = {} if failing_since_s is None else {"met": reason}
            logger.info("waiting for the directory", **met)
        with self._waited_for(since_s):
            await self._wake(since_s + self._wake_timeout_s, reason)

    @contextmanager
    def _waited_for(self, since_s: float) -> Iterator[None]:
        self._failing_since_s.append(since_s)
        self._changed()
        try:
            yield
        finally:
            self._failing_since_s.remove(since_s)
            self._changed()

    async def _wake(self, deadline_s: float, reason: str) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            left_s = deadline_s - clock.now_s()
            if left_s <= 0:
                raise not_answering(self._wake_timeout_s, reason)
            outcome = await self._probed(left_s)
            if isinstance(outcome, Awake | RateLimited):
                self._tell_awake()
                return
            if outcome is not None:
                reason = outcome.reason
            if isinstance(outcome, Unexpected):
                reason += ": check HOSPITAL_API_BASE_URL"
            await self.pause(min(pause_s, max(deadline_s - clock.now_s(), 0.0)))
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    def _tell_awake(self) -> None:
        if self._told_waiting_s is not None:
            seconds = round(clock.now_s() - self._told_waiting_s, 3)
            self._told_waiting_s = None
            logger.info("the directory is awake", waited_s=seconds)

    async def back_off(
        self, failures: int, failing_since_s: float | None = None, reason: str = "no answer"
    ) -> None:
        """Wait after a failed exchange, longer after each, then until the directory is awake."""
        failing_since_s = clock.now_s() if failing_since_s is None else failing_since_s
        doublings = min(failures - 1, 10)  # a float cannot hold what a thousand would make
        await self.pause(min(FIRST_PAUSE_S * 2**doublings, LAST_PAUSE_S))
        await self.wake(failing_since_s, reason)

    async def pause(self, seconds: float) -> None:
        """Wait *seconds*; Interrupted at once when the service stops."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise Interrupted

    async def state(self) -> DirectoryState:
        """Tell how the directory is, for the health page; looks at most every few seconds."""
        async with self._state_lock:
            now_s = clock.now_s()
            if self._answered_s is not None and now_s - self._answered_s < STATE_FRESH_S:
                return DirectoryState.AWAKE
            if self._state is None or now_s - self._state[0] >= STATE_FRESH_S:
                outcome = self.noted(await self._api.wake(STATE_TIMEOUT_S))
                self._state = (clock.now_s(), _state(outcome))
            return self._state[1]

    async def _probed(self, timeout_s: float) -> WakeOutcome | None:
        """Ask for the first page, all runs together; None if no answer came within *timeout_s*."""
        if self._probe is None or self._probe.done():
            probe_s = min(self._wake_timeout_s, PROBE_TIMEOUT_S)
            self._probe = asyncio.create_task(self._api.wake(probe_s))
        probe = self._probe
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait(
                {probe, stop}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stop.cancel()
        if self.is_stopping:
            raise Interrupted
        return self.noted(probe.result()) if probe.done() else None


def _state(outcome: WakeOutcome) -> DirectoryState:
    match outcome:
        case Awake() | RateLimited():
            return DirectoryState.AWAKE
        case Unknown():
            return DirectoryState.ASLEEP
        case NotSent() | Unexpected():
            return DirectoryState.UNREACHABLE
        case _:
            assert_never(outcome)
