"""How all figures look: colors, sizes, axes and legends; matplotlib's global settings stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.curves import Floats, notebook_module

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
GRAY = "#5a5a5a"
PANEL = (3.4, 2.5)  # inches: a column of a two-column page
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.3,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GRAY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": "cycler('color', " + repr(list(COLORS)) + ")",
    "figure.dpi": 150,
}


@contextmanager
def styled() -> Iterator[None]:
    """Our style, for as long as a figure is being drawn."""
    matplotlib = notebook_module("matplotlib")
    with notebook_module("matplotlib.style").context(STYLE):
        yield
        interactive = matplotlib.is_interactive()
    matplotlib.interactive(interactive)  # A notebook's backend turns this on when it makes its first figure.


def axes_or_new(ax: Any) -> Any:
    """The axes given, or those of a new figure."""
    return ax if ax is not None else new_figure(1)[1][0]


def new_figure(count: int, legend_above: bool = False) -> tuple[Any, NDArray[Any]]:
    """A pyplot figure with panels side by side; four stand two by two."""
    rows = 2 if count == 4 else 1
    width, height = (
        PANEL[0] * (count // rows) * (0.85 if count // rows > 2 else 1),
        PANEL[1] * rows + 0.3 * legend_above,
    )
    figure, axes = notebook_module("matplotlib.pyplot").subplots(
        rows, count // rows, figsize=(width, height), layout="constrained", squeeze=False
    )
    return figure, axes.ravel()


def finish(ax: Any, legend: bool) -> None:
    """Ticks and legend. Ticks are made when a figure is drawn, after the style has gone, so they are set here."""
    ax.tick_params(width=0.6, length=2.5, color=GRAY, labelsize=7)
    ax.tick_params(which="minor", width=0.4, length=1.5, color=GRAY)
    ax.grid(True, axis="y", which="major", color="#e6e6e6", linewidth=0.5)
    ax.set_axisbelow(True)
    if ax.get_xscale() == "linear":
        ax.xaxis.get_major_locator().set_params(integer=True)
    labels = ax.get_legend_handles_labels()[1]
    if legend and len(labels) > 4:  # so many would cover what they name: above the panel
        columns = 3 if max(map(len, labels)) < 12 else 2 if max(map(len, labels)) < 24 else 1
        ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns)
    elif legend and labels:
        ax.legend(loc="best")


def positive(values: Floats) -> Floats:
    """What a log axis can show: the rest NaN."""
    values = np.asarray(values, np.float64)
    return np.where(values > 0, values, np.nan)


def disagreed(distances: Floats) -> Floats:
    """Distances that a log axis can show. Agents who start from one vector are apart by its rounding alone: NaN."""
    distances = positive(distances)
    if (distances[:1] < 0.01 * distances[1:]).any():
        distances[0] = np.nan
    return distances


def points(values: Floats) -> dict[str, Any]:
    """Markers where evaluations are few enough to be distinguished."""
    return {"marker": "o", "markersize": 2.6} if len(values) <= 24 else {}


def colors(count: int) -> list[Any]:
    """So many distinguishable colors."""
    if count <= len(COLORS):
        return list(COLORS[:count])
    return list(notebook_module("matplotlib").colormaps["viridis"](np.linspace(0, 0.92, count)))


def log_axis(ax: Any, series: list[Floats]) -> None:
    """A log axis that ends where the data end: an exact forecast falls to nothing."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate(series)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    ax.set_yscale("log")
    low, high = max(values.min(), values.max() * 1e-9) / 1.6, values.max() * 1.6
    ax.set_ylim(low, high)
    if high / low < 300:  # two decades or less: plain numbers
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 60 else (1, 3)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
