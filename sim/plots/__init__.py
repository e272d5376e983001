"""Figures of simulated runs, for papers and notebooks: accuracy, consensus distance, topology, accuracy over bytes.

Each function draws into `ax`, or into a new pyplot figure, and returns the Axes; `axes.figure.savefig("x.pdf")` saves.
matplotlib's global settings stay as they are; `plt.style.use(plots.STYLE)` makes figures of your own look alike.
"""

from sim.plots.curves import accuracy, bytes_to_accuracy, consensus, drift, loss, merged_accuracy, metric
from sim.plots.figures import compare, overview
from sim.plots.network import disagreement, layout
from sim.plots.style import STYLE

__all__ = [
    "STYLE",
    "accuracy",
    "bytes_to_accuracy",
    "compare",
    "consensus",
    "disagreement",
    "drift",
    "layout",
    "loss",
    "merged_accuracy",
    "metric",
    "overview",
]
