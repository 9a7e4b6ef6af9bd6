"""What browsers are told of every answer, and the names under which the service may be called."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from routers.addresses import path_of
from routers.problem import plain

_ON_EVERY_ANSWER = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    # Not for pages of other origins that CORS allows: it speaks of what is embedded.
    b"cross-origin-resource-policy": b"same-origin",
}
_UNLESS_SET = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",  # batches hold names, addresses and phones
}
_ANY_HOST = frozenset({"/health", "/health/ready"})  # platforms call these by an address


CROSS_ORIGIN: Mapping[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PATCH", "DELETE"),
    "allow_headers": (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "Last-Event-ID",
        "Prefer",
        "X-API-Key",
        "X-Request-ID",
    ),
    "expose_headers": (
        "Content-Disposition",
        "Idempotency-Replayed",
        "Location",
        "Preference-Applied",
        "Retry-After",
        "X-Request-ID",
    ),
    "allow_credentials": False,  # keys go in headers: there are no cookies
}
"""What pages of the allowed origins may send and read, as Starlette's CORS middleware takes it."""


def policy(**sources: str) -> str:
    """Return a content security policy that allows *sources*, and nothing else.

    Args:
        sources: What is allowed by directive, whose `-` is written `_`.
    """
    closed = {
        "default_src": "'none'",
        "base_uri": "'none'",
        "form_action": "'none'",
        "frame_ancestors": "'none'",
    }
    return "; ".join(f"{name.replace('_', '-')} {of}" for name, of in (closed | sources).items())


class CrossOrigin(CORSMiddleware):
    """Starlette's, with a refused preflight told as every error is."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        return response if response.status_code == 200 else _Refused()


class _Refused(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = "Pages of this origin, or with this method or these headers, may not call."
        await plain(scope["path"], 400, detail, {"Vary": "Origin"})(scope, receive, send)


class SecurityHeaders:
    """ASGI middleware: no answer is guessed at, framed, kept or told to other hosts.

    That the service is to be called by TLS alone (HSTS) is for the proxy to say that ends it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _guarded(message.get("headers", ()))}
            await send(message)

        await self._app(scope, receive, send_guarded if scope["type"] == "http" else send)


def _guarded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, as the server takes them, with what it has to tell."""
    given = [header for header in headers if header[0] not in _ON_EVERY_ANSWER]
    names = {name for name, _ in given}
    unless_set = [header for header in _UNLESS_SET.items() if header[0] not in names]
    return [*given, *_ON_EVERY_ANSWER.items(), *unless_set]


class TrustedHosts:
    """ASGI middleware: who calls by another name is refused.

    Starlette's own answers in plain text, and cuts IPv6 addresses at their first colon.

    Args:
        app: What it stands before.
        names: Without ports; `*.example.org` stands for all below it.
    """

    def __init__(self, app: ASGIApp, names: tuple[str, ...]) -> None:
        self._app = app
        self._names = frozenset(_bare(name) for name in names if not name.startswith("*."))
        self._ends = tuple(_bare(name[1:]) for name in names if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) in _ANY_HOST or self._is_trusted(scope):
            await self._app(scope, receive, send)
        else:
            detail = "The service is not called by this name: use one of those it was given."
            await plain(scope["path"], 400, detail)(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        called = [_bare(host) for host in Headers(scope=scope).getlist("host")]
        return bool(called) and all(
            name in self._names or (name.endswith(self._ends) and name not in self._ends)
            for name in called
        )


def _bare(host: str) -> str:
    """Return a host's name without its port, brackets and the dot at its end."""
    without_port = re.sub(r":\d*$", "", host) if host.count(":") == 1 or "]" in host else host
    return without_port.strip("[]").removesuffix(".").lower()
