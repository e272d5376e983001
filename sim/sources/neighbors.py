"""Draws neighbors for many simulated agents at once, as `topology.select` does for one live agent."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topology import Graph, Schedule, Topology, draw

Ints = NDArray[np.integer[Any]]


def names(agents: int) -> list[str]:
    """The ids of simulated agents: in the order of their numbers, as live ones are sorted."""
    digits = len(str(agents - 1))
    return [f"agent-{index:0{digits}d}" for index in range(agents)]


def neighbors(topology: Topology, seed: int, agent: Ints, identity: Any, round: Ints) -> NDArray[np.int64]:
    """The neighbor that each agent (M,) meets in its round (M,), (M,); -1 for nobody. identity: hashes of all ids."""
    graphs: tuple[Graph, ...] = topology.graphs if isinstance(topology, Schedule) else (topology,)
    found = np.full(len(agent), -1, np.int64)
    for r, graph in enumerate(graphs):
        mine = np.flatnonzero(round % len(graphs) == r) if len(graphs) > 1 else np.arange(len(agent))
        mine = mine[graph.degree[agent[mine]] > 0]
        if len(mine):
            who = agent[mine]
            position = draw(seed, identity[who], round[mine], graph.degree[who])
            found[mine] = graph.indices[graph.indptr[who] + position]
    return found
