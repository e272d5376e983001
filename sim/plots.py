"""Figures of simulated runs, for papers and notebooks: accuracy, agreement, who differs, what the bytes bought.

Each function draws into `ax`, or into a new pyplot figure, and returns the Axes; `axes.figure.savefig("x.pdf")` saves.
matplotlib's global settings stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.forecasting import PROTOCOLS, forecast
from sim.history import Floats, History, notebook_module, readable_bytes, spread
from topology import TopologyError

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
GRAY = "#5a5a5a"
DRAWN = 400  # agents, up to which a drawing shows them one by one
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
FORETOLD: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 0.7, "zorder": 3}
TOLD = (
    "task",
    "topology",
    "agents",
    "alpha",
    "protocol",
    "partition",
    "local_steps",
    "codec",
    "clock",
    "delay",
    "drop",
    "seed",
)

PLAIN = {"local_steps": 0, "delay": 0, "drop": 0, "online": 1, "speeds": 1, "joins": None, "split": None, "init": None}
"""The facts under which `sim.forecasting` holds."""

Histories = History | Sequence[History] | Mapping[str, History]


def accuracy(history: History, ax: Any = None) -> Any:
    """Test accuracy over rounds: the agents' mean, a band from the least to the most, and the merged model."""
    return _metric(history, "accuracy", ax)


def loss(history: History, ax: Any = None) -> Any:
    """Test loss over rounds, as `accuracy`."""
    return _metric(history, "loss", ax)


def consensus(histories: Histories, ax: Any = None, forecast: bool = True) -> Any:
    """Consensus distance over rounds, on a log axis.

    forecast: dashed, what is expected of those histories that a forecast is for: without training, delay and loss.
    It takes exchanges to begin at random times; with periodic clocks they do somewhat better.
    """
    with _style():
        ax = _axes(ax)
        named = _named(histories)
        foretold = []
        for color, (label, history) in zip(_colors(len(named)), named.items(), strict=True):
            distance = _positive(history.consensus_distance)
            ax.plot(history.rounds, distance, color=color, label=label, **_points(distance))
            expected = _expected(history) if forecast else None
            if expected is not None:
                foretold.append(history)
                ax.plot(*expected, **FORETOLD)
        _log_axis(ax, [_positive(history.consensus_distance) for history in named.values()])
        ax.set(xlabel="rounds", ylabel="consensus distance")
        if foretold:
            strict = all(run.facts["protocol"] != "exchange" or run.facts.get("clock") == "poisson" for run in foretold)
            ax.plot([], [], label="forecast" if strict else "forecast, random times", **FORETOLD)
        _finish(ax, legend=bool(foretold) or len(named) > 1)
    return ax


def disagreement(history: History, ax: Any = None) -> Any:
    """The topology, each agent colored by its distance to the consensus model, ||theta_i - mean||, at the end."""
    from matplotlib.collections import LineCollection

    distance = np.linalg.norm(history.theta - history.theta.mean(axis=0), axis=1)
    with _style():
        ax = _axes(ax)
        where = layout(history)
        lines = _edge_lines(history, where)
        width = min(0.8, max(0.2, 120 / max(1, len(lines))))
        ax.add_collection(LineCollection(lines, colors="#9a9a9a", linewidths=width, zorder=1))
        gaps = _gaps(where)
        size = min(190.0, max(10.0, (100 * float(np.quantile(gaps, 0.1))) ** 2))
        top = float(distance.max())
        dots = ax.scatter(*where.T, c=distance, s=size, cmap="cividis", vmin=0, vmax=top or 1, zorder=2)
        dots.set(edgecolor="white", linewidth=0.6)
        if size > 90 and gaps.min() > 0.08:
            for i, (x, y) in enumerate(where):
                shade = "white" if distance[i] < 0.55 * top or not top else "black"
                ax.text(x, y, str(i), ha="center", va="center_baseline", fontsize=5.5, color=shade)
        bar = ax.figure.colorbar(dots, ax=ax, fraction=0.05, pad=0.03, aspect=16, shrink=0.85)
        bar.outline.set_visible(False)
        bar.set_label("distance to the consensus model")
        bar.ax.tick_params(width=0.6, length=2, color=GRAY)
        ax.set_aspect("equal")
        ax.set_axis_off()
        ax.margins(0.09)
    return ax


