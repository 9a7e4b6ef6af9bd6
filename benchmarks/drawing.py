"""Draws the plots of what was found: `python -m benchmarks.drawing`.

They can be read on light and on dark pages, and their text is text.
"""

from pathlib import Path

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.figures import FOUND, Section, load
from benchmarks.plots import PLOTS, Plot, curves, description

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
    _scale(axes, plot)
    axes.set(title=plot.alt, xlabel=lines[0][1].size, ylabel=plot.y_label)
    axes.set_xticks([size for size, _ in lines[0][1].points])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,g}"))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    about = {"Title": plot.alt, "Description": description(plot, sections), "Date": None}
    figure.savefig(path, format="svg", transparent=True, metadata=about)


def _scale(axes: Axes, plot: Plot) -> None:
    if plot.is_log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    if plot.is_log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.set_ylim(bottom=0)
    if plot.aim is not None:
        axes.axhline(plot.aim, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            "aim", (1, plot.aim), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )


if __name__ == "__main__":
    draw(load()[0])
