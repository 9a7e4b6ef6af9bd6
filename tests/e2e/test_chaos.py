"""A short run of the chaos: it must hold, say so, and leave no process behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from chaos.company import names_of
from chaos.table import Deed, due_of
from scripts.processes import ROOT
from tests.e2e.conftest import wait_until


def start(folder: Path, minutes: float, seed: int = 7, processes: int = 1) -> subprocess.Popen[str]:
    options = {"minutes": minutes, "seed": seed, "processes": processes, "least": 0}
    given = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen(
        [sys.executable, "-m", "chaos", *given, "--folder", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_short_run_ends_with_every_row_once_and_active(tmp_path: Path):
    run = start(tmp_path, minutes=0.3)

    output, _ = run.communicate(timeout=300)

    assert run.returncode == 0, output
    assert "It held." in output
    assert all(deed in output for deed in Deed)


def test_a_short_run_of_several_processes_ends_with_every_row_once_and_active(tmp_path: Path):
    # With this seed there is a freeze, a kill, a SIGTERM, and the database is killed.
    run = start(tmp_path, minutes=0.15, seed=18682, processes=3)

    output, _ = run.communicate(timeout=300)

    assert run.returncode == 0, output
    assert "It held." in output
    assert all(deed in output for deed in due_of(names_of(3)))


def test_ctrl_c_ends_a_run_and_leaves_no_process_behind(tmp_path: Path):
    run = start(tmp_path, minutes=5)
    journal = tmp_path / "journal.log"
    wait_until(lambda: journal.exists() and "serves" in journal.read_text(), seconds=60)
    began = time.monotonic()

    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=30)

    assert run.returncode == 130
    assert "Stopped." in output
    assert time.monotonic() - began < 15
    assert not processes_in(tmp_path)


def processes_in(folder: Path) -> list[str]:
    """Return the processes whose working directory is *folder*."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder:
                found.append(process.name)
        except OSError:
            continue  # it has ended
    return found
