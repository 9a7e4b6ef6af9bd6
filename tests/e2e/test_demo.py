"""The one command that shows the main job."""

import subprocess
import sys

from scripts.processes import ROOT


def test_the_demo_loads_the_sample_and_says_so():
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "completed" in ended.stdout
    assert ended.stdout.count("created_and_activated") == 20
