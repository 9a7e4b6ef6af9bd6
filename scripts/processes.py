"""Starts the real service and the real local directory as processes on free ports."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from uuid import uuid4

import httpx

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 20.0
# A process that is being started by one thread holds for a moment what another tries: its port.
_trying = Lock()


class DidNotStart(Exception):
    """A server ended, or did not answer in time; the message holds what it printed."""


class Process:
    """One process, which does what it is for once it is made.

    Args:
        arguments: Of `python -m`.
        environment: Added to a clean environment, in which no other setting is set.
        log: Where its output goes; kept for the message when it does not start.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with _trying, log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=log.parent,  # not the checkout: a developer's .env is not for us
                env=clean_environment() | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_ready()
        except BaseException:  # an interrupted start leaves no process behind
            self.kill()
            raise

    def output(self) -> str:
        """Return what it printed so far."""
        return self._log.read_text(errors="replace")

    def stop(self, timeout_s: float = 20.0) -> int:
        """End it as an operator would (SIGTERM); return its exit status."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> int:
        """End it as a crash would (SIGKILL), also if it is frozen."""
        return self._end(signal.SIGKILL, 20.0)

    def freeze(self) -> None:
        """Have it do nothing from now on (SIGSTOP), as on a machine that hangs."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def _end(self, number: int, timeout_s: float) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._is_ready():
                return
            time.sleep(0.02)  # noqa: TID251 - a script, not the event loop
        raise DidNotStart(f"{self._log.stem} did not start:\n{self.output()}")


class Worker(Process):
    """A process without HTTP, which says so when it works."""

    def _is_ready(self) -> bool:
        return "worker started" in self.output()


class Server(Process):
    """A process that answers at `url` once it is made.

    Args:
        arguments: Of `python -m`.
        port: Where it will listen on 127.0.0.1.
        ready_path: A path that answers 200 when it serves.
        environment: Added to a clean environment, in which no other setting is set.
        log: Where its output goes; kept for the message when it does not start.
    """

    def __init__(
        self,
        arguments: list[str],
        port: int,
        ready_path: str,
        environment: dict[str, str],
        log: Path,
    ) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._ready_path = ready_path
        _check_free(port)
        super().__init__(arguments, environment, log)

    @property
    def url(self) -> str:
        return self._url

    def _wait_until_ready(self) -> None:
        # Without TLS nothing is verified, and loading the certificates would take 15 to 40 ms.
        client = httpx.Client(base_url=self.url, trust_env=False, verify=False, timeout=5.0)
        with client as self._client:
            super()._wait_until_ready()

    def _is_ready(self) -> bool:
        try:
            return self._client.get(self._ready_path).is_success
        except httpx.TransportError:
            return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses, below those that the kernel gives to clients.

    So it stays free until somebody listens there: no connection from here is given it.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with _trying, socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _check_free(port: int) -> None:
    """Raise DidNotStart if somebody listens there: his answers would be taken for the server's."""
    with _trying, socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DidNotStart(f"port {port} is in use") from None


def start_directory(folder: Path, *options: str, port: int | None = None) -> Server:
    """Start a local directory; for *options* see `python -m directory --help`."""
    port = port or free_port()
    arguments = ["directory", "--port", str(port), *options]
    return Server(arguments, port, "/_directory/faults", {}, folder / f"directory-{port}.log")


def start_service(
    folder: Path, directory_url: str, port: int | None = None, **settings: str | float
) -> Server:
    """Start the service with *settings* (environment names in lower case); storage in *folder*."""
    port = port or free_port()
    environment = _environment(folder, directory_url, settings)
    arguments = ["uvicorn", "main:app", "--app-dir", str(ROOT), "--port", str(port)]
    return Server(arguments, port, "/health", environment, folder / f"service-{port}.log")


def start_worker(folder: Path, directory_url: str, **settings: str | float) -> Worker:
    """Start a process that only runs batches; *settings* as for a service."""
    log = folder / f"worker-{uuid4().hex[:8]}.log"
    return Worker(["worker"], _environment(folder, directory_url, settings), log)


def _environment(
    folder: Path, directory_url: str, settings: Mapping[str, str | float]
) -> dict[str, str]:
    return {
        "HOSPITAL_API_BASE_URL": directory_url,
        "BATCH_STORAGE_DIR": str(folder / "batch_storage"),
        "FORWARDED_ALLOW_IPS": "",  # as `make run`: uvicorn itself believes what this machine says
    } | {name.upper(): str(value) for name, value in settings.items()}


def clean_environment() -> dict[str, str]:
    """Return what every server needs of this environment, and no setting of the service."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    certificates = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    return {name: os.environ[name] for name in (*kept, *certificates) if name in os.environ} | {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
