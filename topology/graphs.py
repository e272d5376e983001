"""Static graphs in compressed rows, and the families without randomness.

Nodes are 0 .. n-1. `neighbors(i)` are those that i initiates exchanges with and takes from: row i of a mixing matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topology.errors import TopologyError, need, need_whole

if TYPE_CHECKING:
    import networkx as nx

COMPLETE_LIMIT = 20_000


@dataclass(frozen=True, eq=False)
class Graph:
    """A simple graph: no loops, no multiple edges.

    indptr: int64 (n + 1,). indices: int32 (arcs,), ascending in each row; an undirected edge is two arcs.
    Both are read-only. Graphs compare by identity. Raises TopologyError unless indptr cuts indices into n rows; `check`
    looks at the rows themselves.
    """

    n: int
    indptr: NDArray[np.int64] = field(repr=False)
    indices: NDArray[np.int32] = field(repr=False)
    directed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", need_whole("Graph", "n", self.n))
        for name, dtype in (("indptr", np.int64), ("indices", np.int32)):
            given = np.asarray(getattr(self, name))
            need(given.ndim == 1 and given.dtype.kind in "iu", f"{name} are whole numbers in a row", shape=given.shape)
            column = given.astype(dtype, copy=False).view()
            column.setflags(write=False)
            object.__setattr__(self, name, column)
        ends = [*self.indptr[:1].tolist(), *self.indptr[-1:].tolist()]
        fits = self.indptr.size == self.n + 1 and ends == [0, self.indices.size] and bool((self.degree >= 0).all())
        need(
            fits,
            f"indptr of a graph of {self.n} nodes are {self.n + 1} ascending numbers from 0 to {self.indices.size}, "
            "the number of its arcs; of edges make from_edges(n, edges)",
            indptr=self.indptr.size,
            ends=ends,
        )

    @property
    def degree(self) -> NDArray[np.int64]:
        """Number of neighbors (out-degree of a digraph), (n,)."""
        return np.diff(self.indptr)

    @property
    def sources(self) -> NDArray[np.int32]:
        """The row of every entry of `indices`, (arcs,)."""
        return np.repeat(np.arange(self.n, dtype=np.int32), self.degree)

    @property
    def edges(self) -> NDArray[np.int32]:
        """Every undirected edge once, smaller node first; every arc of a digraph. (E, 2)."""
        arcs = np.stack([self.sources, self.indices], axis=1)
        return arcs if self.directed else arcs[arcs[:, 0] < arcs[:, 1]]

    @property
    def is_connected(self) -> bool:
        """Whether every node reaches every other, along the arcs of a digraph."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import connected_components

        adjacency = csr_array((np.ones(self.indices.size, np.int8), self.indices, self.indptr), shape=(self.n, self.n))
        parts = connected_components(adjacency, directed=self.directed, connection="strong", return_labels=False)
        return int(parts) == 1

    def check(self) -> Graph:
        """The graph itself. Raises TopologyError unless rows ascend among 0 .. n-1, without loops, each edge both ways.

        Those of this package do; one made of rows of one's own, such as those of a SciPy matrix, may not.
        """
        from scipy.sparse import csr_array

        inside = (self.indices >= 0) & (self.indices < self.n)
        need(bool(inside.all()), f"nodes are 0 .. {self.n - 1}", node=self.indices[~inside][:1].tolist())
        sources = self.sources
        loops = sources == self.indices
        need(not loops.any(), "a simple graph has no loops", node=self.indices[loops][:1].tolist())
        wrong = np.flatnonzero((np.diff(self.indices) <= 0) & (sources[1:] == sources[:-1]))
        need(not wrong.size, "the neighbors in each row of a graph ascend, each once", row=sources[wrong][:1].tolist())
        if not self.directed and self.indices.size < self.n * (self.n - 1):
            ones = np.ones(self.indices.size, np.int8)
            there = csr_array((ones, self.indices, self.indptr), shape=(self.n, self.n))
            alike = csr_array(there.T)
            both = np.array_equal(alike.indptr, self.indptr) and np.array_equal(alike.indices, self.indices)
            need(both, "an undirected graph has each edge as two arcs, or it is Graph(..., directed=True)", both=both)
        return self

    def neighbors(self, i: int, r: int = 0) -> NDArray[np.int32]:
        """The nodes that i initiates exchanges with, ascending. A graph is the same in every round r."""
        i = index(i)
        need(0 <= i < self.n, f"a node of this graph is one of 0 .. {self.n - 1}", i=i)
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def begins_with(self, i: int, r: int = 0) -> NDArray[np.int32]:
        """Those neighbors of i with one of whom it begins an exchange in round r, ascending: all."""
        return self.neighbors(i, r)

    def to_networkx(self) -> nx.Graph:
        """The same graph as `networkx.Graph`, or `DiGraph` if directed."""
        import networkx as nx

        graph = nx.DiGraph() if self.directed else nx.Graph()
        graph.add_nodes_from(range(self.n))
        graph.add_edges_from(self.edges.tolist())
        return graph


