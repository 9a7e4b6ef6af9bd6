"""Which plots there are, and what each of them shows."""

from dataclasses import dataclass

from benchmarks import concurrency, throughput, validation
from benchmarks.figures import Growth, Section


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: growths of sections, by the names of both.

    Attributes:
        file_name: Under docs/plots.
        title: Its heading.
        alt: What it shows, for those who do not see it.
        growths: The lines: section, growth, and what the legend calls it.
        y_label: What is measured, or in what.
        is_log_x, is_log_y: How the axes go.
        aim: A line to stay below.
    """

    file_name: str
    title: str
    alt: str
    growths: tuple[tuple[str, str, str], ...]
    y_label: str
    is_log_x: bool = True
    is_log_y: bool = False
    aim: float | None = None


PLOTS = (
    Plot(
        "time.svg",
        "A file, and a directory that answers at once",
        "Time of a file against its rows, when the directory answers at once",
        (
            ("throughput", throughput.TIME, "loaded: created, compared, active"),
            ("throughput", throughput.BARE_TIME, "as many bare creates, at their rate"),
            ("validation", validation.OVER_HTTP, "checked only"),
        ),
        "seconds",
        is_log_y=True,
    ),
    Plot(
        "concurrency.svg",
        "A file of 40 rows, in times of its bare creates",
        "Ratio of a file's time to that of bare creates, with 1 to 40 requests at once",
        (("concurrency", concurrency.GROWTH, "ratio"),),
        "ratio to bare creates",
        is_log_x=False,
        aim=concurrency.AIM,
    ),
    Plot(
        "memory.svg",
        "Most memory while a file is loaded",
        "Most memory of the service against the rows of a file",
        (("throughput", throughput.MEMORY, "memory"),),
        "MiB",
        aim=throughput.MAX_MIB,
    ),
)


def curves(plot: Plot, sections: dict[str, Section]) -> list[tuple[str, Growth]]:
    """Return the lines of a plot, each with what the legend calls it."""
    return [(label, sections[name].growth(what)) for name, what, label in plot.growths]


def description(plot: Plot, sections: dict[str, Section]) -> str:
    """Return the values of a plot as text; it stands in the picture, for those who hear it."""
    lines = []
    for label, growth in curves(plot, sections):
        values = (f"{size:,g} {growth.size} {value:.4g}" for size, value in growth.points)
        lines.append(f"{label}: {', '.join(values)}")
    return "; ".join(lines)
