"""Spectra: published values, closed forms against eigenvalues, dense against iterative."""

from math import cos, inf, log, pi

import networkx as nx
import numpy as np
import pytest

from topology import (
    TopologyError,
    algebraic_connectivity,
    complete,
    complete_rho,
    contraction_per_exchange,
    erdos_renyi,
    exchange_gap,
    exponential,
    exponential_rho,
    from_edges,
    grid,
    hypercube,
    hypercube_rho,
    metropolis_hastings,
    path,
    path_rho,
    random_regular,
    rho,
    ring,
    ring_rho,
    rounds_to,
    small_world,
    spectral_gap,
    star,
    star_rho,
    torus,
    torus_rho,
)

PUBLISHED = [
    (ring(16), 0.94925),
    (ring(100), 0.99868),
    (torus(4, 4), 0.60),
    (torus(8, 8), 0.88284),
    (torus(10, 10), 0.92361),
    (exponential(16), 0.60),
    (exponential(64), 0.71429),
    (grid(4, 4), 0.86864),
    (grid(8, 8), 0.96770),
    (grid(10, 10), 0.97947),
    (path(16), 0.98719),
    (complete(16), 0.0),
    (star(16), 1 - 1 / 16),
]


@pytest.mark.parametrize(("graph", "value"), PUBLISHED)
def test_rho_has_the_published_value(graph, value):
    """docs/theory.md, section 1."""
    W = metropolis_hastings(graph)
    assert rho(W) == pytest.approx(value, abs=6e-6)
    assert spectral_gap(W.toarray()) == pytest.approx(1 - value, abs=6e-6)


def brute_rho(graph):
    values = np.abs(np.linalg.eigvals(metropolis_hastings(graph, dense=True)))
    return np.sort(values)[-2] if graph.n > 1 else 0.0


CLOSED_FORMS = [
    *[(ring(n), ring_rho(n)) for n in [1, 2, 3, 4, 5, 6, 9, 16, 31]],
    *[(path(n), path_rho(n)) for n in [1, 2, 3, 4, 5, 16, 31]],
    *[(star(n), star_rho(n)) for n in [1, 2, 3, 4, 17]],
    *[(complete(n), complete_rho(n)) for n in [1, 2, 9]],
    *[(hypercube(d), hypercube_rho(d)) for d in range(7)],
    *[(exponential(n), exponential_rho(n)) for n in range(2, 70, 6)],
    *[(torus(rows, cols), torus_rho(rows, cols)) for rows in range(1, 8) for cols in range(1, 10)],
]


@pytest.mark.parametrize(("graph", "value"), CLOSED_FORMS)
def test_closed_form_matches_the_eigenvalues(graph, value):
    assert value == pytest.approx(brute_rho(graph), abs=1e-7)
    assert value == pytest.approx(rho(metropolis_hastings(graph)), abs=1e-7)


@pytest.mark.parametrize("n", [5, 7, 9, 33, 63])
def test_odd_exponential_exceeds_the_even_gap(n):
    """docs/theory.md, section 1 (arXiv 2110.13363)."""
    assert spectral_gap(metropolis_hastings(exponential(n))) > 2 / (1 + (n - 1).bit_length())


@pytest.mark.parametrize(
    ("graph", "value"),
    [
        (ring(10_000), ring_rho(10_000)),
        (torus(30, 40), torus_rho(30, 40)),
        (path(1_000), path_rho(1_000)),
        (star(1_000), star_rho(1_000)),
        (complete(600), 0.0),
        (hypercube(10), hypercube_rho(10)),
        (exponential(1_000), exponential_rho(1_000)),
    ],
)
def test_iteration_finds_the_closed_form(graph, value):
    W = metropolis_hastings(graph)
    assert rho(W) == pytest.approx(value, abs=1e-9)
    assert rho(W) == rho(W), "deterministic"


@pytest.mark.parametrize(
    "graph", [random_regular(700, 4), erdos_renyi(700, 0.02), small_world(700, 4, 0.05), grid(20, 30), exponential(701)]
)
def test_iteration_agrees_with_dense_eigenvalues(graph):
    assert rho(metropolis_hastings(graph)) == pytest.approx(brute_rho(graph), abs=1e-9)


@pytest.mark.parametrize("n", [6, 600])
def test_a_negative_eigenvalue_counts_by_its_modulus(n):
    """An even ring without own weights swaps its two halves for ever: eigenvalues 1 and -1."""
    W = np.zeros((n, n))
    W[np.arange(n), (np.arange(n) + 1) % n] = W[np.arange(n), np.arange(n) - 1] = 0.5
    assert rho(W) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    "graph", [from_edges(4, [(0, 1), (2, 3)]), from_edges(600, [(i, i + 1) for i in range(0, 600, 2)])]
)
def test_disconnected_never_mixes(graph):
    assert rho(metropolis_hastings(graph)) == pytest.approx(1.0, abs=1e-9)
    assert algebraic_connectivity(graph) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "graph", [ring(9), grid(4, 5), random_regular(20, 3), star(8), complete(7), erdos_renyi(40, 0.2)]
)
def test_algebraic_connectivity_matches_networkx(graph):
    laplacian = nx.laplacian_matrix(graph.to_networkx()).toarray().astype(float)
    assert algebraic_connectivity(graph) == pytest.approx(np.linalg.eigvalsh(laplacian)[1], abs=1e-9)