def need_graph(family: str, graph: Any) -> None:
    """Raise `TopologyError` unless it is a Graph."""
    kind = type(graph).__name__
    need(isinstance(graph, Graph), f"{family} needs a Graph, such as ring(8) or from_networkx(graph)", graph=kind)


def from_keys(n: int, keys: NDArray[np.int64], *, directed: bool = False) -> Graph:
    """The graph whose arcs are source * n + target: distinct, ascending, (arcs,)."""
    sources, targets = np.divmod(keys, n)
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(sources, minlength=n))])
    return Graph(n, indptr, targets.astype(np.int32), directed)


def join(n: int, *pairs: tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]]]) -> Graph:
    """The undirected graph with an edge between each a[...] and b[...] of every pair (a, b); each edge given once."""
    a = np.concatenate([a.ravel() for a, _ in pairs]).astype(np.int64)
    b = np.concatenate([b.ravel() for _, b in pairs]).astype(np.int64)
    return from_keys(n, np.sort(np.concatenate([a * n + b, b * n + a])))


def from_edges(n: int, edges: ArrayLike, *, directed: bool = False) -> Graph:
    """The graph on n nodes with these edges (E, 2), in any order; arcs from -> to if directed.

    Raises TopologyError for a node outside 0 .. n-1, a loop, or an edge that comes twice.
    """
    n = need_whole("from_edges", "n", n)
    try:
        pairs = np.asarray(edges if hasattr(edges, "__array__") else list(edges))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TopologyError(f"edges are an (E, 2) array of nodes: got {type(edges).__name__} {edges!r:.40}") from None
    pairs = pairs.reshape(0, 2).astype(np.int64) if pairs.size == 0 else pairs
    need(pairs.ndim == 2 and pairs.shape[1] == 2, "edges are an (E, 2) array of nodes", shape=pairs.shape)
    need(pairs.dtype.kind in "iu", "edges are whole numbers", dtype=pairs.dtype.name)
    pairs = pairs.astype(np.int64)
    outside = ((pairs < 0) | (pairs >= n)).any(axis=1)
    loop = pairs[:, 0] == pairs[:, 1]
    for fault, expected in [(outside, f"nodes are 0 .. {n - 1}"), (loop, "a simple graph has no loops")]:
        if fault.any():
            raise TopologyError(f"{expected}: got the edge {tuple(pairs[fault.argmax()].tolist())}")
    arcs = pairs if directed else np.concatenate([pairs, pairs[:, ::-1]])
    keys = np.sort(arcs[:, 0] * n + arcs[:, 1])
    again = keys[1:] == keys[:-1]
    if again.any():
        raise TopologyError(f"a simple graph has each edge once: got {divmod(int(keys[again.argmax()]), n)} twice")
    return from_keys(n, keys, directed=directed)


