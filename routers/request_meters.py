"""Counts the requests that this service answers, by method, route and status."""

import re
from collections.abc import Sequence
from time import perf_counter

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from routers.addresses import path_of
from services.meters import Meters

OTHER = "other"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class RequestMeters:
    """ASGI middleware: an answer is counted when it begins, so that a stream is not counted late.

    The route is found by the path alone: it has to be known also of requests that are answered
    before any route is chosen (401, 413, 429), and of methods that it does not take.

    Args:
        app: What it stands before.
        routes: All routes, as they are when the application starts.
        meters: Where it counts.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], meters: Meters) -> None:
        self._app = app
        self._meters = meters
        paths = {context.path for context in iter_route_contexts(routes) if context.path}
        self._literal = frozenset(path for path in paths if "{" not in path)
        self._templates = [(_matcher(path), path) for path in sorted(paths - self._literal)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = perf_counter()
        has_begun = False

        async def send_counted(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                self._count(scope, message["status"], began_s)
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except Exception:
            if not has_begun:
                self._count(scope, 500, began_s)  # it is answered further out
            raise

    def _count(self, scope: Scope, status: int, began_s: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        self._meters.answered(method, self._route(scope), status, perf_counter() - began_s)

    def _route(self, scope: Scope) -> str:
        """Return the template of the called path; `OTHER` if there is nothing at it."""
        path = path_of(scope)
        if path in self._literal:
            return path
        for matcher, template in self._templates:
            if matcher.fullmatch(path):
                return template
        return OTHER


def _matcher(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)))
