"""Topologies that change from round to round and come back to the start after one period."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topology.errors import TopologyError, need, need_whole
from topology.graphs import Graph, from_keys
from topology.weights import mixing_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Nodes = NDArray[np.int64]
Links = tuple[Nodes, float]  # edges (E, 2) and the weight each of them has
COLUMN_TOLERANCE = 1e-9  # in a million rounds the mean moves by no more than a thousandth of the disagreement
ROW_TOLERANCE = 1e-6  # no error of a row moves the mean: a node keeps what its neighbors leave, if -1e-6 of itself


@dataclass(frozen=True, eq=False)
class Schedule:
    """One period of rounds: in round r a node takes weights[r] (arcs,) of its neighbors in graphs[r], keeps the rest.

    Raises TopologyError unless every round's matrix is doubly stochastic: otherwise mixing would move the mean.
    """

    n: int
    graphs: tuple[Graph, ...] = field(repr=False)
    weights: tuple[NDArray[np.float64], ...] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", need_whole("Schedule", "n", self.n))
        for name in ("graphs", "weights"):
            given = getattr(self, name)
            if isinstance(given, str) or not hasattr(given, "__iter__"):
                raise TopologyError(f"Schedule({name}=...) is a tuple, one for each round: got {given!r:.40}")
            object.__setattr__(self, name, tuple(given))
        if strange := [type(each).__name__ for each in self.graphs if not isinstance(each, Graph)]:
            raise TopologyError(f"the graphs of a Schedule are Graphs, such as from_networkx(graph): got {strange[0]}")
        try:
            object.__setattr__(self, "weights", tuple(np.asarray(weights, np.float64) for weights in self.weights))
        except (TypeError, ValueError):
            raise TopologyError(
                "the weights of a Schedule are numbers, one for each arc of the round's graph"
            ) from None
        rounds = len(self.graphs)
        need(rounds > 0, "a Schedule has at least one round", graphs=rounds)
        need(
            len(self.weights) == rounds, f"a Schedule of {rounds} graphs has as many weights", weights=len(self.weights)
        )
        for r, (graph, weights) in enumerate(zip(self.graphs, self.weights, strict=True)):
            need(graph.n == self.n, f"every graph of this Schedule has {self.n} nodes", round=r, nodes=graph.n)
            arcs = graph.indices.shape
            need(weights.shape == arcs, f"round {r} has {arcs[0]} arcs, each with a weight", shape=weights.shape)
            _need_doubly_stochastic(r, graph, weights)

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, r: int) -> csr_array:
        """The doubly stochastic mixing matrix of round r, csr_array (n, n); r wraps."""
        place = index(r) % len(self)
        return mixing_matrix(self.graphs[place], self.weights[place])

    def __iter__(self) -> Iterator[csr_array]:
        """The matrices of one period."""
        return (self[r] for r in range(len(self)))

    def neighbors(self, i: int, r: int) -> NDArray[np.int32]:
        """The nodes that i meets in round r, ascending, maybe none; r wraps."""
        return self.graphs[index(r) % len(self)].neighbors(i)

    def begins_with(self, i: int, r: int) -> NDArray[np.int32]:
        """Those neighbors of i with one of whom it begins an exchange in round r, ascending, maybe none.

        Of two that meet each other alone, one begins: a second exchange between them would change nothing.
        """
        found = self.neighbors(i, r)
        return found[begins(index(i), found, index(r) // len(self))] if self.pairs_up(r) else found

    def pairs_up(self, r: int) -> bool:
        """Whether in round r nodes meet in pairs, so that an exchange of each pair is the whole round; r wraps."""
        graph = self.graphs[index(r) % len(self)]
        return not graph.directed and bool(graph.degree.max(initial=0) <= 1)


def begins(node: Any, other: Any, period: Any) -> Any:
    """Whether of a pair this node begins the exchange: the lower one, and in every other period the higher one.

    Numbers or arrays. period: how many the schedule has been through.
    """
    return (node < other) == (period % 2 == 0)


def _need_doubly_stochastic(r: int, graph: Graph, weights: NDArray[np.float64]) -> None:
    """Raise TopologyError unless round r's matrix is. Without SciPy, which an agent need not load.

    Rows sum to 1 by what a node keeps; that is no less than 0 unless its neighbors' weights sum to more than 1.
    """
    wrong = ~((weights >= 0) & (weights < np.inf))
    need(not wrong.any(), "weights are finite numbers of at least 0", round=r, weight=weights[wrong][:1].tolist())
    rows = np.bincount(graph.sources, weights, graph.n)
    columns = 1.0 - rows + np.bincount(graph.indices, weights, graph.n)
    row, column = int(rows.argmax()), int(abs(columns - 1).argmax())
    if rows[row] > 1 + ROW_TOLERANCE:
        fault = f"the neighbors in row {row} sum to {rows[row]:.9g}, above 1"
    elif abs(columns[column] - 1) > COLUMN_TOLERANCE:
        fault = f"column {column} sums to {columns[column]:.9g}"
    else:
        return
    raise TopologyError(
        f"every round of a Schedule is doubly stochastic, or mixing moves the mean: in round {r} {fault}; "
        "take metropolis_hastings(graph), or give both arcs of an edge the same weight"
    )


def one_peer_exponential(n: int) -> Schedule:
    """In round r, i takes half of itself and half of i + 2^(r mod ceil(log2 n)), mod n.

    Exact consensus after one period if n is a power of two, never otherwise (Ying et al. 2021, arXiv 2110.13363).
    """
    n = need_whole("one_peer_exponential", "n", n)
    node = np.arange(n) * n
    sources = ((np.arange(n) + (1 << k)) % n for k in range((n - 1).bit_length()))
    graphs = tuple(from_keys(n, node + other, directed=True) for other in sources)
    return _halves(n, graphs or (from_keys(n, np.empty(0, np.int64)),))


def random_matching(n: int, rounds: int, *, seed: int = 0) -> Schedule:
    """In each round all nodes are paired at random, with weight 1/2; one sits out if n is odd."""
    n = need_whole("random_matching", "n", n)
    rounds = need_whole("random_matching", "rounds", rounds)
    seed = need_whole("random_matching", "seed", seed, 0)
    rng = np.random.default_rng(seed)
    graphs = []
    for _ in range(rounds):
        pairs = rng.permutation(n)[: n // 2 * 2].reshape(-1, 2)
        graphs.append(_weighted(n, [(pairs, 0.5)])[0])
    return _halves(n, tuple(graphs))


def base_graph(n: int, k: int = 1) -> Schedule:
    """Base-(k+1) graph: exact consensus on any n nodes in one period, each with at most k neighbors a round.

    At most 2 log_{k+1}(n) + 2 rounds (Takezawa et al. 2023, arXiv 2305.11420, Algorithm 3). With n = p q, where p
    has only prime factors up to k + 1: either the simple graph on all n, or p simple graphs on q nodes each
    followed by q hyper-hypercubes across them; whichever is shorter.
    """
    n = need_whole("base_graph", "n", n)
    k = need_whole("base_graph", "k", k)
    p, q = 1, n
    for factor in range(2, min(n, k + 1) + 1):
        while q % factor == 0:
            p, q = p * factor, q // factor
    blocks = np.arange(n).reshape(p, q)
    split = _simple_base(blocks, k + 1) + _hyper_hypercube(blocks.T, k + 1)
    whole = _simple_base(blocks.reshape(1, n), k + 1)
    rounds = whole if len(whole) < len(split) else split
    graphs, weights = zip(*(_weighted(n, links) for links in rounds or [[]]), strict=True)
    return Schedule(n, graphs, weights)


def _hyper_hypercube(blocks: Nodes, most: int) -> list[list[Links]]:
    """Rounds that average each row of blocks (B, m) exactly, in cliques of at most `most` (Algorithm 1).

    A node's number in the mixed radix of m's factors: round l joins those that differ in digit l alone.
    """
    m = blocks.shape[1]
    rounds, stride = [], 1
    for factor in _factors(m, most) or ():
        digit = blocks.reshape(-1, m // (stride * factor), factor, stride)
        rounds.append([_cliques(digit.swapaxes(2, 3).reshape(-1, factor))])
        stride *= factor
    return rounds


def _simple_base(blocks: Nodes, most: int) -> list[list[Links]]:
    """Rounds that average each row of blocks (B, n) exactly, any n, degree below `most` (Algorithm 2).

    n = a_1 most^p_1 + a_2 most^p_2 + ...: every part V_l first reaches its own mean. Then, part by part, each node of
    the parts that follow meets one node in each of the a_l sub-blocks of V_l, with weights that give every
    sub-block, and all that follows, the mean of the whole; the sub-blocks average within. Nodes with nothing to do
    repeat a round among equals, which spreads what training adds meanwhile.
    """
    copies, n = blocks.shape
    if _factors(n, most) is not None:
        return _hyper_hypercube(blocks, most)
    size = 1
    while size * most <= n:
        size *= most
    lead = len(_hyper_hypercube(blocks[:, : n // size * size], most))
    rounds: list[list[Links]] = [[] for _ in range(lead + 1 + len(_factors(size, most) or ()))]
    bridge, rest = lead, blocks
    while rest.shape[1]:
        while size > rest.shape[1]:
            size //= most
        a = rest.shape[1] // size
        part, rest = rest[:, : a * size].reshape(copies, a, size), rest[:, a * size :]
        tail = rest.shape[1]
        first = _hyper_hypercube(part.reshape(copies, -1), most)
        within = _hyper_hypercube(part.reshape(-1, size), most) or first
        for r in range(lead if first else 0):
            rounds[r] += first[r % len(first)]
        partners = np.broadcast_to(rest[:, None], (copies, a, tail))
        rounds[bridge].append(
            (np.stack([partners, part[..., :tail]], axis=-1).reshape(-1, 2), size / (a * size + tail))
        )
        spare = part[..., tail:].reshape(copies, -1)
        full = spare.shape[1] // most * most
        rounds[bridge] += [_cliques(spare[:, :full].reshape(-1, most)), _cliques(spare[:, full:])]
        bridge += 1
        for r in range(bridge, len(rounds) if within else 0):
            rounds[r] += within[(r - bridge) % len(within)]
    return rounds


@lru_cache(maxsize=1024)
def _factors(n: int, most: int) -> tuple[int, ...] | None:
    """The fewest factors of n, each in 2 .. most; None if n has a larger prime factor."""
    if n == 1:
        return ()
    divisors = (factor for factor in range(min(n, most), 1, -1) if n % factor == 0)
    found = [(factor, *rest) for factor in divisors if (rest := _factors(n // factor, most)) is not None]
    return min(found, key=len, default=None)


def _cliques(groups: Nodes) -> Links:
    """All edges within each row of groups (G, c), with the weight 1 / c that averages the row at once."""
    c = groups.shape[1]
    a, b = np.triu_indices(c, 1)
    return np.stack([groups[:, a], groups[:, b]], axis=-1).reshape(-1, 2), 1 / max(c, 1)


def _weighted(n: int, links: list[Links]) -> tuple[Graph, NDArray[np.float64]]:
    """The undirected graph of disjoint links, and the weight of each of its arcs."""
    edges = np.concatenate([np.empty((0, 2), np.int64), *(edges for edges, _ in links)])
    weight = np.concatenate([np.empty(0), *(np.full(len(edges), weight) for edges, weight in links)])
    keys = np.concatenate([edges[:, 0] * n + edges[:, 1], edges[:, 1] * n + edges[:, 0]])
    order = np.argsort(keys)
    return from_keys(n, keys[order]), np.tile(weight, 2)[order]


def _halves(n: int, graphs: tuple[Graph, ...]) -> Schedule:
    """Every neighbor with weight 1/2; one number in memory, whatever n."""
    return Schedule(n, graphs, tuple(np.broadcast_to(0.5, graph.indices.shape) for graph in graphs))
