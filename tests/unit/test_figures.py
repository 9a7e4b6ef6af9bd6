import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.__main__ import BENCHMARKS
from benchmarks.figures import FOUND, Figure, Growth, Section, compared, interleaved, load, save
from benchmarks.plots import PLOTS, Plot, description

DOCS = FOUND.parent
DESCRIPTION = ".//{http://purl.org/dc/elements/1.1/}description"


@pytest.mark.parametrize(
    ("figure", "is_held"),
    [
        (Figure("no aim", 7.0, "s"), True),
        (Figure("at the aim", 1.0, "s", at_most=1.0), True),
        (Figure("too slow", 1.1, "s", at_most=1.0), False),
        (Figure("too few", 0.6, "rows/s", at_least=0.7), False),
        (Figure("the ratio counts", 9.0, "s", floor=8.9, ratio=1.01, at_most=1.02), True),
        (Figure("not the value", 0.5, "s", floor=0.1, ratio=5.0, at_most=2.0), False),
    ],
)
def test_an_aim_is_for_the_ratio_or_for_the_value_where_there_is_no_floor(
    figure: Figure, is_held: bool
):
    assert is_held is figure.is_held


def test_a_ratio_is_the_median_of_what_each_repeat_found_beside_its_own_floor():
    # The second repeat met a busy machine, as did its floor: 20 / 10 is no other than 2 / 1.
    figure = compared("work", "s", [(2.0, 1.0), (20.0, 10.0), (2.2, 1.0)], at_most=2.1)

    assert (2.2, 1.0, 2.0) == (figure.value, figure.floor, figure.ratio)
    assert figure.is_held


def test_measures_take_turns():
    taken: list[str] = []

    def measure(name: str) -> tuple[float, float]:
        taken.append(name)
        return float(len(taken)), 1.0

    found = interleaved(2, lambda: measure("a"), lambda: measure("b"))

    assert ["a", "b", "a", "b"] == taken
    assert [[(1.0, 1.0), (3.0, 1.0)], [(2.0, 1.0), (4.0, 1.0)]] == found


@pytest.mark.parametrize(
    ("points", "exponent"),
    [
        ([(1, 9.0), (10, 1.0), (100, 10.0)], 1.0),
        ([(10, 2.0), (100, 2.0)], 0.0),
        ([(10, 4.0), (100, 400.0)], 2.0),
        ([(10, 0.0), (100, 1.0)], None),
    ],
)
def test_growth_is_told_between_the_two_largest_sizes(
    points: list[tuple[float, float]], exponent: float | None
):
    growth = Growth("time", "rows", "s", points)

    assert growth.exponent == (exponent if exponent is None else pytest.approx(exponent))


def test_what_is_saved_is_loaded(tmp_path: Path):
    sections = {
        "one": Section(
            "One",
            "How.",
            [Figure("a", 1.5, "s", floor=1.0, ratio=1.5, at_most=2.0), Figure("b", 3.0, "")],
            [Growth("time", "rows", "s", [(1.0, 2.0), (2.0, 3.0)])],
        )
    }
    save(sections, {"date": "today"}, tmp_path / "found.json")

    assert (sections, {"date": "today"}) == load(tmp_path / "found.json")


def test_the_page_says_what_is_missed():
    section = Section("Speed", "How.", [Figure("start", 1.25, "s", at_most=1.0)])

    assert "| start | 1.25 s |  |  | at most 1 s | **missed** |" in report.page(
        {"speed": section}, {}
    )
    assert "  start: 1.25 s (aim at most 1 s)  MISSED" in list(report.lines("speed", section))


def test_the_page_is_that_of_the_figures_that_were_found():
    assert report.page(*load()) == report.PAGE.read_text(), "run `make bench`"


def test_every_benchmark_is_in_what_was_found():
    assert list(BENCHMARKS) == list(load()[0]), "run `make bench`"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_page_says_how_it_is_measured_now(name: str):
    module = sys.modules[BENCHMARKS[name].__module__]

    assert module.ABOUT == load()[0][name].about, "run `make bench`"


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.file_name)
def test_a_plot_shows_what_was_found_and_the_readme_shows_it(plot: Plot):
    picture = (DOCS / "plots" / plot.file_name).read_text()
    told = ElementTree.fromstring(picture).find(DESCRIPTION)

    assert told is not None
    assert description(plot, load()[0]) == told.text, "run `make bench`"
    assert f"![{plot.alt}](docs/plots/{plot.file_name})" in (DOCS.parent / "README.md").read_text()
