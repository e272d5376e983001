"""Simulated mixing against the closed forms (docs/theory.md). Bounds of 4 standard errors: one false alarm in
15,000 seeds, and the seeds are fixed."""

import jax
import numpy as np
import pytest
from plain import run_blocks, run_plain

from sim.conditions import Conditions
from sim.device.rounds import mix
from sim.sources.exchange import Exchange
from sim.sources.push import Push
from sim.sources.synchronous import mixing_of
from topology import (
    algebraic_connectivity,
    base_graph,
    complete,
    contraction_per_exchange,
    metropolis_hastings,
    one_peer_exponential,
    ring,
    ring_rho,
    torus,
    torus_rho,
)


def tape_of(graph, alpha, rounds, protocol=Exchange, seed=0):
    source = protocol(graph, Conditions(graph.n, seed, clock="poisson"), alpha=alpha, local_steps=0)
    (block,) = source.blocks(rounds, np.array([]), rounds)
    return block


def scatter(theta):
    return ((theta - theta.mean(0)) ** 2).sum()


def factors(graph, alpha, rounds, theta):
    """What each exchange of a run leaves of the squared consensus distance; every exchange is two mixes of a tape."""
    tape, found = tape_of(graph, alpha, rounds).tape, []
    for j, i in zip(tape.agent[::2], tape.agent[1::2], strict=True):
        before = scatter(theta)
        d = theta[j] - theta[i]
        theta[i], theta[j] = theta[i] + (1 - alpha) * d, theta[j] - (1 - alpha) * d
        found.append(scatter(theta) / before)
    return np.array(found)


@pytest.mark.parametrize("alpha", [0.5, 0.7, 0.9])
def test_an_exchange_on_the_complete_graph_contracts_as_the_closed_form_says(alpha):
    """1 - 4 a (1 - a) / (n - 1), whatever the state."""
    n = 12
    found = factors(complete(n), alpha, 60, np.random.default_rng(0).normal(size=(n, 400)))
    expected = 1 - 4 * alpha * (1 - alpha) / (n - 1)
    assert expected == pytest.approx(contraction_per_exchange(complete(n), alpha))
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))


@pytest.mark.parametrize("alpha", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("graph", [ring(10), torus(4, 4)], ids=["ring", "torus"])
def test_an_exchange_elsewhere_contracts_at_least_as_much(graph, alpha):
    """1 - 2 a (1 - a) lambda2 / |E| bounds every state, and is met by the slowest mode."""
    bound = contraction_per_exchange(graph, alpha)
    found = factors(graph, alpha, 60, np.random.default_rng(1).normal(size=(graph.n, 400)))
    assert found.mean() < bound + 4 * found.std() / np.sqrt(len(found))
    adjacency = np.zeros((graph.n, graph.n))
    adjacency[tuple(graph.edges.T)] = 1
    laplacian = np.diag(graph.degree) - adjacency - adjacency.T
    values, modes = np.linalg.eigh(laplacian)
    assert values[1] == pytest.approx(algebraic_connectivity(graph))
    tape, slow = tape_of(graph, alpha, 300, seed=2).tape, modes[:, 1:2]
    d = slow[tape.agent[::2]] - slow[tape.agent[1::2]]
    left = 1 - 2 * alpha * (1 - alpha) * (d**2).sum(1) / scatter(slow)
    assert abs(left.mean() - bound) < 4 * left.std() / np.sqrt(len(left))


@pytest.mark.parametrize("alpha", [0.5, 0.7, 0.9])
def test_the_tape_does_what_the_formula_does(alpha):
    theta = np.random.default_rng(3).normal(size=(9, 5))
    block = tape_of(torus(3, 3), alpha, 5)
    final, _, _ = run_blocks([block], list(theta))
    factors(torus(3, 3), alpha, 5, theta)
    np.testing.assert_allclose(final, theta, atol=1e-6)


@pytest.mark.parametrize(
    ("graph", "rho", "warm_up"),
    [(ring(16), ring_rho(16), 60), (torus(4, 4), torus_rho(4, 4), 12)],
    ids=["ring", "torus"],
)
def test_synchronous_mixing_shrinks_the_distance_by_rho_in_the_long_run(graph, rho, warm_up):
    """After a warm-up in which the faster modes die out."""
    theta = np.random.default_rng(0).normal(size=(graph.n, 50))
    early = np.linalg.matrix_power(metropolis_hastings(graph, dense=True), warm_up) @ theta
    early = (early - early.mean(0)) / np.sqrt(scatter(early))
    mixing, late = mixing_of([graph]), jax.numpy.asarray(early, "float32")
    for r in range(10):
        late = mix(mixing, late, r)
    assert np.sqrt(scatter(np.asarray(late, float))) == pytest.approx(rho**10, rel=1e-3)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 32])
def test_one_peer_exponential_is_exact_after_log2_n_rounds(n):
    """Ying et al. 2021, arXiv 2110.13363."""
    schedule = one_peer_exponential(n)
    assert len(schedule) == max(1, (n - 1).bit_length())
    assert spread_after_one_period(schedule) < 1e-5


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [5, 6, 10, 16, 23])
def test_base_graphs_are_exact_after_one_period(n, k):
    """Takezawa et al. 2023, arXiv 2305.11420."""
    assert spread_after_one_period(base_graph(n, k)) < 1e-5


def spread_after_one_period(schedule):
    theta = jax.numpy.asarray(np.random.default_rng(0).normal(size=(schedule.n, 6)), "float32")
    mixing, mean = mixing_of([schedule]), theta.mean(0, keepdims=True)
    for r in range(len(schedule)):
        theta = mix(mixing, theta, r)
    return float(abs(theta - mean).max())


@pytest.mark.parametrize("alpha", [0.5, 0.8])
def test_one_sided_mixing_drifts_as_far_as_the_closed_form_says(alpha):
    """(sigma^2 / n) (1 - a) / (a + (1 - a) / n) on the complete graph, sigma^2 the mean squared distance at the start:
    of n independent standard normal numbers it is (n - 1) / n."""
    n, drifts = 6, []
    for seed in range(400):
        theta = np.random.default_rng(seed).normal(size=(n, 60))
        final, _, _ = run_blocks([tape_of(complete(n), alpha, 60 / alpha, Push, seed)], list(theta))
        drifts.append(((final.mean(0) - theta.mean(0)) ** 2).mean())
    expected = (n - 1) / n * (1 / n) * (1 - alpha) / (alpha + (1 - alpha) / n)
    assert abs(np.mean(drifts) - expected) < 4 * np.std(drifts) / np.sqrt(len(drifts))


def test_two_agents_are_equal_at_once():
    theta = np.random.default_rng(0).normal(size=(2, 4))
    tape = tape_of(ring(2), 0.5, 3).tape
    versions, _, _ = run_plain(tape, list(theta))
    for version in versions[2:]:  # From the first exchange on, both are the mean.
        np.testing.assert_allclose(version, theta.mean(0), atol=1e-12)
