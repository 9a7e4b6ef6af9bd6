"""Serve a local Hospital Directory: `python -m directory`. Not for production."""

import argparse
import contextlib
import math
import socket
import sys
from dataclasses import asdict, fields

import uvicorn

from directory.app import Directory, create_directory
from directory.settings import DirectorySettings

DESCRIPTION = """
A local Hospital Directory with the contract, the timing and the limits of the real one.
For the demo, tests and benchmarks; NOT for production: rows live in memory, nobody is
authenticated, and /_directory/ lets anyone make it misbehave.
"""

HELP = {
    "create_seconds": "work before a create is stored",
    "create_limit": "creates per period and client address",
    "lookup_limit": "the same for each other endpoint but GET /",
    "root_limit": "the same for GET /",
    "period": "seconds of a rate window",
    "keep": "rows kept, the oldest dropped first",
    "workers": "requests worked on at a time",
    "batch_limit": "rows of a batch",
    "seed": "seed of the luck of faults with a probability",
}


class DirectoryServer(uvicorn.Server):
    """A server that says where it listens, and on a signal leaves at once."""

    def __init__(self, config: uvicorn.Config, directory: Directory) -> None:
        super().__init__(config)
        self._directory = directory

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            line = f"Local Hospital Directory (not for production) on http://{host}:{port}\n"
            sys.stdout.write(line)
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Requests may wait for an hour (a hang); uvicorn would wait with them.
        self._directory.desk.restart(math.inf)
        await super().shutdown(sockets)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its defaults are the settings' own."""
    options = argparse.ArgumentParser("python -m directory", description=DESCRIPTION)
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    options.add_argument("--port", type=int, default=9000, help="0 is any free one (%(default)s)")
    for field in fields(DirectorySettings):
        flag = f"--{field.name.replace('_', '-')}"
        zero = "; 0 is no limit" if field.name in DirectorySettings.UNLIMITED_AT_0 else ""
        text = f"{HELP[field.name]}{zero} (%(default)s)"
        options.add_argument(flag, type=type(field.default), default=field.default, help=text)
    return options


def main() -> None:
    """Serve until a signal."""
    options = parser()
    given = vars(options.parse_args())
    try:
        settings = DirectorySettings(**{name: given[name] for name in asdict(DirectorySettings())})
    except ValueError as error:
        options.error(str(error))
    directory = create_directory(settings)
    config = uvicorn.Config(
        directory, host=given["host"], port=given["port"], access_log=False, log_level="warning"
    )
    with contextlib.suppress(KeyboardInterrupt):
        DirectoryServer(config, directory).run()


if __name__ == "__main__":
    main()
