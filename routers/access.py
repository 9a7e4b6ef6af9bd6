"""Who may come in: when the operator has set keys, all but a few addresses need one.

It stands before the endpoints, and before a body is read: an address that somebody adds later needs
a key unless it is named here.
"""

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from config import Settings
from models.caller import ANYBODY, ApiKey, Caller, caller_of
from models.errors import Unauthorized
from routers.addresses import path_of
from routers.problem import from_error
from routers.upload_limit import has_body

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hospital-bulk"'}

_OPEN = frozenset({"/", "/health", "/health/ready", "/openapi.json"})
_METRICS = frozenset({"/metrics"})
_OPEN_PAGES = ("/dashboard", "/docs", "/redoc")


class Access:
    """ASGI middleware: 401 for whoever needs a key and shows none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or identified(scope) or is_open(scope):
            await self._app(scope, receive, send)
            return
        response = from_error(Unauthorized(), scope["path"])
        response.headers.update(CHALLENGE)
        if has_body(scope):  # it is not waited for
            response.headers["Connection"] = "close"
        await response(scope, receive, send)


def identified(scope: Scope) -> Caller | None:
    """Return who makes a request, None if no valid key is shown; remembered in its state."""
    state = scope.setdefault("state", {})
    if "caller" not in state:
        keys: tuple[ApiKey, ...] = scope["app"].state.keys
        state["caller"] = caller_of(_secret(scope), keys) if keys else ANYBODY
    caller: Caller | None = state["caller"]
    return caller


def open_paths(settings: Settings) -> frozenset[str]:
    """Return the addresses beside the pages that need no key: they tell nothing of batches."""
    return _OPEN | _METRICS if settings.metrics_open else _OPEN


def is_open(scope: Scope) -> bool:
    """Return whether the called address needs no key."""
    path = path_of(scope).rstrip("/") or "/"
    is_page = any(path == page or path.startswith(page + "/") for page in _OPEN_PAGES)
    return is_page or path in scope["app"].state.open_paths


async def get_caller(request: Request) -> Caller:
    """Return who makes the request; behind `Access` that is somebody."""
    caller = identified(request.scope)
    assert caller is not None
    return caller


CallerDep = Annotated[Caller, Depends(get_caller)]


def _secret(scope: Scope) -> bytes:
    """Return the secret that is shown; of both headers X-API-Key counts."""
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return headers.get("x-api-key", bearer).encode("latin-1")