def bytes_to_accuracy(histories: Histories, ax: Any = None) -> Any:
    """Accuracy of the merged model against all bytes sent until then, on a log axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with _style():
        ax = _axes(ax)
        named = _named(histories)
        for color, (label, history) in zip(_colors(len(named)), named.items(), strict=True):
            sent = np.asarray(history.bytes, np.float64)
            known = (sent > 0) & ~np.isnan(history.consensus_accuracy)
            merged = history.consensus_accuracy[known]
            ax.plot(sent[known], merged, color=color, label=label, **_points(merged))
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(numticks=5))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: readable_bytes(value)))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel="bytes sent by all agents", ylabel="accuracy of the merged model")
        _finish(ax, legend=len(named) > 1)
    return ax


def compare(histories: Histories) -> NDArray[Any]:
    """Several runs in one figure: merged accuracy over rounds, over bytes, and consensus distance. Returns its Axes."""
    named = _named(histories)
    has_accuracy = any(_known(history.consensus_accuracy) for history in named.values())
    with _style():
        figure, axes = _figure(3 if has_accuracy else 1, legend_above=True)
        if has_accuracy:
            for color, (label, history) in zip(_colors(len(named)), named.items(), strict=True):
                merged = history.consensus_accuracy
                axes[0].plot(history.rounds, merged, color=color, label=label, **_points(merged))
            axes[0].set(xlabel="rounds", ylabel="accuracy of the merged model")
            _finish(axes[0], legend=False)
            bytes_to_accuracy(named, axes[1])
            axes[1].set_ylabel("")
            axes[1].sharey(axes[0])
        consensus(named, axes[-1])
        handles, labels = axes[-1].get_legend_handles_labels()
        for ax in axes:
            if ax.get_legend():
                ax.get_legend().remove()
        lines = -(-len(labels) // (2 * len(axes)))
        figure.set_figheight(figure.get_figheight() + 0.15 * (lines - 1))
        figure.legend(handles, labels, loc="outside upper center", ncols=-(-len(labels) // max(lines, 1)))
    return axes


def overview(history: History) -> NDArray[Any]:
    """Two to four panels: accuracy and loss where there are any, consensus distance, who differs. Returns the Axes."""
    choice: list[tuple[Callable[..., Any], bool]] = [
        (accuracy, _known(history.accuracy) or _known(history.consensus_accuracy)),
        (loss, _known(history.loss) or _known(history.consensus_loss)),
        (consensus, True),
        (disagreement, history.agents <= DRAWN),
        (_drift, history.agents > DRAWN),
    ]
    panels = [draw for draw, there in choice if there]
    with _style():
        _, axes = _figure(len(panels))
        for draw, ax in zip(panels, axes, strict=True):
            draw(history, ax)
    return axes


def layout(history: History) -> Floats:
    """Where to draw each agent, (agents, 2): a grid for grids and tori, a circle for rings, else by springs."""
    n, name = history.agents, str(history.facts.get("topology", "")).split(":")[0]
    if name in ("torus", "grid", "path") and len(history.edges):
        cols = n // _rows(n) if name != "path" else math.ceil(math.sqrt(n))
        row, col = np.divmod(np.arange(n), cols)
        if name == "path":  # in serpentines, so that a long one stays legible
            col = np.where(row % 2, cols - 1 - col, col)
        where = np.stack([col, -row], axis=1) / max(cols - 1, row[-1], 1)
        return np.asarray(where, np.float64)
    if name == "star":
        return np.concatenate([np.zeros((1, 2)), _circle(n - 1)])
    if name in ("regular", "erdos-renyi", "hypercube", "graph") and len(history.edges):
        try:
            import networkx as nx
        except ImportError:
            return _circle(n)
        graph = nx.Graph(history.edges.tolist())
        graph.add_nodes_from(range(n))
        found = nx.spring_layout(graph, seed=0)
        if n <= 128 and nx.is_connected(graph):
            found = nx.kamada_kawai_layout(graph, pos=found)
        where = np.array([found[i] for i in range(n)])
        return np.asarray((where - where.min(axis=0)) / np.ptp(where, axis=0).max())
    return _circle(n)


def _circle(n: int) -> Floats:
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / max(n, 1)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) / 2


def _metric(history: History, name: str, ax: Any) -> Any:
    mean, low, high = spread(getattr(history, name))
    merged = getattr(history, f"consensus_{name}")
    with _style():
        ax = _axes(ax)
        known = ~np.isnan(mean)
        if known.any():
            rounds = history.rounds[known]
            ax.fill_between(
                rounds, low[known], high[known], color=COLORS[0], alpha=0.18, linewidth=0, label="all agents"
            )
            ax.plot(rounds, mean[known], color=COLORS[0], label="mean of agents", **_points(rounds))
        if _known(merged):
            there = ~np.isnan(merged)
            ax.plot(
                history.rounds[there], merged[there], color=COLORS[1], label="merged model", **_points(merged[there])
            )
        ax.set(xlabel="rounds", ylabel=f"test {name}")
        _finish(ax, legend=True)
    return ax


def _drift(history: History, ax: Any) -> Any:
    """How far the mean of all agents has moved."""
    ax.plot(history.rounds, history.mean_drift, color=COLORS[0])
    ax.set(xlabel="rounds", ylabel="drift of the mean")
    _finish(ax, legend=False)
    return ax


def _expected(history: History) -> tuple[Floats, Floats] | None:
    """Rounds and the consensus distance to expect, where the facts say that `sim.forecasting` holds."""
    facts = history.facts
    plain = "local_steps" in facts and all(facts.get(key, value) in (value, None) for key, value in PLAIN.items())
    if (
        not plain
        or not history.consensus_distance[0] > 0
        or facts.get("protocol") not in PROTOCOLS
        or not isinstance(facts.get("topology"), str)
    ):
        return None
    try:
        foretold = forecast(
            facts["topology"],
            history.agents,
            float(facts.get("alpha", 0.5)),
            protocol=facts["protocol"],
            seed=int(facts.get("seed", 0)),
        )
    except (TopologyError, ValueError):  # a topology of the user's own, described by more than a name
        return None
    rounds = np.arange(history.rounds[0], history.rounds[-1] + 1)
    squared = foretold.squared_distance(rounds) / foretold.squared_distance(history.rounds[0])
    return rounds, _positive(history.consensus_distance[0] * np.sqrt(squared))


def _named(histories: Histories) -> dict[str, History]:
    """A label for each: those given, or the facts in which they differ."""
    if isinstance(histories, Mapping):
        return dict(histories)
    runs = [histories] if isinstance(histories, History) else list(histories)
    differ = [key for key in TOLD if len({repr(run.facts.get(key)) for run in runs}) > 1]
    labels = [", ".join(_fact(key, run.facts.get(key)) for key in differ) for run in runs]
    if len(set(labels)) < len(runs):
        labels = [", ".join(filter(None, (label, f"run {i}"))) for i, label in enumerate(labels)]
    return dict(zip(labels, runs, strict=True))


def _fact(key: str, value: Any) -> str:
    if key == "agents":
        return f"{value} agents"
    return (
        str(value)
        if key in ("task", "topology", "protocol", "partition", "codec")
        else f"{key.replace('_', ' ')} {value}"
    )


def _known(values: Floats) -> bool:
    return not bool(np.isnan(values).all())


def _positive(values: Floats) -> Floats:
    """What a log axis can show: the rest NaN."""
    values = np.asarray(values, np.float64)
    return np.where(values > 0, values, np.nan)


def _points(values: Floats) -> dict[str, Any]:
    """Markers where evaluations are few enough to be told apart."""
    return {"marker": "o", "markersize": 2.6} if len(values) <= 24 else {}


def _colors(count: int) -> list[Any]:
    if count <= len(COLORS):
        return list(COLORS[:count])
    return list(notebook_module("matplotlib").colormaps["viridis"](np.linspace(0, 0.92, count)))


def _log_axis(ax: Any, series: list[Floats]) -> None:
    """A log axis that ends where the data end: an exact forecast falls to nothing.

    Agents who start from one vector are apart by its rounding alone; that start is left out of sight.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate([one[1:] if (one[:1] < 0.01 * one[1:]).any() else one for one in series])
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


