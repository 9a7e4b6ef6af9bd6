"""Load: 200 uploads at once while 100 clients follow progress, round after round on one service.

Pacing is off and the directory quick, so that the service is what is loaded. The last rounds are
of a service with room for 50 batches: the other uploads are refused, come back as `Retry-After`
says (60 times as soon), and get in.

Floor: the same clients following batches while nothing else happens. Bounds: every row arrives
once; nobody is refused where there is room; the median progress call takes at most 20 times as
long as on the floor; after the first round, which warms up, memory grows by at most 2 MiB a round
on average; no handle is left, and no connection but those kept alive to the directory.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.crowd import Load, differences
from benchmarks.footprint import Footprint
from benchmarks.stage import KEPT_ALIVE, QUICK_DIRECTORY, UNPACED, Round, Stage
from scripts.processes import start_directory, start_service

LOAD = Load(uploads=200, rows=5, followers=100)
FEW = Load(uploads=3, rows=5, followers=100)
SLOW_S = 3.0  # how long the few batches take, so that they can be followed
ROUNDS = 5
ROOM = 50
ROUNDS_WITHOUT_ROOM = 2
POLL_BOUND = 20.0
MEMORY_BOUND_MIB = 2.0
HEAD = "uploads/s  rows/s  p50 ms  p99 ms  refused  memory MiB  handles  kept alive"


def _with_room(stage: Stage) -> list[str]:
    """Play on a service that has room for every upload; return what is wrong."""
    before = stage.rest()
    print(f"  {'before':8} {'':42} {_columns(before)}")
    idle = _play(stage, FEW, "floor", slow_s=SLOW_S)
    rounds = [_play(stage, LOAD, f"round {number}") for number in range(1, ROUNDS + 1)]
    first, last = rounds[0].left, rounds[-1].left
    ratio = statistics.median(_p50_p99_ms(played)[0] for played in rounds) / _p50_p99_ms(idle)[0]
    growth_mib = (last.memory_mib - first.memory_mib) / (ROUNDS - 1)
    print(f"  median progress call: {ratio:.1f} times the floor (bound {POLL_BOUND:g})")
    print(
        f"  memory after the first round: {growth_mib:+.2f} MiB each (bound {MEMORY_BOUND_MIB:g})"
    )
    wrong = {
        "progress calls are slow": ratio > POLL_BOUND,
        "memory grows": growth_mib > MEMORY_BOUND_MIB,
        "handles are left": last.handles > before.handles or last.upstream > KEPT_ALIVE,
        "uploads were refused": any(played.seen.refusals for played in rounds),
    }
    found = [finding for played in (idle, *rounds) for finding in _not_once(played)]
    return found + [finding for finding, is_so in wrong.items() if is_so]


def _without_room(stage: Stage) -> list[str]:
    """Play on a service that has to refuse; return what is wrong."""
    names = [f"room {ROOM}.{number}" for number in range(1, ROUNDS_WITHOUT_ROOM + 1)]
    rounds = [_play(stage, LOAD, name) for name in names]
    wrong = [finding for played in rounds for finding in _not_once(played)]
    if not all(played.seen.refusals for played in rounds):
        wrong.append("nobody was refused")
    return wrong


def _play(stage: Stage, load: Load, name: str, *, slow_s: float = 0.0) -> Round:
    played = stage.play(load, name, slow_s=slow_s)
    uploads_a_s = load.uploads / played.seen.seconds
    p50_ms, p99_ms = _p50_p99_ms(played)
    print(
        f"  {name:8} {uploads_a_s:9.0f} {uploads_a_s * load.rows:7.0f} {p50_ms:7.1f} {p99_ms:7.1f}"
        f" {len(played.seen.refusals):8d} {_columns(played.left)}"
    )
    return played


def _columns(left: Footprint) -> str:
    return f"{left.memory_mib:11.1f} {left.handles:8d} {left.upstream:11d}"


def _not_once(played: Round) -> list[str]:
    """Return what keeps every row of the round from being in the directory once, active."""
    if set(played.seen.statuses) != {"completed"} or played.cleaned != played.load.uploads:
        return ["not every batch was completed and forgotten"]
    return differences(played.seen.names, played.held)


def _p50_p99_ms(played: Round) -> tuple[float, float]:
    """Return the median and the 99th percentile of the progress calls."""
    cuts = statistics.quantiles(played.seen.polls_s, n=100)
    return cuts[49] * 1000, cuts[98] * 1000


def _on_stage(play: Callable[[Stage], list[str]], room: int) -> list[str]:
    """Play on a fresh service that takes *room* batches at a time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        directory = start_directory(folder, *QUICK_DIRECTORY)
        service = start_service(folder, directory.url, **UNPACED, max_queued_batches=room)
        try:
            return play(Stage(service, directory, folder / "batch_storage"))
        finally:
            service.stop()
            directory.stop()


def main() -> int:
    """Measure, print, and return 1 if a bound is not held."""
    print(f"load: {LOAD.uploads} uploads of {LOAD.rows} rows at once, {LOAD.followers} followers")
    print(f"  {'':8} {HEAD}")
    wrong = _on_stage(_with_room, LOAD.uploads) + _on_stage(_without_room, ROOM)
    for finding in wrong[:20]:
        print(f"  WRONG: {finding}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
