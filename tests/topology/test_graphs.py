"""Graphs and their families."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology import (
    Graph,
    TopologyError,
    algebraic_connectivity,
    base_graph,
    complete,
    contraction_per_exchange,
    erdos_renyi,
    exchange_gap,
    exponential,
    from_edges,
    from_networkx,
    grid,
    hypercube,
    incomplete_hypercube,
    metropolis_hastings,
    path,
    random_regular,
    ring,
    rounds_to,
    small_world,
    spectral_gap,
    star,
    torus,
)

quick = settings(max_examples=60)


def assert_well_formed(graph: Graph) -> None:
    assert graph.indptr.dtype == np.int64 and graph.indices.dtype == np.int32
    assert graph.indptr.shape == (graph.n + 1,) and graph.indptr[-1] == graph.indices.size
    keys = graph.sources.astype(np.int64) * graph.n + graph.indices
    assert (np.diff(keys) > 0).all(), "ascending rows, no multiple edges"
    assert not (graph.sources == graph.indices).any(), "no loops"
    if not graph.directed:
        assert set(keys) == set(graph.indices.astype(np.int64) * graph.n + graph.sources), "symmetric"


SAME_AS_NETWORKX = {
    "ring": (ring(7), nx.cycle_graph(7)),
    "path": (path(7), nx.path_graph(7)),
    "star": (star(7), nx.star_graph(6)),
    "complete": (complete(7), nx.complete_graph(7)),
    "grid": (grid(3, 5), nx.grid_2d_graph(3, 5)),
    "torus": (torus(3, 5), nx.grid_2d_graph(3, 5, periodic=True)),
    "hypercube": (hypercube(4), nx.hypercube_graph(4)),
    "exponential": (exponential(11), nx.DiGraph((i, (i + 2**k) % 11) for i in range(11) for k in range(4))),
}


@pytest.mark.parametrize("family", SAME_AS_NETWORKX)
def test_family_is_the_one_networkx_knows(family):
    ours, theirs = SAME_AS_NETWORKX[family]
    assert_well_formed(ours)
    # Row-major numbering is networkx's sorted order of coordinates.
    theirs = nx.relabel_nodes(theirs, {node: i for i, node in enumerate(sorted(theirs))})
    edges = {tuple(edge) if ours.directed else tuple(sorted(edge)) for edge in theirs.edges()}
    assert {tuple(edge) for edge in ours.edges.tolist()} == edges
    assert ours.is_connected


@pytest.mark.parametrize(
    ("graph", "edges"),
    [(ring(1), 0), (ring(2), 1), (torus(2, 2), 4), (torus(1, 5), 5), (torus(2, 3), 9), (grid(1, 1), 0)],
)
def test_small_members_stay_simple(graph, edges):
    assert_well_formed(graph)
    assert len(graph.edges) == edges


@pytest.mark.parametrize("n", range(1, 70))
def test_incomplete_hypercube_is_connected(n):
    graph = incomplete_hypercube(n)
    assert_well_formed(graph)
    assert graph.is_connected


@quick
@given(st.data(), st.booleans())
def test_edges_round_trip(data, directed):
    n = data.draw(st.integers(2, 12))
    pairs = [(i, j) for i in range(n) for j in range(n) if (i != j if directed else i < j)]
    edges = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    graph = from_edges(n, edges, directed=directed)
    assert_well_formed(graph)
    assert [tuple(edge) for edge in graph.edges.tolist()] == sorted(edges)
    again = from_networkx(graph.to_networkx())
    assert again.directed == directed
    assert again.indptr.tolist() == graph.indptr.tolist() and again.indices.tolist() == graph.indices.tolist()
    for i in range(n):
        assert graph.neighbors(i, 5).tolist() == sorted(
            {b for a, b in edges if a == i} | {a for a, b in edges if b == i and not directed}
        )


def test_arrays_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        ring(5).neighbors(0)[0] = 3


@quick
@given(st.integers(1, 40), st.integers(0, 39), st.integers(0, 2**32))
def test_random_regular_is_simple_regular_and_connected(n, degree, seed):
    if n * degree % 2 or degree >= n:
        with pytest.raises(TopologyError, match="needs n\\*degree even and degree < n"):
            random_regular(n, degree, seed=seed)
        return
    graph = random_regular(n, degree, seed=seed)
    assert_well_formed(graph)
    assert (graph.degree == degree).all()
    assert graph.is_connected or degree < 2


@quick
@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32))
def test_erdos_renyi_is_simple(n, p, seed):
    assert_well_formed(erdos_renyi(n, p, seed=seed))


def test_erdos_renyi_has_binomially_many_edges():
    """Mean of 200 graphs within 4 standard errors of p n (n-1) / 2; every pair is hit alike (chi-square, 99.9%)."""
    from scipy.stats import chi2

    n, p, times = 12, 0.3, 200
    hits = sum(erdos_renyi(n, p, seed=seed).to_networkx().edges.__len__() for seed in range(times))
    pairs = n * (n - 1) // 2
    assert abs(hits - times * pairs * p) < 4 * np.sqrt(times * pairs * p * (1 - p))
    count = np.zeros((n, n))
    for seed in range(times):
        np.add.at(count, tuple(erdos_renyi(n, p, seed=seed).edges.T), 1)
    upper = count[np.triu_indices(n, 1)]
    assert ((upper - times * p) ** 2 / (times * p * (1 - p))).sum() < chi2.ppf(0.999, pairs)


@pytest.mark.parametrize(("p", "edges"), [(0.0, 0), (1.0, 45)])
def test_erdos_renyi_at_its_ends(p, edges):
    assert len(erdos_renyi(10, p).edges) == edges


@quick
@given(st.integers(1, 40), st.integers(0, 10), st.floats(0, 1), st.integers(0, 2**32))
def test_small_world_keeps_the_number_of_edges(n, half, p, seed):
    if 2 * half >= n:
        return
    graph = small_world(n, 2 * half, p, seed=seed)
    assert_well_formed(graph)
    assert len(graph.edges) == n * half
    if p == 0 and half == 1 and n > 2:
        assert graph.indices.tolist() == ring(n).indices.tolist()


def test_small_world_rewires_the_share_asked_for():
    """Of 20,000 edges, 10% move: within 4 standard deviations (Watts and Strogatz 1998)."""
    lattice, moved = small_world(10_000, 4, 0.0), small_world(10_000, 4, 0.1)
    kept = np.isin(moved.edges @ [10_000, 1], lattice.edges @ [10_000, 1]).sum()
    assert abs(kept - 18_000) < 4 * np.sqrt(20_000 * 0.1 * 0.9)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: random_regular(100, 4, seed=seed),
        lambda seed: erdos_renyi(100, 0.1, seed=seed),
        lambda seed: small_world(100, 4, 0.3, seed=seed),
    ],
)
def test_same_seed_same_graph(make):
    assert make(3).indices.tolist() == make(3).indices.tolist()
    assert make(3).indices.tolist() != make(4).indices.tolist()


def test_a_million_nodes_build():
    graph = random_regular(1_000_000, 4)
    assert (graph.degree == 4).all() and graph.is_connected
    assert abs(erdos_renyi(1_000_000, 8e-6).degree.mean() - 8) < 0.02
    assert (ring(1_000_000).degree == 2).all()


def test_disconnected_is_seen():
    assert not from_edges(4, [(0, 1), (2, 3)]).is_connected
    assert not from_edges(2, [(0, 1)], directed=True).is_connected, "1 does not reach 0"


@pytest.mark.parametrize("kind", [list, set, iter, np.array, lambda edges: zip(*zip(*edges, strict=True), strict=True)])
def test_edges_come_in_anything_that_holds_pairs(kind):
    assert from_edges(4, kind([(0, 1), (2, 1), (3, 0)])).edges.tolist() == [[0, 1], [0, 3], [1, 2]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: random_regular(5, 3), r"needs n\*degree even and degree < n: got n=5, degree=3"),
        (lambda: ring(0), "ring needs a whole number n >= 1: got n=0"),
        (lambda: ring(5.0), "ring needs a whole number n >= 1: got n=5.0"),
        (lambda: torus(4, 0), "torus needs a whole number cols >= 1: got cols=0"),
        (lambda: complete(50_000), r"up to 20000 nodes; this one would take 10.0 GB: got n=50000"),
        (lambda: hypercube(31), "dimension 30: got dimension=31"),
        (lambda: erdos_renyi(5, 1.5), "0 <= p <= 1: got p=1.5"),
        (lambda: erdos_renyi(5, float("nan")), "0 <= p <= 1: got p=nan"),
        (lambda: erdos_renyi(5, 0.5, seed=-1), "whole number seed >= 0: got seed=-1"),
        (lambda: small_world(5, 3, 0.1), "k even and k < n: got n=5, k=3"),
        (lambda: small_world(5, 2, -0.1), "0 <= p <= 1: got p=-0.1"),
        (lambda: from_edges(3, [(0, 3)]), r"nodes are 0 .. 2: got the edge \(0, 3\)"),
        (lambda: from_edges(3, [(1, 1)]), r"no loops: got the edge \(1, 1\)"),
        (lambda: from_edges(3, [(0, 1), (1, 0)]), r"each edge once: got \(0, 1\) twice"),
        (lambda: from_edges(3, [(0, 1, 2)]), r"\(E, 2\) array of nodes: got shape=\(1, 3\)"),
        (lambda: from_edges(3, [(0.0, 1.0)]), "whole numbers: got dtype='float64'"),
        (lambda: ring(5).neighbors(-1), r"one of 0 .. 4: got i=-1"),
        (lambda: from_edges(3, [(0, 1), (2,)]), r"\(E, 2\) array of nodes: got list \[\(0, 1\), \(2,\)\]"),
        (lambda: from_edges(3, 5), r"\(E, 2\) array of nodes: got int 5"),
        (
            lambda: Graph(3, [0, 1], [1]),
            r"3 nodes are 4 ascending numbers from 0 to 1, .*: got indptr=2, ends=\[0, 1\]",
        ),
        (lambda: Graph(2, [0, 2, 1], [1]), "2 nodes are 3 ascending numbers from 0 to 1"),
        (lambda: Graph(2, [0, 1, 2], [0.5, 0.5]), "indices are whole numbers in a row"),
        (lambda: metropolis_hastings(nx.path_graph(3)), r"metropolis_hastings needs a Graph, .*from_networkx\(graph\)"),
        (lambda: metropolis_hastings(base_graph(4)), "needs a Graph.*: got graph='Schedule'"),
        (lambda: contraction_per_exchange("ring", 0.5), "contraction_per_exchange needs a Graph.*: got graph='str'"),
        (lambda: exchange_gap(base_graph(4), 0.5), "exchange_gap needs a Graph"),
        (lambda: algebraic_connectivity(None), "algebraic_connectivity needs a Graph"),
        (lambda: spectral_gap([["a"]]), "real numbers: got dtype='str32'"),
        (lambda: rounds_to("0.1", 0.5), "factor lies in 0 .. 1, 0 excluded: got factor='0.1'"),
    ],
)
def test_bad_arguments_say_what_was_expected_and_what_came(wrong, message):
    with pytest.raises(TopologyError, match=message):
        wrong()
