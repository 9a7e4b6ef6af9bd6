"""So many requests a second of each caller, and no more."""

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from models.caller import Caller
from models.errors import TooManyRequests
from routers.addresses import path_of
from routers.problem import from_error

NOT_LIMITED = frozenset({"/health", "/health/ready"})  # else a busy caller makes it look ill
NETWORK_BITS = 64  # of IPv6: what one customer gets, who may have any address in it


class RateLimit:
    """ASGI middleware: a caller who asks too often is answered with 429.

    An event stream counts once, at its start. Over a second the library weighs the one before, so
    that at most twice the limit gets through in an unlucky second, and the limit over any longer
    time. Its exact window waits for a thread at each request: behind a long file that took 1.5 s.

    Args:
        app: What it stands before.
        per_second: Requests of one caller; 0: as many as they like.
        identified: Returns whose key a request shows; None if none that is known.
    """

    def __init__(
        self, app: ASGIApp, per_second: int, identified: Callable[[Scope], Caller | None]
    ) -> None:
        self._app = app
        self._limit = RateLimitItemPerSecond(per_second) if per_second else None
        self._identified = identified
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self._is_taken(scope):
            await self._app(scope, receive, send)
        else:
            await from_error(TooManyRequests(), scope["path"])(scope, receive, send)

    async def _is_taken(self, scope: Scope) -> bool:
        if self._limit is None or scope["type"] != "http" or path_of(scope) in NOT_LIMITED:
            return True
        return await self._limiter.hit(self._limit, *self._who(scope))

    def _who(self, scope: Scope) -> tuple[str, str]:
        """Return what kind of name a caller is known by, and the name."""
        caller = self._identified(scope)
        if caller is not None and caller.name is not None:
            return "key", caller.name
        host, _ = scope.get("client") or ("unknown", 0)
        return "address", network_of(host)


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
