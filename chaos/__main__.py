"""The command line: `python -m chaos --minutes 5 --seed 7`."""

import argparse
import asyncio
import random
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from chaos.run import run
from chaos.table import Result, lines

INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended

DESCRIPTION = """
Runs the real service against the local directory, breaks everything that can break, and compares
what the directory holds with what was uploaded. Exit status 0: every accepted row is there, once,
active, as corrected; no cancelled batch went on by itself; and nothing else was touched.
"""


def main() -> int:
    """Run, print the table, and return the exit status."""
    given = _options().parse_args()
    if not hasattr(resource, "prlimit"):
        print("Linux is needed: a full disk is played with prlimit.", file=sys.stderr)
        return 2
    folder = given.folder or Path(tempfile.mkdtemp(prefix="hospital-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(
        f"Chaos for {given.minutes:g} minutes, --seed {given.seed}; the journal: "
        f"{folder / 'journal.log'}",
        flush=True,
    )
    try:
        result = asyncio.run(_interruptible(folder, given))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print(f"Stopped. What there is stands in {folder}", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(lines(result)))
    if result.held and given.folder is None:
        shutil.rmtree(folder)
    else:
        print(f"Logs, checkpoints and the journal: {folder}")
    return 0 if result.held else 1


async def _interruptible(folder: Path, given: argparse.Namespace) -> Result:
    """Run so that SIGTERM ends it in good order, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(folder, given.minutes, given.seed, given.least, given.processes)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser("python -m chaos", description=DESCRIPTION)
    options.add_argument("--minutes", type=float, default=5.0, help="of trouble (%(default)s)")
    options.add_argument(
        "--seed",
        type=int,
        default=random.randrange(10**6),
        help="of the schedule: the same one does the same at the same times (random)",
    )
    options.add_argument(
        "--least",
        type=int,
        default=10,
        help="requests that must meet each kind of fault, and cancels, corrections and the like, "
        "or the run failed (%(default)s)",
    )
    options.add_argument(
        "--processes",
        type=int,
        default=1,
        help="of the service; several share a PostgreSQL database, and that is disturbed too "
        "(%(default)s)",
    )
    options.add_argument(
        "--folder", type=Path, help="for logs and checkpoints (one that is removed if it held)"
    )
    return options


if __name__ == "__main__":
    sys.exit(main())
