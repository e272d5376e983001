"""Array operations over events grouped by agent: stable sorting, predecessors, and order by dependence."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ints = NDArray[np.integer[Any]]


def grouped(agent: Ints, agents: int) -> tuple[Ints, Ints]:
    """Positions of agent (K,) in the order of agents, each one's in their own order, and where each one's begin.

    A stable counting sort, by way of SciPy's compressed rows: six times as fast as NumPy's.
    """
    count = len(agent)
    rows = csr_array(
        (np.ones(count, np.int8), (agent, np.arange(count, dtype=np.int32))), shape=(agents, max(count, 1))
    )
    return rows.indices, rows.indptr


def previous_of(agent: Ints, agents: int) -> Ints:
    """The entry before each at the same agent, or -1, (K,)."""
    order, ends = grouped(agent, agents)
    before, previous = np.empty((2, len(agent)), np.int32)
    before[1:] = order[:-1]
    before[ends[:-1][ends[:-1] < ends[1:]]] = -1
    previous[order] = before
    return previous


def levels(inputs: Ints) -> Iterator[Ints]:
    """Entries (K,) in groups, each after all that it depends on: inputs (K, 2), -1 or beyond K for what is there."""
    done = np.zeros(len(inputs) + 1, bool)
    done[-1] = True
    inputs = np.where((inputs < 0) | (inputs >= len(inputs)), len(inputs), inputs)
    waiting = np.arange(len(inputs))
    while len(waiting):
        ready = done[inputs[waiting]].all(axis=1)
        yield waiting[ready]
        done[waiting[ready]] = True
        waiting = waiting[~ready]