def test_algebraic_connectivity_of_a_long_ring():
    assert algebraic_connectivity(ring(10_000)) == pytest.approx(2 - 2 * cos(2 * pi / 10_000), rel=1e-6)


@pytest.mark.parametrize("graph", [ring(5), ring(8), complete(6), torus(3, 4), hypercube(3), random_regular(12, 3)])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 0.9])
def test_contraction_is_the_expected_one_in_the_slowest_direction(graph, alpha):
    """docs/theory.md, section 5: the largest eigenvalue, but for the mean's, of the exact E[W_e' W_e]."""
    expected = np.zeros((graph.n, graph.n))
    for i, j in graph.edges:
        W = np.eye(graph.n)
        W[[i, j], [i, j]] = alpha
        W[[i, j], [j, i]] = 1 - alpha
        expected += W.T @ W / len(graph.edges)
    slowest = np.linalg.eigvalsh(expected - 1 / graph.n)[-1]
    assert contraction_per_exchange(graph, alpha) == pytest.approx(slowest, abs=1e-12)


@pytest.mark.parametrize(("graph", "tight"), [(complete(6), True), (ring(8), False), (torus(3, 3), False)])
def test_contraction_bounds_the_rate_of_many_exchanges(graph, tight):
    """The rate is the spectral radius of X -> E[W_e X W_e'] on centered X; only a complete graph attains the bound."""
    center = np.eye(graph.n) - 1 / graph.n
    step = np.zeros((graph.n**2, graph.n**2))
    for i, j in graph.edges:
        W = center.copy()
        W[[i, j]] = (center[i] + center[j]) / 2
        step += np.kron(W, W) / len(graph.edges)
    rate = np.linalg.eigvalsh(step)[-1]
    bound = contraction_per_exchange(graph, 0.5)
    assert rate == pytest.approx(bound, abs=1e-12) if tight else rate < bound - 0.01


@pytest.mark.parametrize("n", [2, 3, 10])
def test_contraction_on_a_complete_graph(n):
    """docs/theory.md, section 5: 1 - 4 a (1 - a) / (n - 1); two agents with alpha 0.5 agree at once."""
    assert contraction_per_exchange(complete(n), 0.3) == pytest.approx(1 - 4 * 0.3 * 0.7 / (n - 1))
    assert contraction_per_exchange(complete(2), 0.5) == pytest.approx(0.0, abs=1e-12)


def test_rounds_to_counts_the_powers_of_rho():
    """docs/theory.md, section 2: ln(1 / f) / (-2 ln rho)."""
    assert rounds_to(1e-6, 0.6) == pytest.approx(log(1e6) / (-2 * log(0.6)))
    assert 0.6 ** (2 * rounds_to(1e-6, 0.6)) == pytest.approx(1e-6)
    assert rounds_to(0.1, 0.0) == 0.0 and rounds_to(0.1, 1.0) == inf and rounds_to(1.0, 1.0) == 0.0


@pytest.mark.parametrize(
    "graph", [ring(9), star(6), grid(3, 4), small_world(30, 4, 0.3, seed=1), random_regular(12, 3)]
)
@pytest.mark.parametrize("alpha", [0.5, 0.7])
def test_the_gap_of_exchanges_is_that_of_the_mean_of_all_their_matrices(graph, alpha) -> None:
    mean = np.zeros((graph.n, graph.n))
    for i in range(graph.n):
        neighbors = graph.indices[graph.indptr[i] : graph.indptr[i + 1]]
        for j in neighbors:
            W = np.eye(graph.n)
            W[[i, j], [i, j]], W[[i, j], [j, i]] = alpha, 1 - alpha
            mean += (W - np.eye(graph.n)) / len(neighbors)
    slowest = np.sort(np.linalg.eigvalsh(np.eye(graph.n) + mean))[-2]
    assert exchange_gap(graph, alpha) == pytest.approx(1 - slowest, abs=1e-12)


def test_the_gap_of_exchanges_on_a_ring_has_a_closed_form() -> None:
    assert exchange_gap(ring(64), 0.5) == pytest.approx(1 - cos(2 * pi / 64))
    assert exchange_gap(ring(2000), 0.5) == pytest.approx(1 - cos(2 * pi / 2000), rel=1e-4)
    assert exchange_gap(from_edges(4, [(0, 1), (2, 3)]), 0.5) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: exponential_rho(7), "known for even n; for odd n compute rho.*: got n=7"),
        (lambda: rho(np.eye(3) * 0.9), "got 0.9 in row 0"),
        (
            lambda: contraction_per_exchange(star(5), 0.5),
            "regular graph with edges: got directed=False, least_degree=1",
        ),
        (lambda: contraction_per_exchange(exponential(5), 0.5), "got directed=True"),
        (lambda: contraction_per_exchange(ring(1), 0.5), "most_degree=0"),
        (lambda: contraction_per_exchange(ring(5), 1.5), r"in \[0, 1\]: got alpha=1.5"),
        (lambda: rounds_to(0.0, 0.5), "0 excluded: got factor=0.0"),
        (lambda: rounds_to(0.5, 1.5), "rho lies in 0 .. 1: got rho=1.5"),
        (lambda: algebraic_connectivity(exponential(5)), "undirected graph: got directed=True"),
    ],
)
def test_bad_arguments_say_what_was_expected_and_what_came(wrong, message):
    with pytest.raises(TopologyError, match=message):
        wrong()
