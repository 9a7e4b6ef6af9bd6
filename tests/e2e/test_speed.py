"""A guard against slowness that a change brings in: what was found is still found, or nearly.

A ratio may be twice as bad as the one in docs/performance.json, since other tests run beside. What
is measured is a small part of what `make bench` measures, and one good attempt is enough.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks import checkpoints, concurrency, progress, startup, throughput, validation
from benchmarks.figures import Figure, Pair, load
from benchmarks.rig import INSTANT, PART_ROWS, completed, fresh_rig

ATTEMPTS = 5
FOUND, _ = load()


def worse_than_half(figure: Figure, measure: Callable[[], Pair]) -> list[float]:
    """Return the ratios of some attempts if all are twice as bad as found; empty if one is not."""
    assert figure.ratio is not None
    ratios = []
    for _ in range(ATTEMPTS):
        value, floor = measure()
        ratios.append(value / floor)
        is_more_better = figure.at_least is not None
        if ratios[-1] >= figure.ratio / 2 if is_more_better else ratios[-1] <= figure.ratio * 2:
            return []
    return ratios


@pytest.mark.parametrize(
    ("aims", "ratio", "is_worse"),
    [
        ({"at_least": 0.8}, 0.51, False),
        ({"at_least": 0.8}, 0.49, True),
        ({"at_most": 1.2}, 1.99, False),
        ({"at_most": 1.2}, 2.01, True),
    ],
)
def test_the_guard_sees_what_is_twice_as_bad(aims: dict[str, float], ratio: float, is_worse: bool):
    figure = Figure("work", 1.0, "s", floor=1.0, ratio=1.0, **aims)

    assert is_worse is bool(worse_than_half(figure, lambda: (ratio * 3, 3.0)))


def test_one_good_attempt_is_enough():
    figure = Figure("work", 1.0, "s", floor=1.0, ratio=1.0, at_most=1.2)
    attempts = iter([(9.0, 1.0), (2.5, 1.0), (1.0, 1.0)])

    assert [] == worse_than_half(figure, lambda: next(attempts))


def test_files_are_loaded_as_quickly_as_was_found():
    few = throughput.Case(25, 20, at_least=0.85)
    figure = FOUND["throughput"].figure(str(few))

    assert [] == worse_than_half(figure, lambda: throughput.load(few).rates)


def test_rows_are_sent_at_once_as_was_found():
    figure = FOUND["concurrency"].figure("20 at once")

    assert [] == worse_than_half(figure, partial(concurrency.one_file, 20))


def test_progress_is_told_as_quickly_as_was_found():
    figure = FOUND["progress"].figure("of a completed batch")
    with fresh_rig(*INSTANT, **progress.LIMITED) as (service, _, folder):
        url = completed(service, PART_ROWS)
        with progress.bare_app(folder) as bare_url:
            floor_url = bare_url + progress.MODEL
            assert [] == worse_than_half(figure, partial(progress.asked, url, floor_url))


def test_a_file_is_checked_as_quickly_as_was_found():
    figure = FOUND["validation"].figure("1,000 rows by themselves")

    assert [] == worse_than_half(figure, partial(validation.by_itself, 1_000))


def test_a_checkpoint_is_written_as_quickly_as_was_found():
    figure = FOUND["checkpoints"].figure("2,000 rows")

    assert [] == worse_than_half(figure, partial(checkpoints.whole_document, 2_000))


def test_the_service_starts_as_quickly_as_was_found(tmp_path: Path):
    figure = FOUND["startup"].figure("start, to that of a bare route")

    assert [] == worse_than_half(figure, partial(startup.start, tmp_path))
