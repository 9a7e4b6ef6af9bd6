"""Stands between a process and what it talks to: the directory, or a database."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

import httpx

from scripts.processes import Server


class Pipe(ThreadingTCPServer):
    """Passes on what it is sent, and the answers."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def __init__(self, host: str, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target = (host, port)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def loses_answer(self, request: bytes) -> bool:
        """Return whether the connection breaks when this is answered."""
        return False


class Tap(Pipe):
    """An HTTP proxy in front of the directory, for one process; notes when its creates leave."""

    def __init__(self, directory: Server) -> None:
        address = httpx.URL(directory.url)
        super().__init__(address.host, address.port or 80)
        self.creates_s: list[float] = []

    @property
    def setting(self) -> dict[str, Any]:
        """What has a process send through it."""
        return {"http_proxy": f"http://127.0.0.1:{self.port}"}

    def creates_since(self, moment_s: float) -> list[float]:
        """Return how many seconds after a monotonic moment each later create left."""
        return [at_s - moment_s for at_s in self.creates_s if at_s > moment_s]

    def loses_answer(self, request: bytes) -> bool:
        self.creates_s += [time.monotonic()] * request.count(b"POST http")
        return False


class LostAnswer(Pipe):
    """Breaks one connection after what holds *words* was done, before it is answered."""

    def __init__(self, host: str, port: int, words: bytes) -> None:
        super().__init__(host, port)
        self._words: bytes | None = words

    def loses_answer(self, request: bytes) -> bool:
        if self._words is None or self._words not in request:
            return False
        self._words = None
        return True


class _Connection(BaseRequestHandler):
    server: Pipe

    def handle(self) -> None:
        self._is_broken = False
        with suppress(OSError), socket.create_connection(self.server.target) as target:
            Thread(target=self._pass_on_answers, args=(target,), daemon=True).start()
            while request := self.request.recv(65536):
                self._is_broken |= self.server.loses_answer(request)
                target.sendall(request)
            target.shutdown(socket.SHUT_WR)

    def _pass_on_answers(self, target: socket.socket) -> None:
        with suppress(OSError):
            while (answer := target.recv(65536)) and not self._is_broken:
                self.request.sendall(answer)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


@contextmanager
def open_pipes(*pipes: Pipe) -> Iterator[None]:
    """Have them pass on for a block."""
    for pipe in pipes:
        Thread(target=pipe.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        for pipe in pipes:
            pipe.shutdown()
            pipe.server_close()


@contextmanager
def tapping(directory: Server, count: int) -> Iterator[list[Tap]]:
    """Have so many taps for a block."""
    taps = [Tap(directory) for _ in range(count)]
    with open_pipes(*taps):
        yield taps
