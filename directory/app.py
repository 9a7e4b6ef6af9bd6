"""The local Hospital Directory as an ASGI app. Not for production.

It has the contract, the timing and the limits of the real directory, and can be told to
misbehave in every way a client must survive. It keeps rows in memory and checks nobody's
identity.

Usage:
    app = create_directory(DirectorySettings(create_seconds=0.05))
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)

A connection that is dropped leaves the app as `ConnectionDropped` when it runs in process.
"""

from functools import partial

from pydantic import ValidationError
from starlette.datastructures import URL
from starlette.types import Receive, Scope, Send

from directory.answers import NO_ROUTE, WRONG_METHOD, Answer, unprocessable
from directory.calls import ROUTES, Endpoint, locate, other_slash, parse
from directory.control import PREFIX, control_app
from directory.desk import Desk
from directory.jobs import ConnectionDropped
from directory.settings import DirectorySettings
from directory.wire import client_leaves, connection_of, hang_up, read_body, transmit

__all__ = ["ConnectionDropped", "Directory", "DirectorySettings", "create_directory"]

_WITH_BODY = {Endpoint.CREATE, Endpoint.UPDATE}


class Directory:
    """Route requests to the desk, and see to it that dropped connections are dropped.

    Everything under `/_directory/` is control: never limited, faulted or held up.
    """

    def __init__(self, settings: DirectorySettings) -> None:
        self.desk = Desk(settings)
        self._control = control_app(self.desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(f"{PREFIX}/"):
            await self._control(scope, receive, send)
            return
        try:
            await transmit(await self._answer(scope, receive), send)
        except ConnectionDropped:
            connection = connection_of(receive)
            if connection is None:
                raise
            await hang_up(receive, connection)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        found = locate(scope["path"])
        endpoint = None if found is None else ROUTES.get((scope["method"], found[0]))
        if found is None or endpoint is None:
            return await self.desk.enter() or _astray(scope)
        with self.desk.stats.request(endpoint):
            return await self._call(endpoint, found[1], scope, receive)

    async def _call(
        self, endpoint: Endpoint, parameter: str, scope: Scope, receive: Receive
    ) -> Answer:
        body = await read_body(receive) if endpoint in _WITH_BODY else b""
        absent = await self.desk.enter()
        if absent is not None:
            return absent
        try:
            call = parse(endpoint, parameter, body)
        except ValidationError as error:
            return unprocessable(error)
        client = scope["client"][0] if scope.get("client") else ""
        return await self.desk.answer(call, client, partial(client_leaves, receive))


def _astray(scope: Scope) -> Answer:
    """Return the answer for a path or a method that no endpoint has."""
    if locate(scope["path"]) is not None:
        return WRONG_METHOD
    path = other_slash(scope["path"])
    if locate(path) is None:
        return NO_ROUTE
    location = str(URL(scope={**scope, "path": path}))
    return Answer(307, location=location.encode())


def create_directory(settings: DirectorySettings | None = None) -> Directory:
    """Return a directory of its own, with no rows and no faults."""
    return Directory(settings or DirectorySettings())
