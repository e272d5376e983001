"""Draws neighbors for many simulated agents at once, as one live agent chooses them (`agents.protocol.choosing`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.checks import SimulationError
from topology import Graph, Schedule, Topology, as_topology, draw, in_turn
from topology.choices import UNIFORM
from topology.coercion import uneven
from topology.schedules import begins

Ints = NDArray[np.integer[Any]]


def names(agents: int) -> list[str]:
    """The ids of simulated agents: in the order of their numbers, as live ones are sorted."""
    digits = len(str(agents - 1))
    return [f"agent-{index:0{digits}d}" for index in range(agents)]


def neighbors(
    topology: Topology, seed: int, agent: Ints, identity: Any, round: Ints, choose: str = UNIFORM, once: bool = False
) -> NDArray[np.int64]:
    """The neighbor that each agent (M,) turns to in its round (M,), (M,); -1 for nobody. identity: hashes of all ids.

    choose: "uniform" or "roundrobin"; no time of an exchange is known here. once: of two that a schedule pairs only one
    turns to the other (`Schedule.begins_with`).
    """
    graphs: tuple[Graph, ...] = topology.graphs if isinstance(topology, Schedule) else (topology,)
    found = np.full(len(agent), -1, np.int64)
    for r, graph in enumerate(graphs):
        mine = np.flatnonzero(round % len(graphs) == r) if len(graphs) > 1 else np.arange(len(agent))
        mine = mine[graph.degree[agent[mine]] > 0]
        if len(mine):
            who = agent[mine]
            if choose == UNIFORM:
                position = draw(seed, identity[who], round[mine], graph.degree[who])
            else:
                position = in_turn(seed, identity[who], round[mine] // len(graphs), graph.degree[who])
            found[mine] = graph.indices[graph.indptr[who] + position]
            if once and isinstance(topology, Schedule) and topology.pairs_up(r):
                found[mine[~begins(who, found[mine], round[mine] // len(graphs))]] = -1
    return found


CHOOSING = ("exchange", "push", "push-sum")
"""Protocols in which an agent turns to one neighbor."""


def check_weights(topology: Any, protocol: str, agents: int) -> None:
    """Raise SimulationError for a mixing matrix whose weights say more than who is whose neighbor, where that is lost.

    topology: as a user gave it; of a Schedule weights are read by nobody here, nor are those of a named one.
    """
    if protocol not in CHOOSING or isinstance(topology, str | Graph | Schedule):
        return
    made = as_topology(topology, agents)
    if not isinstance(made, Schedule):
        return
    if found := uneven(made):
        row, column, weight, usual = found
        raise SimulationError(
            f"with protocol {protocol!r} each neighbor in a row of W is equally likely, whatever its weight: got "
            f"{weight:.4g} at {row}, {column} where the row's mean is {usual:.4g}; "
            "use protocol 'synchronous', or give the graph alone, as_topology(W, agents).graphs[0]"
        )


def check_choose(choose: str, protocol: str, virtual: bool, topology: Topology) -> None:
    """Raise SimulationError unless there is something to choose, and what it goes by is known."""
    if protocol not in CHOOSING:
        raise SimulationError(
            f"choose {choose!r} is for the protocols {', '.join(CHOOSING)}, in which an agent turns to one neighbor: "
            f"got protocol {protocol!r}"
        )
    if choose == "fastest" and not virtual:
        raise SimulationError(
            "choose 'fastest' goes by how long exchanges take, which virtual agents alone measure: "
            "give virtual=True too, or choose 'uniform' or 'roundrobin'"
        )
    if isinstance(topology, Schedule):
        raise SimulationError(
            f"choose {choose!r} needs a topology that is the same in each round: this one says in each whom an agent "
            "meets; leave choose at 'uniform'"
        )
