"""What a run's settings lead to: who exchanges with whom, and how fast exchanges alone bring the models together."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from agents.observe.seen import AgentSeen
from topology import Graph, Schedule, overlay
from topology.errors import TopologyError

MOST_AGENTS = 512
"""In a larger swarm nothing is laid out: a graph of so many is no picture any more."""

Edges = tuple[tuple[int, int], ...]


class Expected(NamedTuple):
    """edges: between agents by number, each once. contraction: of the squared consensus distance, the share that one
    exchange leaves without training, an upper bound where the graph isn't complete (docs/theory.md 5); None where
    nothing is known.
    """

    edges: Edges = ()
    contraction: float | None = None


def expected(settings: Mapping[str, object], agents: int) -> Expected:
    """Of so many agents, in the order of their names. settings: of the run's manifest, from a peer or a file."""
    topology, seed, alpha = settings.get("topology"), settings.get("seed", 0), settings.get("alpha", 0.5)
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    if not (isinstance(topology, str) and whole and isinstance(alpha, int | float) and 0 < agents <= MOST_AGENTS):
        return Expected()
    return _expected(topology, int(str(seed)), float(alpha), agents)


def slope(contraction: float | None, exchanges: float, steps: float) -> float | None:
    """By what share the consensus distance changes in a local step, by exchanges alone: -0.1 for a tenth less.

    exchanges: of all agents in `steps` local steps of each.
    """
    if contraction is None or exchanges <= 0 or steps <= 0:
        return None
    return -1.0 if contraction <= 0 else math.expm1(0.5 * math.log(contraction) * exchanges / steps)


def predicted_slope(settings: Mapping[str, object], agents: Sequence[AgentSeen]) -> float | None:
    """By what share exchanges alone would change the consensus distance in a local step, at most (docs/theory.md 5).

    settings: as of `expected`. None where nothing is known. Of a run that has ended, as it was on average.
    """
    living = [each for each in agents if each.alive and each.state != "joining"] or list(agents)
    steps = sum(each.step for each in living) / max(1, len(living))
    exchanges = sum(each.exchanges for each in living) / 2
    return slope(expected(settings, len(living)).contraction, exchanges, steps)


@lru_cache(maxsize=8)
def _expected(topology: str, seed: int, alpha: float, agents: int) -> Expected:
    try:
        graph = overlay(topology, agents, seed)
        if isinstance(graph, Schedule):
            return Expected(_edges(*graph.graphs))
        return Expected(_edges(graph), _contraction(graph, alpha))
    except (TopologyError, ValueError, OverflowError):  # Of a later version, or made up.
        return Expected()


def _edges(*graphs: Graph) -> Edges:
    arcs = (sorted(arc) for graph in graphs for arc in graph.edges.tolist())
    return tuple(sorted({(first, second) for first, second in arcs}))


def _contraction(graph: Graph, alpha: float) -> float | None:
    """1 - 2 alpha (1 - alpha) lambda2(E[L_e]) of an agent that is drawn, and then one of its neighbors."""
    if not 0 <= alpha <= 1 or graph.n < 2 or graph.degree.min() < 1:
        return None
    drawn = np.zeros((graph.n, graph.n))
    drawn[graph.sources, graph.indices] = 1 / (graph.n * graph.degree[graph.sources])
    drawn = drawn + drawn.T  # Whoever begins an exchange, both take part alike.
    eigenvalues = np.linalg.eigvalsh(np.diag(drawn.sum(axis=1)) - drawn)
    return 1 - 2 * alpha * (1 - alpha) * float(eigenvalues[1])
