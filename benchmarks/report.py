"""The page docs/performance.md, from what was found."""

from collections.abc import Iterable, Iterator

from benchmarks.figures import FOUND, Figure, Growth, Section
from benchmarks.plots import PLOTS

PAGE = FOUND.with_suffix(".md")

INTRODUCTION = """\
# Performance

`make bench` has measured, written and drawn all of this; no figure is written by hand. Speed is
told as a ratio against what the bare parts need for the same on the same machine, taken right
beside it: such ratios hold on other machines, seconds do not. Figures are medians of repeats, but
of what only waits for creates. Delays, pauses and memory have no floor. `python -m benchmarks NAME`
takes one benchmark alone, by the name that stands below its heading, and writes nothing.
"""
GROWTH = """\
## How it grows

The exponent is that between the two largest sizes: with 1 ten times the size is ten times the
value, with 0 it is the same.
"""


def page(sections: dict[str, Section], about: dict[str, str]) -> str:
    """Return the page."""
    parts = [INTRODUCTION, _table(("", ""), about.items())]
    parts += [f"![{plot.alt}](plots/{plot.file_name})\n" for plot in PLOTS]
    parts += [_section(name, section) for name, section in sections.items()]
    growths = [growth for section in sections.values() for growth in section.growths]
    parts += [GROWTH, _table(("what", "sizes and values", "exponent"), map(_growth_row, growths))]
    return "\n".join(parts)


def lines(name: str, section: Section) -> Iterator[str]:
    """Yield the findings of one benchmark for a terminal."""
    yield f"{name}: {section.title}"
    for figure in section.figures:
        floor, ratio = _beside_floor(figure)
        told = f", floor {floor}, ratio {ratio}" if floor else ""
        aim = f" (aim {_aim(figure)})" if _aim(figure) else ""
        missed = "" if figure.is_held else "  MISSED"
        yield f"  {figure.what}: {_amount(figure.value, figure.unit)}{told}{aim}{missed}"


def _section(name: str, section: Section) -> str:
    head = f"## {section.title}\n\n`{name}`. {' '.join(section.about.split())}\n"
    columns = ("what", "measured", "floor", "ratio", "aim", "")
    return f"{head}\n{_table(columns, map(_figure_row, section.figures))}"


def _figure_row(figure: Figure) -> tuple[str, ...]:
    aim = _aim(figure)
    verdict = ("reached" if figure.is_held else "**missed**") if aim else ""
    return figure.what, _amount(figure.value, figure.unit), *_beside_floor(figure), aim, verdict


def _beside_floor(figure: Figure) -> tuple[str, str]:
    if figure.floor is None or figure.ratio is None:
        return "", ""
    return _amount(figure.floor, figure.unit), f"{figure.ratio:.3f}"


def _aim(figure: Figure) -> str:
    unit = figure.unit if figure.ratio is None else ""
    if figure.at_most is not None:
        return f"at most {figure.at_most:g} {unit}".rstrip()
    if figure.at_least is not None:
        return f"at least {figure.at_least:g} {unit}".rstrip()
    return ""


def _growth_row(growth: Growth) -> tuple[str, str, str]:
    points = "; ".join(f"{size:,g}: {_amount(value, growth.unit)}" for size, value in growth.points)
    exponent = growth.exponent
    return f"{growth.what} ({growth.size})", points, "" if exponent is None else f"{exponent:.2f}"


def _amount(value: float, unit: str) -> str:
    """Return a value with three digits that count; small ones in a smaller unit."""
    if unit == "s" and value < 0.1:
        value, unit = value * 1000, "ms"
    digits = f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    ruled = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in ruled)
