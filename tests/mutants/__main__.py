"""Break the service on purpose, one way after the other, and see a test fail each time.

    python -m tests.mutants [WORD ...]    only the breaks whose mistake has one of the words

Every break goes into a scratch copy of the project. Exits 1 if a test passes that should fail, or
if one fails without a break.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.breaks import BREAKS, Break

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "batch_storage")
TIMEOUT_S = 60.0  # a break that makes a test hang is found too
SOUND_TIMEOUT_S = 600.0  # all tests, one after the other, on a busy machine
SOME_TESTS_FAILED = 1  # pytest's exit status; any other means that they did not run


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one break."""

    mistake: str
    found: bool
    how: str
    seconds: float


def main() -> int:
    """Try the breaks and print the verdicts; return 1 if one survived."""
    words = sys.argv[1:]
    chosen = [one for one in BREAKS if not words or any(word in one.mistake for word in words)]
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            copies.put(_copy(Path(name) / str(number)))
        sound = _run(Path(name) / "0", [one.killer for one in chosen], timeout_s=SOUND_TIMEOUT_S)
        if sound.returncode:
            print(sound.stdout)
            print("Tests fail without any break: nothing can be told.")
            return 1
        with ThreadPoolExecutor(workers) as pool:
            verdicts = list(pool.map(lambda one: _try(one, copies), chosen))
    survivors = [verdict for verdict in verdicts if not verdict.found]
    print(f"{len(verdicts)} breaks, {len(verdicts) - len(survivors)} found")
    for survivor in survivors:
        print(f"NOT FOUND: {survivor.mistake}: {survivor.how}")
    return int(bool(survivors))


def broken(source: str, one: Break) -> str:
    """Return *source* with the break; ValueError unless its place is there exactly once."""
    if source.count(one.old) != 1:
        raise ValueError(f"{one.file} has its place {source.count(one.old)} times: {one.mistake}")
    return source.replace(one.old, one.new)


def _copy(target: Path) -> Path:
    shutil.copytree(ROOT, target, ignore=LEFT_OUT)
    (target / "batch_storage").mkdir()
    return target


def _try(one: Break, copies: "SimpleQueue[Path]") -> Verdict:
    copy = copies.get()
    file = copy / one.file
    source = file.read_text()
    started_s = time.monotonic()
    try:
        file.write_text(broken(source, one))
        found, how = _judge(copy, one)
    finally:
        file.write_text(source)
        copies.put(copy)
    verdict = Verdict(one.mistake, found, how, time.monotonic() - started_s)
    print(
        f"{'found' if found else 'NOT FOUND':9} {verdict.seconds:5.1f} s  {one.mistake}", flush=True
    )
    return verdict


def _judge(copy: Path, one: Break) -> tuple[bool, str]:
    try:
        result = _run(copy, [one.killer])
    except subprocess.TimeoutExpired:
        return True, "the test hangs"
    if result.returncode == SOME_TESTS_FAILED:
        return True, "the test fails"
    return False, f"{one.killer} ends with {result.returncode}: {result.stdout[-500:]}"


def _run(
    copy: Path, tests: list[str], *, timeout_s: float = TIMEOUT_S
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            *dict.fromkeys(tests),
        ],
        cwd=copy,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
