"""So many requests a second of each caller, and no more."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from models.caller import Caller
from models.errors import TooManyRequests
from routers.addresses import path_of
from routers.problem import from_error

NOT_LIMITED = frozenset({"/health", "/health/ready"})  # else a busy caller makes it look ill
KNOWN_ADDRESSES = 256  # of those who called last
NETWORK_BITS = 64  # of IPv6: what one customer gets, who may have any address in it

Who: TypeAlias = tuple[str, str]  # a kind of name and the name


class RateLimit:
    """ASGI middleware: a caller who asks too often is answered with 429.

    An event stream counts once, at its start.

    Args:
        app: What it stands before.
        per_second: Requests of one caller; 0: as many as they like.
        identified: Returns whose key a request shows; None if none that is known.
    """

    def __init__(
        self, app: ASGIApp, per_second: int, identified: Callable[[Scope], Caller | None]
    ) -> None:
        self._app = app
        self._calls = SlidingCounter(per_second) if per_second else None
        self._identified = identified

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_taken(scope):
            await self._app(scope, receive, send)
        else:
            await from_error(TooManyRequests(), scope["path"])(scope, receive, send)

    def _is_taken(self, scope: Scope) -> bool:
        if self._calls is None or scope["type"] != "http" or path_of(scope) in NOT_LIMITED:
            return True
        return self._calls.add(self._who(scope), monotonic())

    def _who(self, scope: Scope) -> Who:
        """Return what kind of name a caller is known by, and the name."""
        caller = self._identified(scope)
        if caller is not None and caller.name is not None:
            return "key", caller.name
        host, _ = scope.get("client") or ("unknown", 0)
        return "address", network_of(host)


class SlidingCounter:
    """Counts the calls of each caller in this second, and weighs in those of the one before.

    So at most twice the limit gets through in an unlucky second, and the limit over any longer
    time. Who has not called for two seconds is forgotten with the next call of anybody.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = 0
        self._calls: dict[Who, int] = {}
        self._calls_before: dict[Who, int] = {}

    def add(self, who: Who, now_s: float) -> bool:
        """Return whether one more call of *who* may come now; then it counts."""
        second, gone = divmod(now_s, 1.0)
        self._begin(int(second))
        calls = self._calls.get(who, 0)
        if int(self._calls_before.get(who, 0) * (1.0 - gone)) + calls >= self._limit:
            return False
        self._calls[who] = calls + 1
        return True

    def _begin(self, second: int) -> None:
        if second != self._second:
            self._calls_before = self._calls if second == self._second + 1 else {}
            self._calls, self._second = {}, second


@lru_cache(KNOWN_ADDRESSES)
def network_of(host: str) -> str:
    """Return an address, or for IPv6 its network; what is none as it is."""
    try:
        address = ip_address(host)
    except ValueError:  # a socket file, or what a trusted proxy wrote
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:  # of a socket that listens to both
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), NETWORK_BITS), strict=False))
