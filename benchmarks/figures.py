"""What the benchmarks find: figures, each against a floor of the same run, and how they grow."""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOUND = Path(__file__).parents[1] / "docs" / "performance.json"

Pair = tuple[float, float]  # what was measured and its floor, one right after the other


@dataclass(frozen=True, slots=True)
class Figure:
    """One finding.

    Attributes:
        what: What was measured.
        value: The median of the repeats, in *unit*.
        unit: `s`, `ms`, `MiB`, `rows/s`, ...; empty for a number.
        floor: The median of what the bare parts took, in *unit*; None where there is no such thing.
        ratio: The median of the ratios of value and floor of each repeat.
        at_most, at_least: The aim, for the ratio, or the value where there is no floor.
    """

    what: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def judged(self) -> float:
        """What the aim is for."""
        return self.value if self.ratio is None else self.ratio

    @property
    def is_held(self) -> bool:
        """Whether the aim is reached; a figure without one is."""
        above = self.at_least is None or self.judged >= self.at_least
        return above and (self.at_most is None or self.judged <= self.at_most)


@dataclass(frozen=True, slots=True)
class Growth:
    """How something grows with its size: (size, value) in the order of sizes."""

    what: str
    size: str
    unit: str
    points: Sequence[tuple[float, float]]

    @property
    def exponent(self) -> float | None:
        """The k of value ~ size ** k between the two largest sizes: 1 is in proportion."""
        (size, value), (larger, larger_value) = self.points[-2:]
        if min(size, value, larger_value) <= 0:
            return None
        return math.log(larger_value / value) / math.log(larger / size)


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found.

    Attributes:
        title: Its heading.
        about: How it was measured, and what the floor is.
        figures: Its findings.
        growths: How they grow.
    """

    title: str
    about: str
    figures: list[Figure]
    growths: list[Growth] = field(default_factory=list)

    def figure(self, what: str) -> Figure:
        """Return the finding of that name; KeyError if there is none."""
        return {figure.what: figure for figure in self.figures}[what]

    def growth(self, what: str) -> Growth:
        """Return the growth of that name; KeyError if there is none."""
        return {growth.what: growth for growth in self.growths}[what]


def compared(
    what: str,
    unit: str,
    pairs: Sequence[Pair],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Figure:
    """Return the figure of repeats, each of them taken beside its own floor."""
    return Figure(
        what,
        statistics.median(value for value, _ in pairs),
        unit,
        floor=statistics.median(floor for _, floor in pairs),
        ratio=statistics.median(value / floor for value, floor in pairs),
        at_most=at_most,
        at_least=at_least,
    )


def interleaved(repeats: int, *measures: Callable[[], Pair]) -> list[list[Pair]]:
    """Return the pairs of each measure; taken in turns, so that a busy moment meets all of them."""
    rounds = [[measure() for measure in measures] for _ in range(repeats)]
    return [list(pairs) for pairs in zip(*rounds, strict=True)]


def save(sections: dict[str, Section], about: dict[str, str], path: Path = FOUND) -> None:
    """Write what was found, and on which machine, to *path*."""
    found = {name: asdict(section) for name, section in sections.items()}
    path.write_text(json.dumps({"about": about, "sections": found}, indent=1) + "\n")


def load(path: Path = FOUND) -> tuple[dict[str, Section], dict[str, str]]:
    """Return what `save` wrote."""
    document = json.loads(path.read_text())
    sections = {name: _section(found) for name, found in document["sections"].items()}
    return sections, document["about"]


def _section(found: dict[str, Any]) -> Section:
    figures = [Figure(**figure) for figure in found["figures"]]
    growths = [
        Growth(**growth | {"points": [(size, value) for size, value in growth["points"]]})
        for growth in found["growths"]
    ]
    return Section(found["title"], found["about"], figures, growths)
