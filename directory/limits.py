"""Rate limits as the directory has them: fixed windows per client address and endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass

from directory.answers import Answer, as_json
from directory.calls import Endpoint
from directory.settings import DirectorySettings


@dataclass(slots=True)
class _Window:
    ends_s: float
    hits: int = 0


class FixedWindows:
    """Count hits in windows that open with the first hit after the previous one ended.

    A window does not follow the clock's minute, and a refused hit neither prolongs nor
    opens one.
    """

    def __init__(self, limits: Mapping[Endpoint, int], period_s: float) -> None:
        self._limits = limits
        self._period_s = period_s
        self._windows: dict[tuple[str, Endpoint], _Window] = {}

    def admit(self, client: str, endpoint: Endpoint, now_s: float) -> bool:
        """Count a hit, or return False when the window has no room for it."""
        limit = self._limits[endpoint]
        if not limit:
            return True
        window = self._windows.get((client, endpoint))
        if window is None or now_s >= window.ends_s:
            window = self._windows[client, endpoint] = _Window(now_s + self._period_s)
        if window.hits >= limit:
            return False
        window.hits += 1
        return True

    def refusal(self, endpoint: Endpoint) -> Answer:
        """Return the 429 of *endpoint*; the real one has no Retry-After either."""
        period = "1 minute" if self._period_s == 60 else f"{self._period_s:g} second"
        error = f"Rate limit exceeded: {self._limits[endpoint]} per {period}"
        return as_json(429, {"error": error})

    def clear(self) -> None:
        self._windows.clear()


def limits_of(settings: DirectorySettings) -> dict[Endpoint, int]:
    """Return how many hits each endpoint allows per window; 0 is no limit."""
    limits = dict.fromkeys(Endpoint, settings.lookup_limit)
    limits[Endpoint.CREATE] = settings.create_limit
    limits[Endpoint.ROOT] = settings.root_limit
    return limits