def _rows(n: int) -> int:
    """Of a grid or torus of that name: the largest divisor of n up to its square root, as topology.names has it."""
    return next(side for side in range(math.isqrt(n), 0, -1) if n % side == 0)


def _gaps(where: Floats) -> Floats:
    """From each agent to the nearest other, as a share of the drawing's size: (agents,)."""
    from scipy.spatial import cKDTree

    if len(where) < 2:
        return np.ones(len(where))
    gaps = cKDTree(where).query(where, k=2)[0][:, 1]
    return np.asarray(gaps / max(np.ptp(where, axis=0).max(), 1e-9))


def _edge_lines(history: History, where: Floats) -> list[Floats]:
    """Lines (2, 2). Those around a torus' border are two stubs, or they would run through all that lies between."""
    a, b = where[history.edges[:, 0]], where[history.edges[:, 1]]
    if str(history.facts.get("topology")) != "torus" or not len(a):
        return list(np.stack([a, b], axis=1))
    step = np.linalg.norm(b - a, axis=1).min()
    around = np.linalg.norm(b - a, axis=1) > 1.5 * step
    out = 0.45 * step * np.sign(a - b)
    stubs = [np.stack([end, end + way], axis=1)[around] for end, way in ((a, out), (b, -out))]
    return list(np.concatenate([np.stack([a, b], axis=1)[~around], *stubs]))


# What all figures share.


@contextmanager
def _style() -> Iterator[None]:
    matplotlib = notebook_module("matplotlib")
    with notebook_module("matplotlib.style").context(STYLE):
        yield
        interactive = matplotlib.is_interactive()
    matplotlib.interactive(interactive)  # A notebook's backend turns this on when it makes its first figure.


def _axes(ax: Any) -> Any:
    return ax if ax is not None else _figure(1)[1][0]


def _figure(count: int, legend_above: bool = False) -> tuple[Any, NDArray[Any]]:
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


def _finish(ax: Any, legend: bool) -> None:
    """Ticks and legend. Ticks are made when a figure is drawn, after the style has gone, so they are told here."""
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
