"""Neighbors in turn, and by weights: laws of `permutations`, `turns`, `in_turn` and `select_by`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from topology import CHOICES, TopologyError, in_turn, need_choice, permutations, ring, select, select_by, turns

whole = st.integers(-(2**63), 2**63 - 1)
names = st.text(min_size=1, max_size=8)


@given(whole, names, st.integers(1, 40), st.integers(0, 10**6))
def test_in_each_lap_each_candidate_comes_first_once(seed, agent, count, lap):
    candidates = [f"agent-{i:02}" for i in range(count)]
    rounds = range(lap * count + 1, (lap + 1) * count + 1)
    firsts = [turns(seed, agent, round, candidates)[0] for round in rounds]
    assert sorted(firsts) == candidates
    assert all(sorted(turns(seed, agent, round, candidates)) == candidates for round in rounds)


@given(whole, names, st.integers(1, 12), st.integers(1, 1000), st.data())
def test_who_is_passed_over_leaves_the_order_of_the_others_alone(seed, agent, count, round, data):
    candidates = list(range(count))
    order = turns(seed, agent, round, candidates)
    free = data.draw(st.sets(st.sampled_from(candidates), min_size=1))
    lap = turns(seed, agent, round, candidates)
    assert lap == order and sorted(lap) == candidates
    assert next(each for each in lap if each in free) in free


@given(whole, st.lists(st.tuples(whole, st.integers(1, 10**9), st.integers(1, 9)), min_size=1, max_size=30))
def test_many_agents_at_once_take_the_turns_that_each_takes_alone(seed, rows):
    agents, rounds, counts = (np.array(column) for column in zip(*rows, strict=True))
    together = in_turn(seed, agents, rounds, counts)
    alone = [turns(seed, agent, round, range(count))[0] for agent, round, count in rows]
    assert together.dtype == np.int64 and together.tolist() == alone


def test_orders_are_uniform_and_another_in_each_lap():
    """Chi-square over the six orders of three at 99.99% confidence; arguments are fixed, so the verdict is too."""
    trials = np.arange(6_000)
    for orders in (
        permutations(0, 5, trials, 3),
        permutations(0, trials, 5, 3),
        np.array([permutations(seed, 5, 5, 3) for seed in trials]),
    ):
        seen = np.bincount(orders @ [9, 3, 1])
        seen = seen[seen > 0]
        assert len(seen) == 6 and ((seen - 1000) ** 2 / 1000).sum() < chi2.ppf(0.9999, 5)


def test_turns_never_change_between_versions():
    """Pinned: a swarm of mixed versions and every recorded tape lean on it."""
    assert [turns(1, "a", round, "xyz")[0] for round in range(1, 10)] == list("yxzzxyxzy")


@given(whole, names, whole, st.integers(1, 9))
def test_equal_weights_choose_as_a_uniform_choice_does(seed, agent, round, count):
    assert select_by(seed, agent, round, range(count), [0.3] * count) == select(seed, agent, round, range(count))


def test_candidates_are_chosen_in_proportion_to_their_weights():
    """Chi-square at 99.99% confidence."""
    weights, trials = np.array([5.0, 1.0, 3.0, 1.0]), 10_000
    seen = np.bincount([select_by(3, "a", round, range(4), weights) for round in range(trials)], minlength=4)
    expected = weights / weights.sum() * trials
    assert ((seen - expected) ** 2 / expected).sum() < chi2.ppf(0.9999, 3)


def test_what_cant_be_chosen_is_refused_in_one_line():
    with pytest.raises(TopologyError, match="choose is uniform, roundrobin or fastest: got choose='best'"):
        need_choice("best")
    for topology in ("base:2", "base:3", "matching", "one-peer-exponential"):
        need_choice("uniform", topology)
        for choose in CHOICES[1:]:
            with pytest.raises(TopologyError, match=f"{topology} says whom an agent meets in each round: leave choose"):
                need_choice(choose, topology)
    for choose in CHOICES:
        need_choice(choose, "regular:4")
    with pytest.raises(TopologyError, match="at least one candidate"):
        select_by(0, "a", 1, [], [])
    assert turns(0, "a", 1, []) == [] and turns(0, "a", 1, ring(5).neighbors(0))[0] in (1, 4)
