"""What a run's settings lead to, against closed forms and what agents themselves do."""

import math

import numpy as np
import pytest

from agents.observe.expected import expected, predicted_slope, slope
from agents.observe.seen import AgentSeen
from topology import complete, contraction_per_exchange, overlay, ring


@pytest.mark.parametrize("agents", [2, 4, 9])
def test_on_regular_graphs_the_contraction_is_the_closed_form(agents):
    """docs/theory.md 5."""
    for name, graph in {"ring": ring(agents), "complete": complete(agents)}.items():
        found = expected({"topology": name, "alpha": 0.3}, agents).contraction
        assert found == pytest.approx(contraction_per_exchange(graph, 0.3), abs=1e-12)


def test_it_is_what_random_exchanges_leave_in_the_mean():
    """Written out, of an irregular graph and a digraph: the largest eigenvalue of E[W'W] off the mean."""
    for name, alpha in (("star", 0.5), ("path", 0.2), ("exponential", 0.5)):
        graph, n = overlay(name, 7), 7
        left = np.zeros((n, n))
        for i in range(n):
            for j in graph.neighbors(i):
                exchange = np.eye(n)
                exchange[[i, i, j, j], [i, j, i, j]] = [alpha, 1 - alpha, 1 - alpha, alpha]
                left += exchange.T @ exchange / (n * graph.degree[i])
        largest = np.linalg.eigvalsh(left - np.ones((n, n)) / n)[-1]
        assert expected({"topology": name, "alpha": alpha}, n).contraction == pytest.approx(largest)


def test_edges_are_those_that_agents_lay():
    for name in ("ring", "torus", "star", "exponential", "base:2", "regular:4"):
        graph = overlay(name, 12, 7)
        laid = {tuple(sorted((i, int(j)))) for r in range(20) for i in range(12) for j in graph.neighbors(i, r)}
        assert set(expected({"topology": name, "seed": 7}, 12).edges) == laid, name


@pytest.mark.parametrize("settings", [{}, {"topology": "moebius"}, {"topology": 3}, {"topology": "ring", "alpha": 7}])
def test_what_makes_no_sense_leads_to_nothing(settings):
    assert expected(settings, 4).contraction is None
    assert expected({"topology": "ring"}, 0) == expected({"topology": "ring"}, 10**9) == ((), None)


def test_the_slope_follows_from_exchanges_in_a_step():
    assert slope(0.25, exchanges=1, steps=1) == pytest.approx(-0.5)
    assert slope(0.25, exchanges=10, steps=100) == pytest.approx(math.sqrt(0.25**0.1) - 1)
    assert slope(0.0, 1, 1) == -1
    assert slope(None, 1, 1) is slope(0.5, 0, 1) is slope(0.5, 1, 0) is None


def seen_of(alive=True, **fields):
    unknown = dict.fromkeys(AgentSeen.__dataclass_fields__)
    return AgentSeen(**unknown | {"alive": alive, "state": "training" if alive else "dead", "step": 1} | fields)


def test_what_is_predicted_is_of_the_exchanges_that_the_living_made_in_their_steps():
    agents = [seen_of(exchanges=8, step=40), seen_of(exchanges=8, step=40), seen_of(exchanges=99, alive=False)]
    ring_of_two = contraction_per_exchange(ring(2), 0.4)
    expected_slope = ring_of_two ** (0.5 * 8 / 40) - 1
    assert predicted_slope({"topology": "ring", "alpha": 0.4}, agents) == pytest.approx(expected_slope)
    assert predicted_slope({"topology": "moebius"}, agents) is predicted_slope({"topology": "base:2"}, agents) is None
    assert predicted_slope({}, agents) is predicted_slope({"topology": "ring"}, []) is None
