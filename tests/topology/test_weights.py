"""Metropolis-Hastings weights and the check of double stochasticity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from topology import (
    TopologyError,
    check_doubly_stochastic,
    erdos_renyi,
    exponential,
    from_edges,
    metropolis_hastings,
    overlay,
    star,
    torus,
)

FAMILIES = [
    "ring",
    "path",
    "star",
    "complete",
    "grid",
    "torus",
    "hypercube",
    "exponential",
    "regular:4",
    "erdos-renyi:0.2",
]


@settings(max_examples=80)
@given(st.sampled_from([*FAMILIES, "small-world:4:0.3"]), st.integers(1, 60), st.integers(0, 1000))
def test_metropolis_hastings_is_doubly_stochastic(family, n, seed):
    graph = overlay(family, n, seed)
    W = metropolis_hastings(graph)
    assert isinstance(W, csr_array) and W.shape == (n, n)
    check_doubly_stochastic(W, 1e-13)
    if not graph.directed:
        assert np.abs((W - W.T).toarray()).max() == 0
    off_diagonal = W.toarray() * (1 - np.eye(n))
    assert np.argwhere(off_diagonal).tolist() == np.stack([graph.sources, graph.indices], axis=1).tolist()


def test_weights_are_one_over_one_plus_the_larger_degree():
    graph = erdos_renyi(20, 0.3)
    W, degree = metropolis_hastings(graph, dense=True), graph.degree
    assert isinstance(W, np.ndarray)
    for i, j in graph.edges:
        assert W[i, j] == W[j, i] == 1 / (1 + max(degree[i], degree[j]))


def test_row_of_the_mixing_matrix_is_what_the_node_takes_from():
    W = metropolis_hastings(exponential(8), dense=True)
    assert np.flatnonzero(W[3]).tolist() == [3, 4, 5, 7]


@pytest.mark.parametrize("arcs", [[(0, 1), (1, 2), (2, 0), (0, 2)], [(0, 1), (1, 0), (2, 0)]])
def test_irregular_digraph_is_refused(arcs):
    with pytest.raises(TopologyError, match="all in- and out-degrees equal: got least="):
        metropolis_hastings(from_edges(3, arcs, directed=True))


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.ones((2, 3)), r"square: got shape=\(2, 3\)"),
        (np.array([[2.0, -1.0], [-1.0, 2.0]]), "no negative entry: got least=-1.0"),
        (np.array([[np.nan, 1.0], [1.0, 0.0]]), "finite: got bad=1"),
        (np.array([[0.5, 0.5, 0], [0.2, 0.5, 0.5], [0.3, 0, 0.5]]), "got 1.2 in row 1"),
        (np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0.3, 0.7]]), "got 1.5 in column 0"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_check_names_the_worst_place(W, message, kind):
    with pytest.raises(TopologyError, match=message):
        check_doubly_stochastic(kind(W))


def test_check_keeps_to_its_tolerance():
    W = metropolis_hastings(star(5), dense=True)
    W[0, 0] += 1e-6
    check_doubly_stochastic(W, 1e-5)
    with pytest.raises(TopologyError, match="in row 0"):
        check_doubly_stochastic(W, 1e-7)


def test_the_public_names_work_together():
    """A matrix of a graph, a schedule and a random graph, as a user makes them."""
    from topology import base_graph, random_regular, spectral_gap

    W = metropolis_hastings(torus(4, 4))
    assert W.shape == (16, 16) and spectral_gap(W) == pytest.approx(0.4, abs=1e-12)
    schedule = base_graph(6, k=1)
    assert len(schedule) == 4 and schedule[0].shape == (6, 6) and schedule.neighbors(0, 0).size <= 1
    graph = random_regular(100, 4, seed=0)
    assert graph.n == 100 and graph.indptr[-1] == graph.indices.size == 400 and len(graph.edges) == 200
    assert graph.neighbors(7).size == graph.degree[7] == 4 and graph.to_networkx().number_of_edges() == 200
