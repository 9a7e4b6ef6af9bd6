"""Measures everything and keeps what was found: `python -m benchmarks`; `drawing` shows it.

`python -m benchmarks NAME ...` takes single benchmarks and writes nothing.
"""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from benchmarks import (
    checkpoints,
    concurrency,
    figures,
    headline,
    machine,
    one_by_one,
    pacing,
    progress,
    recovery,
    report,
    sharing,
    stalls,
    startup,
    throughput,
    validation,
    watchers,
)
from benchmarks.figures import Section

# In the order of the page. Those that wait come first: the slowest goes on beside them.
BENCHMARKS: dict[str, Callable[[], Section]] = {
    "headline": headline.measure,
    "concurrency": concurrency.measure,
    "pacing": pacing.measure,
    "one_by_one": one_by_one.measure,
    "throughput": throughput.measure,
    "progress": progress.measure,
    "watchers": watchers.measure,
    "validation": validation.measure,
    "checkpoints": checkpoints.measure,
    "stalls": stalls.measure,
    "recovery": recovery.measure,
    "sharing": sharing.measure,
    "startup": startup.measure,
}
WAITS = "one_by_one"
MISSED = 3  # 1 is an error, 2 a wrong use


def measure(names: list[str]) -> dict[str, Section]:
    """Take the named benchmarks, and tell each as it is found."""
    found = {}
    with ThreadPoolExecutor(max_workers=1) as beside:
        slowest = beside.submit(BENCHMARKS[WAITS]) if WAITS in names else None
        for name in names:
            found[name] = slowest.result() if slowest and name == WAITS else BENCHMARKS[name]()
            print("\n".join(report.lines(name, found[name])), flush=True)
    return found


def main() -> int:
    """Measure, and return MISSED if an aim is missed."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = options.parse_args().names
    if unknown := set(names) - BENCHMARKS.keys():
        options.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    began_s = monotonic()
    found = measure(names or list(BENCHMARKS))
    if not names:
        minutes = (monotonic() - began_s) / 60
        figures.save(found, machine.described() | {"time taken": f"{minutes:.1f} minutes"})
    missed = [f for section in found.values() for f in section.figures if not f.is_held]
    return MISSED if missed else 0


if __name__ == "__main__":
    sys.exit(main())
