"""Topologies side by side on parts of the same nodes, which never meet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topology.errors import need
from topology.graphs import Graph, from_keys
from topology.names import Topology
from topology.schedules import Schedule


def disjoint(parts: Sequence[Topology], nodes: Sequence[NDArray[np.integer]], n: int) -> Topology:
    """One topology on n nodes: that of parts[k] on nodes[k], ascending; of a node in none of them nothing comes.

    A Schedule if any part is one; a part's graph then mixes by Metropolis-Hastings weights in every round.
    """
    for part, some in zip(parts, nodes, strict=True):
        need(part.n == len(some), "a part has a node for each of its places", part=part.n, places=len(some))
    if not any(isinstance(part, Schedule) for part in parts):
        return _union([part for part in parts if isinstance(part, Graph)], nodes, n)[0]
    schedules = [part if isinstance(part, Schedule) else _always(part) for part in parts]
    graphs, weights = [], []
    for r in range(math.lcm(*map(len, schedules))):
        graph, order = _union([each.graphs[r % len(each)] for each in schedules], nodes, n)
        graphs.append(graph)
        weights.append(np.concatenate([each.weights[r % len(each)] for each in schedules])[order])
    return Schedule(n, tuple(graphs), tuple(weights))


def _union(graphs: list[Graph], nodes: Sequence[NDArray[np.integer]], n: int) -> tuple[Graph, NDArray[np.int64]]:
    """The graphs as one, and in which order their arcs stand in it."""
    keys = np.concatenate(
        [
            np.asarray(some, np.int64)[graph.sources] * n + np.asarray(some, np.int64)[graph.indices]
            for graph, some in zip(graphs, nodes, strict=True)
        ]
    )
    order = np.argsort(keys)
    return from_keys(n, keys[order], directed=any(graph.directed for graph in graphs)), order


def _always(graph: Graph) -> Schedule:
    """A graph as a schedule of one round, with Metropolis-Hastings weights."""
    degree = graph.degree
    return Schedule(graph.n, (graph,), (1.0 / (1 + np.maximum(degree[graph.sources], degree[graph.indices])),))
