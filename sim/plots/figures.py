"""Whole figures: an overview of one run, and several runs compared."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from sim.curves import Curves
from sim.plots.curves import accuracy, bytes_to_accuracy, consensus, drift, is_known, loss, merged_accuracy
from sim.plots.lines import Histories, lines_of
from sim.plots.network import disagreement
from sim.plots.style import new_figure, styled

DRAWN = 400
"""Agents, up to which a drawing shows them one by one."""


def overview(history: Curves) -> NDArray[Any]:
    """Two to four panels: accuracy and loss where there are any, consensus distance, who differs. Returns the Axes."""

    def has(metric: str) -> bool:
        return is_known(history.of_agents(metric)) or is_known(history.of_consensus(metric))

    choice: list[tuple[Callable[..., Any], bool]] = [
        (accuracy, has("accuracy")),
        (loss, has("loss")),
        (consensus, True),
        (disagreement, history.agents <= DRAWN),
        (drift, history.agents > DRAWN),
    ]
    panels = [draw for draw, there in choice if there]
    with styled():
        _, axes = new_figure(len(panels))
        for draw, ax in zip(panels, axes, strict=True):
            draw(history, ax)
    return axes


def compare(histories: Histories) -> NDArray[Any]:
    """Several runs in one figure: merged accuracy over rounds, over bytes, and consensus distance. Returns its Axes.

    histories: what `sweep` returned, a sequence of runs, or {label: run or several seeds of one}. Runs that differ in
    their seeds alone are one line, their mean, with a band from the least to the most.
    """
    runs = [run for line in lines_of(histories) for run in line.runs]
    has_accuracy = any(is_known(run.of_consensus("accuracy")) for run in runs)
    with styled():
        figure, axes = new_figure(3 if has_accuracy else 1, legend_above=True)
        if has_accuracy:
            merged_accuracy(histories, axes[0])
            bytes_to_accuracy(histories, axes[1])
            axes[1].set_ylabel("")
            axes[1].sharey(axes[0])
        consensus(histories, axes[-1])
        handles, labels = axes[-1].get_legend_handles_labels()
        for ax in axes:
            if ax.get_legend():
                ax.get_legend().remove()
        named = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
        lines = max(1, -(-len(named) // (2 * len(axes))))
        figure.set_figheight(figure.get_figheight() + 0.15 * (lines - 1))
        if named:
            figure.legend(*zip(*named, strict=True), loc="outside upper center", ncols=-(-len(named) // lines))
    return axes
