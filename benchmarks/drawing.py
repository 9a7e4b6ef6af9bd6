"""Shows what was found, as a page with plots: `python -m benchmarks.drawing`.

The plots can be read on light and on dark pages, and their text is text.
"""

from pathlib import Path

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.figures import FOUND, Section, load
from benchmarks.plots import PLOTS, Plot, curves, description
from benchmarks.report import PAGE, page

GREY = "#7d8590"  # is read on white and on black
GREY_PARTS = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "the same names in each run",
    "axes.prop_cycle": cycler(
        color=("#2f81f7", "#d9730d", "#2da44e"), marker=("o", "s", "^"), linestyle=("-", "--", ":")
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
} | dict.fromkeys(GREY_PARTS, GREY)
PICTURES = FOUND.with_name("plots")
SIZE_IN = (7.2, 3.6)
HEADROOM = 1.15


def draw(sections: dict[str, Section], folder: Path = PICTURES) -> None:
    """Draw every plot into *folder*."""
    folder.mkdir(exist_ok=True)
    for plot in PLOTS:
        with mpl.rc_context(STYLE):
            _draw(plot, sections, folder / plot.file_name)


def _draw(plot: Plot, sections: dict[str, Section], path: Path) -> None:
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    axes = figure.add_subplot()
    lines = curves(plot, sections)
    for label, growth in lines:
        axes.plot(*zip(*growth.points, strict=True), label=label)
    axes.set(title=plot.title, xlabel=lines[0][1].size, ylabel=plot.y_label)
    axes.grid(visible=True, alpha=0.3)
    if len(lines) > 1:
        axes.legend(frameon=False)
    _scale_x(axes, plot, [size for _, growth in lines for size, _ in growth.points])
    _scale_y(axes, plot, [value for _, growth in lines for _, value in growth.points])
    about = {"Title": plot.alt, "Description": description(plot, sections), "Date": None}
    figure.savefig(path, format="svg", transparent=True, metadata=about)


def _scale_x(axes: Axes, plot: Plot, sizes: list[float]) -> None:
    if plot.is_log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sorted(set(sizes)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,g}"))


def _scale_y(axes: Axes, plot: Plot, values: list[float]) -> None:
    if plot.is_log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return
    axes.set_ylim(0, HEADROOM * max(*values, plot.aim or 0.0))
    if plot.aim is not None:
        axes.axhline(plot.aim, color=GREY, linestyle="--", marker="", linewidth=1)
        at_the_end = ("axes fraction", "data")
        axes.annotate("aim", (1, plot.aim), xycoords=at_the_end, ha="right", va="bottom")


def main() -> None:
    """Write the page and draw the plots."""
    sections, about = load()
    PAGE.write_text(page(sections, about))
    draw(sections)


if __name__ == "__main__":
    main()
