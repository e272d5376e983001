"""The boost of the rule accelerated, which follows from the graph that the agents exchange on (docs/theory.md 27)."""

import math
from collections.abc import Iterable

from agents.learning.rule_names import BOOSTED, MOST_BOOST, UnknownRule
from topology import Graph, Topology, exchange_gap, metropolis_hastings, spectral_gap


def boost_on(graphs: Iterable[Topology], alpha: float, codec: str, submodel: str, synchronous: bool = False) -> float:
    """The boost of `accelerated` on these graphs: the smallest of theirs, and 1, no boost, on a complete graph.

    Raises UnknownRule where that rule can't be followed: with a topology that changes from round to round, with
    another codec than float32, or where agents train parts of the model.
    """
    if codec != "float32":
        raise UnknownRule(f"rule accelerated needs the codec float32: with {codec!r} agents would diverge")
    if submodel != "none":
        raise UnknownRule(f"rule accelerated is for agents that train the whole model: leave out submodel {submodel!r}")
    gaps = [_gap(graph, alpha, synchronous) for graph in graphs]
    return max(1.0, min(MOST_BOOST, BOOSTED / math.sqrt(max(gaps)))) if max(gaps) > 0 else 1.0


def _gap(graph: Topology, alpha: float, synchronous: bool) -> float:
    if not isinstance(graph, Graph) or graph.directed:
        raise UnknownRule(
            "rule accelerated needs an undirected topology that is the same in each round, such as ring, torus or "
            f"regular:4: got {graph!r:.60}"
        )
    return spectral_gap(metropolis_hastings(graph)) if synchronous else exchange_gap(graph, alpha)
