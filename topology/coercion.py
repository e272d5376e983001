"""Anything that describes a topology as a Graph or a Schedule: a name, a graph of networkx, a mixing matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from topology.errors import TopologyError, need, need_whole
from topology.graphs import Graph, from_keys, from_networkx
from topology.names import Topology, named
from topology.schedules import Schedule
from topology.weights import check_doubly_stochastic

EXPECTED = (
    'a topology is a name such as "torus" or "base:2", a Graph, a Schedule, a networkx graph, '
    "or a doubly stochastic matrix (n, n) of NumPy or SciPy"
)
ROUNDED = 1e-6  # of a matrix in float32; the diagonal is computed anew from the other entries


def as_topology(value: Any, agents: int, seed: int = 0) -> Topology:
    """The Graph or Schedule with a node for each agent that a user's value stands for.

    value: a name, made for so many agents from `seed`; a Graph; a Schedule; a networkx graph, whose nodes are numbered
    in its own order and whose weights are not read; or a doubly stochastic mixing matrix W (agents, agents), a NumPy
    array or a SciPy sparse one, which becomes a Schedule of one round.
    Raises TopologyError for anything else, for another number of nodes, and for what is not connected (a Schedule: in
    all its rounds together), where agents never agree.
    """
    agents = need_whole("a topology", "agents", agents)
    made = as_network(value, agents, seed)
    if made.n != agents:
        raise TopologyError(f"the topology must have a node for each agent: got {made.n} nodes and agents={agents}")
    if not _connects(made):
        raise TopologyError(
            f"the topology must be connected, or agents can never agree: this one falls apart, {_parts(made, value)}; "
            "add edges, or for a random one take another seed or more neighbors"
        )
    return made


SAME = 1e-6
"""How far weights may differ that are the same: those of a W in float32 do by rounding."""


def uneven(schedule: Schedule) -> tuple[int, int, float, float] | None:
    """Where the first matrix of a schedule weighs a row's neighbors differently: (row, column, weight, row's mean)."""
    graph, weights = schedule.graphs[0], schedule.weights[0]
    usual = np.bincount(graph.sources, weights, graph.n) / np.maximum(graph.degree, 1)
    apart = np.abs(weights - usual[graph.sources])
    if apart.max(initial=0) <= SAME:
        return None
    arc = int(apart.argmax())
    row = int(graph.sources[arc])
    return row, int(graph.indices[arc]), float(weights[arc]), float(usual[row])


def _parts(topology: Topology, value: Any) -> str:
    """What stands alone, or else the smallest part, by the names that the user gave the nodes."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    graphs = topology.graphs if isinstance(topology, Schedule) else (topology,)
    arcs = [np.concatenate(part) for part in zip(*((graph.sources, graph.indices) for graph in graphs), strict=True)]
    touched = np.zeros(topology.n, bool)
    touched[np.concatenate(arcs)] = True
    alone = np.flatnonzero(~touched)
    labels = list(getattr(value, "nodes", range(topology.n)))
    if alone.size:
        return f"{alone.size} of {topology.n} nodes have no edge: {_few(labels, alone)}"
    adjacency = csr_array((np.ones(arcs[0].size, np.int8), tuple(arcs)), shape=(topology.n, topology.n))
    count, part = connected_components(adjacency, directed=True, connection="strong")
    sizes = np.bincount(part)
    smallest = np.flatnonzero(part == sizes.argmin())
    return f"into {count} parts, the smallest of node{'s' * (smallest.size > 1)} {_few(labels, smallest)}"


def _few(labels: list[Any], nodes: Any) -> str:
    named = ", ".join(f"{labels[node]!r:.20}" for node in nodes[:5])
    return f"{named}, ..." if len(nodes) > 5 else named


def as_network(value: Any, agents: int, seed: int = 0) -> Topology:
    """As `as_topology`, connected or not, and of however many nodes it has."""
    if isinstance(value, str):
        return named(value, agents, seed)
    if isinstance(value, Graph):
        return value.check()
    if isinstance(value, Schedule):
        return value
    if all(hasattr(value, name) for name in ("nodes", "edges", "is_directed")):
        return from_networkx(value)
    if hasattr(value, "__array__") and not hasattr(value, "tocsr") and np.ndim(value):
        value = np.asarray(value)  # Of JAX and others.
    if isinstance(value, np.ndarray) or hasattr(value, "tocsr"):
        if value.ndim == 2 and value.shape[0] != value.shape[1] == 2:
            raise TopologyError(f"{EXPECTED}: got an array {value.shape}; of edges make from_edges({agents}, edges)")
        return _one_round(value)
    hint = ""
    if isinstance(value, list | tuple):
        hint = f"; of edges make from_edges({agents}, edges), of the rows of a matrix numpy.array(rows)"
    raise TopologyError(f"{EXPECTED}: got {type(value).__name__} {value!r:.40}{hint}")


def _one_round(W: Any) -> Schedule:
    """The Schedule that mixes by one matrix W (n, n) in every round."""
    from scipy.sparse import csr_array, eye_array

    if W.dtype.kind not in "biuf":
        raise TopologyError(f"a mixing matrix holds real numbers: got {W.dtype}")
    try:
        need(W.ndim <= 2, "a mixing matrix is square", shape=W.shape)
        sparse = csr_array(W, dtype=np.float64, copy=True)
        sparse.sum_duplicates()
        check_doubly_stochastic(sparse, ROUNDED)
    except TopologyError as error:
        raise TopologyError(f"{error}; of a graph make a mixing matrix by metropolis_hastings(graph)") from None
    n = sparse.shape[0]
    others = (sparse - sparse.multiply(eye_array(n))).tocoo()
    there = others.data > 0
    rows, columns = (np.asarray(axis[there], np.int64) for axis in others.coords)
    order = np.argsort(keys := rows * n + columns)
    keys, weights = keys[order], others.data[there][order]
    symmetric = np.array_equal(keys, np.sort(columns * n + rows))
    return Schedule(n, (from_keys(n, keys, directed=not symmetric),), (weights,))


def _connects(topology: Topology) -> bool:
    """Whether every node reaches every other. A Schedule's arcs count both ways: a part gives as much as it takes."""
    if isinstance(topology, Graph):
        return topology.is_connected
    n = topology.n
    arcs = [graph.sources * np.int64(n) + graph.indices for graph in topology.graphs]
    both = [a % n * n + a // n for a in arcs]
    return from_keys(n, np.unique(np.concatenate([*arcs, *both]))).is_connected
