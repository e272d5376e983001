"""Curves over rounds or bytes: metrics of agents and of their consensus model, and the consensus distance."""

from typing import Any

import numpy as np

from sim.curves import Curves, Floats, readable_bytes, spread
from sim.plots.lines import Histories, Line, band_of, lines_of
from sim.plots.style import COLORS, GRAY, axes_or_new, colors, disagreed, finish, log_axis, points, positive, styled
from topology import TopologyError
from topology.forecasting import PROTOCOLS, forecast

FORECAST_STYLE: dict[str, Any] = {"color": "black", "linestyle": (0, (4, 2)), "linewidth": 0.7, "zorder": 3}

PLAIN = {
    **{"local_steps": 0, "delay": 0, "drop": 0, "online": 1, "speeds": 1, "joins": None, "split": None, "init": None},
    **{"codec": "float32", "choose": "uniform", "submodel": "none", "private": "", "virtual": False},
}
"""The facts under which `topology.forecasting` holds, with a rule that follows no exchange."""


def accuracy(history: Curves, ax: Any = None) -> Any:
    """Test accuracy over rounds: the agents' mean, a band from the least to the most, and the merged model."""
    return metric(history, "accuracy", ax)


def loss(history: Curves, ax: Any = None) -> Any:
    """Test loss over rounds, as `accuracy`."""
    return metric(history, "loss", ax)


def metric(history: Curves, name: str, ax: Any = None) -> Any:
    """Any metric of the task over rounds, as `accuracy`."""
    mean, low, high = spread(history.of_agents(name))
    merged = history.of_consensus(name)
    with styled():
        ax = axes_or_new(ax)
        known = ~np.isnan(mean)
        if known.any():
            rounds = history.rounds[known]
            ax.fill_between(
                rounds, low[known], high[known], color=COLORS[0], alpha=0.18, linewidth=0, label="all agents"
            )
            ax.plot(rounds, mean[known], color=COLORS[0], label="mean of agents", **points(rounds))
        if is_known(merged):
            there = ~np.isnan(merged)
            ax.plot(
                history.rounds[there], merged[there], color=COLORS[1], label="merged model", **points(merged[there])
            )
        ax.set(xlabel="rounds", ylabel=f"test {name}")
        finish(ax, legend=True)
    return ax


def merged_accuracy(histories: Histories, ax: Any = None) -> Any:
    """Accuracy of the merged model over rounds; several seeds of a setting are one line with a band."""
    with styled():
        ax = axes_or_new(ax)
        lines = lines_of(histories)
        for color, line in zip(colors(len(lines)), lines, strict=True):
            line.draw(ax, line.first.rounds, line.each(lambda run: run.of_consensus("accuracy")), color)
        ax.set(xlabel="rounds", ylabel="accuracy of the merged model")
        finish(ax, legend=_legend(ax, lines))
    return ax


def consensus(histories: Histories, ax: Any = None, forecast: bool = True) -> Any:
    """Consensus distance over rounds, on a log axis; several seeds of a setting are one line with a band.

    forecast: dashed, what is expected of those histories that a forecast is for: without training, delay and loss.
    It takes exchanges to begin at random times; with periodic clocks they do somewhat better.
    """
    with styled():
        ax = axes_or_new(ax)
        lines = lines_of(histories)
        forecasted, drawn = [], []
        for color, line in zip(colors(len(lines)), lines, strict=True):
            distance = line.each(lambda run: disagreed(run.consensus_distance))
            drawn += list(distance.T)
            ax.update_datalim([(line.first.rounds[0], 0)], updatey=False)  # as in the figures beside it
            line.draw(ax, line.first.rounds, distance, color)
            expected = _expected(line.first) if forecast else None
            if expected is not None:
                forecasted.append(line.first)
                ax.plot(*expected, **FORECAST_STYLE)
        log_axis(ax, drawn)
        ax.set(xlabel="rounds", ylabel="consensus distance")
        has_legend = _legend(ax, lines)
        if forecasted:
            strict = all(
                run.facts["protocol"] != "exchange" or run.facts.get("clock") == "poisson" for run in forecasted
            )
            ax.plot([], [], label="forecast" if strict else "forecast, random times", **FORECAST_STYLE)
        finish(ax, legend=bool(forecasted) or has_legend)
    return ax


def bytes_to_accuracy(histories: Histories, ax: Any = None) -> Any:
    """Accuracy of the merged model against all bytes sent until then, on a log axis; seeds as in `merged_accuracy`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with styled():
        ax = axes_or_new(ax)
        lines = lines_of(histories)
        for color, line in zip(colors(len(lines)), lines, strict=True):
            sent = line.each(lambda run: run.bytes).mean(axis=1)
            some = sent > 0
            line.draw(ax, sent[some], line.each(lambda run: run.of_consensus("accuracy"))[some], color)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(numticks=5))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: readable_bytes(value)))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel="bytes sent by all agents", ylabel="accuracy of the merged model")
        finish(ax, legend=_legend(ax, lines))
    return ax


def drift(history: Curves, ax: Any = None) -> Any:
    """How far the mean of all agents has moved, over rounds."""
    with styled():
        ax = axes_or_new(ax)
        ax.plot(history.rounds, history.mean_drift, color=COLORS[0])
        ax.set(xlabel="rounds", ylabel="drift of the mean")
        finish(ax, legend=False)
    return ax


def is_known(values: Floats) -> bool:
    """Whether any of the values is there."""
    return not bool(np.isnan(values).all())


def _legend(ax: Any, lines: list[Line]) -> bool:
    """Whether the lines need a legend; what their bands are is part of it."""
    if band := band_of(lines):
        ax.fill_between([], [], [], color=GRAY, alpha=0.25, linewidth=0, label=band)
    return len(lines) > 1 or bool(band)


def _expected(history: Curves) -> tuple[Floats, Floats] | None:
    """Rounds and the consensus distance to expect, where by the facts `topology.forecasting` holds."""
    facts = history.facts
    plain = "local_steps" in facts and all(facts.get(key, value) in (value, None) for key, value in PLAIN.items())
    if (
        not plain
        or "accelerated" in str(facts.get("rule"))
        or not history.consensus_distance[0] > 0
        or facts.get("protocol") not in PROTOCOLS
        or not isinstance(facts.get("topology"), str)
    ):
        return None
    try:
        computed = forecast(
            facts["topology"],
            history.agents,
            float(facts.get("alpha", 0.5)),
            protocol=facts["protocol"],
            seed=int(facts.get("seed", 0)),
        )
    except (TopologyError, ValueError):  # a topology of the user's own, described by more than a name
        return None
    rounds = np.arange(history.rounds[0], history.rounds[-1] + 1)
    squared = computed.squared_distance(rounds) / computed.squared_distance(history.rounds[0])
    return rounds, positive(history.consensus_distance[0] * np.sqrt(squared))
