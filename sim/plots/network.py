"""Draws the topology of a run, with each agent where its neighbors are and colored by its disagreement."""

import math
from typing import Any

import numpy as np

from sim.curves import Curves, Floats
from sim.plots.style import GRAY, axes_or_new, styled

ON_A_CIRCLE = {
    *("ring", "complete", "exponential", "one-peer-exponential", "matching", "base", "small-world", "Schedule"),
}
"""Topologies whose agents have an order, and those of which one round shows little; any other is laid by springs."""


def disagreement(history: Curves, ax: Any = None) -> Any:
    """The topology, each agent colored by its distance to the consensus model, ||theta_i - mean||, at the end."""
    from matplotlib.collections import LineCollection

    distance = np.linalg.norm(history.theta - history.theta.mean(axis=0), axis=1)
    with styled():
        ax = axes_or_new(ax)
        where = layout(history)
        lines = edge_lines(history, where)
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


def layout(history: Curves) -> Floats:
    """Where to draw each agent, (agents, 2): on a grid for grids and tori, on a circle for rings, else by springs."""
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
    if name not in ON_A_CIRCLE and len(history.edges):
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


def edge_lines(history: Curves, where: Floats) -> list[Floats]:
    """Lines (2, 2). Those around a torus' border are two stubs, or they would run through all that lies between."""
    a, b = where[history.edges[:, 0]], where[history.edges[:, 1]]
    if str(history.facts.get("topology")) != "torus" or not len(a):
        return list(np.stack([a, b], axis=1))
    step = np.linalg.norm(b - a, axis=1).min()
    around = np.linalg.norm(b - a, axis=1) > 1.5 * step
    out = 0.45 * step * np.sign(a - b)
    stubs = [np.stack([end, end + way], axis=1)[around] for end, way in ((a, out), (b, -out))]
    return list(np.concatenate([np.stack([a, b], axis=1)[~around], *stubs]))
