"""Schedules: exact consensus in finitely many rounds, and random pairings."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology import Schedule, TopologyError, base_graph, check_doubly_stochastic, one_peer_exponential, random_matching


def product(schedule: Schedule) -> np.ndarray:
    total = np.eye(schedule.n)
    for W in schedule:
        total = W @ total
    return total


@pytest.mark.parametrize("k", range(1, 6))
@pytest.mark.parametrize("n", range(1, 71))
def test_base_graph_is_exact_within_the_published_bounds(n, k):
    """Takezawa et al. 2023, arXiv 2305.11420, Theorem 1: degree at most k, 2 log_{k+1}(n) + 2 rounds."""
    schedule = base_graph(n, k)
    assert len(schedule) <= 2 * log(n, k + 1) + 2
    assert max(graph.degree.max() for graph in schedule.graphs) <= k
    for W in schedule:
        check_doubly_stochastic(W, 1e-13)
    assert np.abs(product(schedule) - 1 / n).max() < 1e-12


@pytest.mark.parametrize(
    ("n", "lengths"), [(5, [5, 3, 3, 1]), (6, [4, 2, 2, 2]), (10, [6, 4, 4, 2]), (16, [4, 4, 2, 2]), (64, [6, 6, 3, 3])]
)
def test_base_graph_has_the_published_length(n, lengths):
    """FACTS, finite-time exact consensus (arXiv 2305.11420)."""
    assert [len(base_graph(n, k)) for k in (1, 2, 3, 4)] == lengths


@settings(deadline=None, max_examples=30)
@given(st.integers(71, 700), st.integers(1, 12))
def test_base_graph_is_exact_for_larger_swarms(n, k):
    schedule = base_graph(n, k)
    theta = np.random.default_rng(n).standard_normal((n, 3))
    mean = theta.mean(axis=0)
    for W in schedule:
        theta = W @ theta
    assert np.abs(theta - mean).max() < 1e-12
    assert max(graph.degree.max() for graph in schedule.graphs) <= k
    assert len(schedule) <= 2 * log(n, k + 1) + 2


@pytest.mark.parametrize("n", range(1, 34))
def test_one_peer_exponential_is_exact_for_powers_of_two_alone(n):
    """Ying et al. 2021, arXiv 2110.13363: log2 n rounds."""
    schedule = one_peer_exponential(n)
    assert len(schedule) == max((n - 1).bit_length(), 1)
    assert (np.abs(product(schedule) - 1 / n).max() < 1e-12) == (n & (n - 1) == 0)
    for r, W in enumerate(schedule):
        check_doubly_stochastic(W, 1e-13)
        assert all(schedule.neighbors(i, r).tolist() == [(i + 2**r) % n] for i in range(n) if n > 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 50), st.integers(1, 5), st.integers(0, 2**32))
def test_random_matching_pairs_all_but_one(n, rounds, seed):
    schedule = random_matching(n, rounds, seed=seed)
    assert len(schedule) == rounds
    for graph, W in zip(schedule.graphs, schedule, strict=True):
        assert graph.degree.max(initial=0) <= 1 and graph.degree.sum() == n // 2 * 2
        check_doubly_stochastic(W, 1e-13)
        assert np.abs((W @ W - W).toarray()).max() < 1e-13, "averaging pairs twice is averaging them once"


def test_random_matching_follows_the_seed():
    def drawn(seed):
        return [graph.indices.tolist() for graph in random_matching(20, 3, seed=seed).graphs]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("schedule", [base_graph(6), one_peer_exponential(6), random_matching(6, 4)])
def test_rounds_wrap_and_match_their_neighbors(schedule):
    period = len(schedule)
    for r in range(period):
        W = schedule[r].toarray()
        assert (schedule[r + period].toarray() == W).all() and (schedule[r - period].toarray() == W).all()
        for i in range(6):
            heard = np.flatnonzero(np.where(np.arange(6) == i, 0, W[i]))
            assert schedule.neighbors(i, r).tolist() == schedule.neighbors(i, r + period).tolist() == heard.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: base_graph(0), "base_graph needs a whole number n >= 1: got n=0"),
        (lambda: base_graph(5, 0), "base_graph needs a whole number k >= 1: got k=0"),
        (lambda: random_matching(5, 0), "whole number rounds >= 1: got rounds=0"),
        (lambda: one_peer_exponential(-2), "whole number n >= 1: got n=-2"),
    ],
)
def test_bad_arguments_say_what_was_expected_and_what_came(wrong, message):
    with pytest.raises(TopologyError, match=message):
        wrong()
