"""Types commands for tests: `python -m cli` as a process, on a terminal or not."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

from scripts.processes import ROOT, clean_environment

COMMAND = (sys.executable, "-m", "cli")
TIMEOUT_S = 60.0


def users_environment() -> dict[str, str]:
    """Return an environment in which outputs are buffered, as a user's are."""
    return clean_environment() | {"PYTHONUNBUFFERED": ""}


def run(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with *typed* as its input, and no terminal."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=users_environment() | environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


class Running:
    """A command that runs until it ends, or is ended; its outputs go into files of *folder*."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._out, self._err = folder / "cli.out", folder / "cli.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], cwd=ROOT, env=users_environment(), stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def end(self, number: int | None = None) -> int:
        """Send it a signal, if one is given; return its exit status."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


def run_on_a_terminal(*arguments: str, columns: int = 100, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal; return its exit status and all it wrote there."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=users_environment() | {"TERM": "xterm-256color"} | environment,
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # how Linux tells that nobody has the terminal open any more
        pass
    finally:
        os.close(ours)
    return process.wait(TIMEOUT_S), written.decode()