def from_networkx(graph: nx.Graph) -> Graph:
    """The same graph, its nodes numbered 0 .. n-1 in networkx's order; attributes such as weights are not read."""
    number = {node: i for i, node in enumerate(graph.nodes)}
    return from_edges(len(number), [(number[a], number[b]) for a, b in graph.edges()], directed=graph.is_directed())


def grid(rows: int, cols: int) -> Graph:
    """Node r * cols + c is joined to those above, below, left and right of it."""
    rows = need_whole("grid", "rows", rows)
    cols = need_whole("grid", "cols", cols)
    cell = np.arange(rows * cols).reshape(rows, cols)
    return join(rows * cols, (cell[:-1], cell[1:]), (cell[:, :-1], cell[:, 1:]))


def torus(rows: int, cols: int) -> Graph:
    """A grid with its opposite borders joined. A side of 2 has one edge across, not two; a side of 1 none."""
    rows = need_whole("torus", "rows", rows)
    cols = need_whole("torus", "cols", cols)
    cell = np.arange(rows * cols).reshape(rows, cols)
    wrap = [(cell[0], cell[-1])] * (rows > 2) + [(cell[:, 0], cell[:, -1])] * (cols > 2)
    return join(rows * cols, (cell[:-1], cell[1:]), (cell[:, :-1], cell[:, 1:]), *wrap)


def path(n: int) -> Graph:
    """0 - 1 - ... - n-1."""
    n = need_whole("path", "n", n)
    return grid(1, n)


def ring(n: int) -> Graph:
    """Each node between its two neighbors; one edge for n = 2, none for n = 1."""
    n = need_whole("ring", "n", n)
    return torus(1, n)


def star(n: int) -> Graph:
    """Node 0 is joined to all others."""
    n = need_whole("star", "n", n)
    leaves = np.arange(1, n)
    return join(n, (np.zeros_like(leaves), leaves))


def complete(n: int) -> Graph:
    """Every node is joined to every other. Refused beyond 20,000 nodes: it holds n (n - 1) indices."""
    n = need_whole("complete", "n", n)
    size = f"{n * (n - 1) * 4 / 1e9:.1f} GB"
    need(n <= COMPLETE_LIMIT, f"complete goes up to {COMPLETE_LIMIT} nodes; this one would take {size}", n=n)
    column, node = np.arange(n - 1, dtype=np.int32), np.arange(n, dtype=np.int32)[:, None]
    return Graph(n, np.arange(n + 1, dtype=np.int64) * (n - 1), (column + (column >= node)).ravel())


def hypercube(dimension: int) -> Graph:
    """2 ** dimension nodes, joined where their numbers differ in one bit."""
    dimension = need_whole("hypercube", "dimension", dimension, 0)
    need(dimension <= 30, "hypercube goes up to dimension 30", dimension=dimension)
    return incomplete_hypercube(2**dimension)


def incomplete_hypercube(n: int) -> Graph:
    """The first n nodes of a hypercube; connected, as clearing a bit of i leads toward 0 (Katseff 1988)."""
    n = need_whole("incomplete_hypercube", "n", n)
    node = np.arange(n)
    bits = [node[(node >> k) & 1 == 1] for k in range((n - 1).bit_length())]
    return join(n, (node[:0], node[:0]), *((upper, upper ^ (1 << k)) for k, upper in enumerate(bits)))


def exponential(n: int) -> Graph:
    """Directed: i takes from i + 2^k mod n for every k < ceil(log2 n) (Ying et al. 2021, arXiv 2110.13363)."""
    n = need_whole("exponential", "n", n)
    offsets = 1 << np.arange((n - 1).bit_length())
    targets = np.sort((np.arange(n)[:, None] + offsets) % n, axis=1)
    indptr = np.arange(n + 1, dtype=np.int64) * offsets.size
    return Graph(n, indptr, targets.astype(np.int32).ravel(), directed=True)
