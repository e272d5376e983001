"""Choices derived from (seed, agent, round): invariant 4."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from topology import TopologyError, draw, random_regular, select

whole = st.integers(-(2**63), 2**63 - 1)


@given(whole, st.lists(st.tuples(whole, whole, st.integers(1, 2**32 - 1)), min_size=1))
def test_scalar_and_vector_choose_alike(seed, rows):
    agents, rounds, counts = (np.array(column) for column in zip(*rows, strict=True))
    together = draw(seed, agents, rounds, counts)
    assert together.dtype == np.int64
    assert together.tolist() == [int(draw(seed, *row)) for row in rows]
    assert ((together >= 0) & (together < counts)).all()


def test_a_whole_graph_chooses_as_its_agents_do():
    graph = random_regular(50, 4, seed=1)
    chosen = graph.indices[graph.indptr[:-1] + draw(9, np.arange(50), 7, graph.degree)]
    assert chosen.tolist() == [select(9, i, 7, graph.neighbors(i)) for i in range(50)]


@pytest.mark.parametrize("count", [2, 3, 7, 10])
@pytest.mark.parametrize("vary", ["seed", "agent", "round", "name"])
def test_choices_are_uniform_along_every_argument(count, vary):
    """Chi-square at 99.99% confidence; the arguments are fixed, so the verdict is too."""
    trials = 5_000
    steps = np.arange(trials)
    if vary == "agent":
        picks = draw(0, steps, 5, count)
    elif vary == "round":
        picks = draw(0, 5, steps, count)
    elif vary == "seed":
        picks = np.array([draw(seed, 5, 5, count) for seed in range(trials)])
    else:
        picks = np.array([draw(0, f"agent-{i}", 5, count) for i in range(trials)])
    seen = np.bincount(picks, minlength=count)
    assert ((seen - trials / count) ** 2 / (trials / count)).sum() < chi2.ppf(0.9999, count - 1)


def test_successive_rounds_and_neighboring_agents_are_independent():
    """Chi-square of the 4 x 4 table of successive picks, 99.99% confidence, fixed seed."""
    for picks in (draw(1, 2, np.arange(40_001), 4), draw(1, np.arange(40_001), 2, 4)):
        table = np.bincount(4 * picks[:-1] + picks[1:], minlength=16)
        assert ((table - 2_500) ** 2 / 2_500).sum() < chi2.ppf(0.9999, 15)


def test_choice_never_changes_between_versions():
    """Pinned: a swarm of mixed versions and every recorded tape lean on it."""
    assert draw(0, 0, np.arange(8), 10).tolist() == [1, 1, 6, 3, 4, 4, 3, 8]
    assert [select(1, "a", r, ["x", "y", "z"]) for r in range(8)] == list("yzyxzyzy")


def test_candidates_of_any_kind():
    assert select(0, "me", 3, ["only"]) == "only"
    assert select(0, np.int64(4), 3, (5, 6, 7)) == select(0, 4, 3, [5, 6, 7])


def test_no_candidate_is_refused():
    with pytest.raises(TopologyError, match="at least one candidate: got agent=3, round=2"):
        select(0, 3, 2, [])
    with pytest.raises(TopologyError, match=r"1 .. 2\^32 - 1 candidates: got count=\[0\]"):
        draw(0, 3, np.arange(2), np.array([4, 0]))
