"""Synchronous gossip, which needs no tape: the mixing matrix of every round, and how many messages it takes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.checks import SimulationError
from topology import Schedule, Topology, metropolis_hastings


class Neighborhoods(NamedTuple):
    """A period of sparse mixing matrices: neighbors, weights (period, agents, degree); weight 0 where there is none."""

    neighbors: NDArray[np.int32]
    weights: NDArray[np.float32]


MAX_DEGREE = 64
"""Up to this degree each agent gathers its neighbors; beyond it W is a dense matrix."""


def mixing_of(topologies: Sequence[Topology]) -> Neighborhoods | NDArray[np.float32]:
    """`Neighborhoods`, or dense matrices (period, groups, n, n); a topology for each group of n."""
    each: list[list[Any]] = [
        list(one) if isinstance(one, Schedule) else [metropolis_hastings(one)] for one in topologies
    ]
    period, n = math.lcm(*map(len, each)), each[0][0].shape[0]
    matrices = [[some[r % len(some)] for some in each] for r in range(period)]
    degree = max(int(np.diff(W.indptr).max(initial=1)) for some in each for W in some)
    if degree > MAX_DEGREE:
        return np.array([[W.toarray() for W in now] for now in matrices], np.float32)
    agents = n * len(each)
    neighbors = np.tile(np.arange(agents, dtype=np.int32)[:, None], (period, 1, degree))
    weights = np.zeros((period, agents, degree), np.float32)
    for r, now in enumerate(matrices):
        for group, W in enumerate(now):
            row = np.repeat(np.arange(n), np.diff(W.indptr))
            place = np.arange(len(row)) - W.indptr[row]
            neighbors[r, group * n + row, place] = group * n + W.indices
            weights[r, group * n + row, place] = np.where(W.indices == row, 0, W.data)
    return Neighborhoods(neighbors, weights)


def no_mixing(agents: int) -> Neighborhoods:
    """The mixing of agents that have no neighbors."""
    return Neighborhoods(np.zeros((1, agents, 0), np.int32), np.zeros((1, agents, 0), np.float32))


def messages_until(topology: Topology, rounds: int) -> NDArray[np.int64]:
    """Messages until the end of each round, one along every edge in both directions: (rounds + 1,)."""
    graphs = topology.graphs if isinstance(topology, Schedule) else (topology,)
    each = [graphs[r % len(graphs)].indices.size for r in range(rounds)]
    return np.concatenate([[0], np.cumsum(each, dtype=np.int64)])


def check_whole_rounds(**given: Any) -> None:
    """Raise SimulationError unless these settings, by name, are whole rounds: numbers, arrays, or None."""
    for name, value in given.items():
        if fractions := [each for each in np.ravel(0 if value is None else value).tolist() if each % 1 > 0]:
            raise SimulationError(
                f"with protocol 'synchronous' {name} is in whole rounds, after which all have mixed: "
                f"got {fractions[0]:g}"
            )
