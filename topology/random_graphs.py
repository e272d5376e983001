"""Random graphs: simple, the same for the same seed, in time and memory of the order of their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topology.errors import need, need_whole
from topology.graphs import Graph, complete, from_keys, join

Nodes = NDArray[np.int64]


def random_regular(n: int, degree: int, *, seed: int = 0) -> Graph:
    """A random graph in which every node has the same degree; connected if the degree is 2 or more.

    A random ring plus a random (degree - 2)-regular graph is contiguous to the uniform model for degrees of 3 and
    more: what holds almost surely for one holds for the other (Wormald 1999, Models of random regular graphs). It is
    connected by construction. A degree above (n - 1) / 2 is drawn as the complement.
    """
    n = need_whole("random_regular", "n", n)
    degree = need_whole("random_regular", "degree", degree, 0)
    seed = need_whole("random_regular", "seed", seed, 0)
    need(n * degree % 2 == 0 and degree < n, "random_regular needs n*degree even and degree < n", n=n, degree=degree)
    if degree > (n - 1) / 2 and n > 2:
        return _complement(random_regular(n, n - 1 - degree, seed=seed))
    rng = np.random.default_rng(seed)
    while (edges := _ring_and_pairing(rng, n, degree)) is None:
        pass
    return join(n, (edges[:, 0], edges[:, 1]))


def erdos_renyi(n: int, p: float, *, seed: int = 0) -> Graph:
    """Every pair of nodes is an edge with probability p, independently. It may fall apart: see `is_connected`.

    Gaps between successive edges, in the order of the pairs, are geometric (Batagelj and Brandes 2005).
    """
    n = need_whole("erdos_renyi", "n", n)
    seed = need_whole("erdos_renyi", "seed", seed, 0)
    need(0 <= p <= 1, "erdos_renyi needs 0 <= p <= 1", p=p)
    pairs = n * (n - 1) // 2
    rng = np.random.default_rng(seed)
    position = np.full(1, -1)
    while p > 0 and position[-1] < pairs:
        batch = int((pairs - position[-1]) * p * 1.01) + 16
        gaps = np.minimum(rng.geometric(p, batch), pairs + 1)
        position = np.concatenate([position, position[-1] + np.cumsum(gaps)])
    position = position[1:][position[1:] < pairs]
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.arange(n - 1, 0, -1))])
    row = np.searchsorted(first, position, side="right") - 1
    return join(n, (row, row + 1 + position - first[row]))


def small_world(n: int, k: int, p: float, *, seed: int = 0) -> Graph:
    """Watts-Strogatz: a ring in which each node is joined to its k nearest, each edge rewired with probability p.

    Rewiring i - j keeps i and draws another end anew, uniformly among the nodes that i is not joined to. An edge for
    which no free end turns up stays. Large p may make it fall apart: see `is_connected`.
    """
    n = need_whole("small_world", "n", n)
    k = need_whole("small_world", "k", k, 0)
    seed = need_whole("small_world", "seed", seed, 0)
    need(k % 2 == 0 and k < n, "small_world needs k even and k < n", n=n, k=k)
    need(0 <= p <= 1, "small_world needs 0 <= p <= 1", p=p)
    rng = np.random.default_rng(seed)
    node, step = np.meshgrid(np.arange(n), np.arange(1, k // 2 + 1), indexing="ij")
    edges = np.stack([node, (node + step) % n], axis=-1).reshape(-1, 2)
    rewired = np.flatnonzero(rng.random(len(edges)) < p)
    for _ in range(64):
        if not rewired.size:
            break
        ends = np.stack([edges[rewired, 0], rng.integers(n, size=rewired.size)], axis=1)
        free = _admissible(n, edges, ends[:, None])
        edges[rewired[free]] = ends[free]
        rewired = rewired[~free]
    return join(n, (edges[:, 0], edges[:, 1]))


def _complement(graph: Graph) -> Graph:
    every = complete(graph.n)
    taken = graph.sources * np.int64(graph.n) + graph.indices
    keys = every.sources * np.int64(graph.n) + every.indices
    return from_keys(graph.n, np.setdiff1d(keys, taken, assume_unique=True))


def _ring_and_pairing(rng: np.random.Generator, n: int, degree: int) -> Nodes | None:
    """Edges (n * degree / 2, 2) of a simple regular graph, or None where the pairing could not be mended."""
    order = rng.permutation(n)
    ring = np.stack([order, np.roll(order, 1)], axis=1) if degree >= 2 else np.empty((0, 2), np.int64)
    stubs = np.repeat(np.arange(n), degree - 2 if degree >= 2 else degree)
    edges = np.concatenate([ring, rng.permutation(stubs).reshape(-1, 2)])
    clash = (edges[:, 0] == edges[:, 1]) | _repeats(_keys(n, edges))  # never in the ring, which comes first
    for _ in range(1000):
        bad = np.flatnonzero(clash)
        if not bad.size:
            return edges
        # Switching u-v and x-y to u-x and v-y keeps all degrees.
        good = rng.integers(len(ring), len(edges), bad.size)
        switched = np.stack([edges[bad], edges[good]], axis=2)
        accept = ~clash[good] & ~_repeats(good) & _admissible(n, edges, switched)
        edges[bad[accept]], edges[good[accept]] = switched[accept, 0], switched[accept, 1]
        clash[bad[accept]] = False
    return None


def _keys(n: int, edges: NDArray[np.integer[Any]]) -> Nodes:
    """One number for each undirected edge: (..., 2) -> (...)."""
    return np.asarray(edges.min(axis=-1) * np.int64(n) + edges.max(axis=-1))


def _repeats(keys: Nodes) -> NDArray[np.bool_]:
    """True at every key that occurred before, (E,)."""
    repeats = np.ones(keys.size, bool)
    repeats[np.unique(keys, return_index=True)[1]] = False
    return repeats


def _admissible(n: int, edges: Nodes, proposals: Nodes) -> NDArray[np.bool_]:
    """Which proposals (P, c, 2), of c new edges each, can all be added to `edges` (E, 2) at once: (P,)."""
    count, per = proposals.shape[:2]
    keys = _keys(n, proposals).ravel()
    loop = (proposals[..., 0] == proposals[..., 1]).ravel()
    fine = ~(loop | np.isin(keys, _keys(n, edges)) | _repeats(keys))
    return np.asarray(fine.reshape(count, per).all(axis=1), dtype=bool)
