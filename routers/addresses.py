"""What an address takes: HEAD wherever GET is taken, and a slash too many or too few."""

from urllib.parse import quote

from fastapi import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


def path_of(scope: Scope) -> str:
    """Return the called path as the routes have it: without that under which a proxy has them."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class HeadLikeGet:
    """ASGI middleware: HEAD is answered as GET; the server leaves the body out.

    The answer ends where its body would begin, since there are bodies without an end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # a copy: the server still sees HEAD
            send = _without_body(send)
        await self._app(scope, receive, send)


def _without_body(send: Send) -> Send:
    ended = False

    async def send_head(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.body":
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        if not ended:
            ended = message["type"] == "http.response.body"
            await send(message)

    return send_head


def allowed_methods(request: Request) -> str:
    """Return the `Allow` header of the called address, over all routes that lead there.

    The router's own names the methods of the first such route only.
    """
    methods = {method for method in _METHODS if _is_taken(request, method=method)}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))


def moved(request: Request) -> str | None:
    """Return the address that was meant when a slash at the end is too many or missing.

    It is told without the host: behind a proxy that ends TLS the framework's own redirect, with a
    host, leads to plain HTTP.
    """
    path: str = request.scope["path"]
    meant = path.rstrip("/") if path.endswith("/") else path + "/"
    if not any(_is_taken(request, path=meant, method=method) for method in _METHODS):
        return None
    query = request.scope["query_string"].decode("ascii")
    return quote("/" + meant.lstrip("/")) + (f"?{query}" if query else "")


def _is_taken(request: Request, **changes: str) -> bool:
    scope = {**request.scope, **changes}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
