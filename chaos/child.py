"""A server process whose output comes through a pipe.

Not straight into a file, as `scripts.processes` has it: a full disk is played by limiting the size
of the files that the service may write, and its log shall go on.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

from scripts.processes import clean_environment

LONGEST_LINE = 2**20  # bytes


class Child:
    """One process; made by `start`.

    Attributes:
        ended_by_us: A signal was sent to it that ends it.
    """

    def __init__(self, process: asyncio.subprocess.Process, output: asyncio.Task[None]) -> None:
        self._process = process
        self._output = output
        self.ended_by_us = False

    @classmethod
    async def start(
        cls,
        arguments: list[str],
        environment: dict[str, str],
        log: Path,
        noticed: Callable[[str], None],
    ) -> Self:
        """Start `python -m` with *arguments*.

        Args:
            arguments: Of `python -m`.
            environment: Added to a clean one.
            log: Where its output is added.
            noticed: Called with each line of it.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *arguments,
            cwd=log.parent,  # not the checkout: a developer's .env is not for us
            env=clean_environment() | environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for us, who stop it in good order
        )
        assert process.stdout is not None
        return cls(process, asyncio.create_task(_copy(process.stdout, log, noticed)))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False if it has ended already."""
        if not self.is_alive:
            return False
        self.ended_by_us |= number not in (signal.SIGSTOP, signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            # Not the process's own `send_signal`: it may find the child ended, and take its
            # exit status away from `wait` (Python 3.11).
            os.kill(self.pid, number)
        return True

    async def ended(self, timeout_s: float | None = None) -> int:
        """Return its exit status when it and its output have ended; TimeoutError if too late."""
        async with asyncio.timeout(timeout_s):
            await self._process.wait()
            await asyncio.wait({self._output})
        assert self._process.returncode is not None
        return self._process.returncode


async def _copy(output: asyncio.StreamReader, log: Path, noticed: Callable[[str], None]) -> None:
    with log.open("ab", buffering=0) as file:
        async for line in output:
            file.write(line)
            noticed(line.decode(errors="replace").rstrip())
