"""Schedules: exact consensus in finitely many rounds, and random pairings."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology import (
    Schedule,
    TopologyError,
    base_graph,
    check_doubly_stochastic,
    from_edges,
    metropolis_hastings,
    named,
    one_peer_exponential,
    random_matching,
    ring,
    star,
)


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
    """docs/theory.md, section 3 (arXiv 2305.11420)."""
    assert [len(base_graph(n, k)) for k in (1, 2, 3, 4)] == lengths


@settings(max_examples=30)
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


@settings(max_examples=40)
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
            neighbors = np.flatnonzero(np.where(np.arange(6) == i, 0, W[i]))
            assert schedule.neighbors(i, r).tolist() == schedule.neighbors(i, r + period).tolist() == neighbors.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: base_graph(0), "base_graph needs a whole number n >= 1: got n=0"),
        (lambda: base_graph(5, 0), "base_graph needs a whole number k >= 1: got k=0"),
        (lambda: random_matching(5, 0), "whole number rounds >= 1: got rounds=0"),
        (lambda: one_peer_exponential(-2), "whole number n >= 1: got n=-2"),
        (lambda: Schedule(5, [ring(4)], [np.full(8, 0.25)]), "has 5 nodes: got round=0, nodes=4"),
        (
            lambda: Schedule(4, [ring(4)], [np.full(4, 0.25)]),
            r"round 0 has 8 arcs, each with a weight: got shape=\(4,\)",
        ),
        (lambda: Schedule(4, [ring(4)], []), "as many weights: got weights=0"),
        (lambda: Schedule(4, [], []), "at least one round"),
        (lambda: Schedule(4, [ring(4)], [np.full(8, -0.1)]), r"at least 0: got round=0, weight=\[-0.1\]"),
        (lambda: Schedule(4, [ring(4)], [np.full(8, np.nan)]), r"finite numbers of at least 0: got round=0, weight="),
    ],
)
def test_bad_arguments_say_what_was_expected_and_what_came(wrong, message):
    with pytest.raises(TopologyError, match=message):
        wrong()


def test_a_schedule_that_would_move_the_mean_is_refused_when_made():
    """Leaves of a star take half of the center, which takes a fifth of each: the mean moves toward the center."""
    center_then_leaves = np.r_[np.full(5, 0.2), np.full(5, 0.5)]
    with pytest.raises(TopologyError, match=r"in round 1 column 0 sums to 2\.5; take metropolis_hastings\(graph\)"):
        Schedule(6, [star(6)] * 2, [np.full(10, 0.2), center_then_leaves])
    with pytest.raises(TopologyError, match=r"in round 0 the neighbors in row 0 sum to 2\.5, above 1"):
        Schedule(6, [star(6)], [np.full(10, 0.5)])
    with pytest.raises(TopologyError, match="column"):
        Schedule(2, [from_edges(2, [(0, 1)], directed=True)], [np.full(1, 0.5)])


@settings(max_examples=40)
@given(st.integers(3, 12), st.data())
def test_a_schedule_is_refused_exactly_when_its_matrix_is(n, data):
    """By `check_doubly_stochastic` of the matrix, written out."""
    graph = ring(n)
    weights = np.array(data.draw(st.lists(st.sampled_from([0.2, 0.4, 0.6]), min_size=2 * n, max_size=2 * n)))
    W = np.eye(n)
    W[graph.sources, graph.indices] = weights
    W[np.arange(n), np.arange(n)] -= np.bincount(graph.sources, weights, n)
    try:
        check_doubly_stochastic(W)
    except TopologyError:
        with pytest.raises(TopologyError):
            Schedule(n, [graph], [weights])
    else:
        np.testing.assert_allclose(Schedule(n, [graph], [weights])[0].toarray(), W)


def test_lists_and_other_dtypes_make_the_same_schedule():
    W = metropolis_hastings(ring(4))
    made = Schedule(np.int32(4), [ring(4)], [[1 / 3] * 8])
    np.testing.assert_allclose(made[0].toarray(), W.toarray())
    assert type(made.n) is int and isinstance(made.graphs, tuple) and made.weights[0].dtype == np.float64


@given(st.integers(2, 40), st.integers(0, 200), st.sampled_from(["base:2", "matching"]))
def test_of_two_that_meet_one_begins_in_turn(n, r, name):
    schedule = named(name, n, 3)
    assert schedule.pairs_up(r)
    for i in range(n):
        for j in schedule.neighbors(i, r):
            first, then = ({i: list(schedule.begins_with(i, at)), j: list(schedule.begins_with(j, at))}
                           for at in (r, r + len(schedule)))  # fmt: skip
            assert {len(each) for each in first.values()} == {0, 1}
            assert (first[i] == [j]) == (then[j] == [i])


def test_where_nodes_meet_more_than_one_each_begins():
    for schedule in (base_graph(9, 2), one_peer_exponential(8)):
        assert not any(map(schedule.pairs_up, range(len(schedule))))
        assert all(list(schedule.begins_with(2, r)) == list(schedule.neighbors(2, r)) for r in range(9))
