"""The topology of agents that train blocks of a model: in every other round those meet who train the same one."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from topology import Graph, Schedule, Topology, as_topology, overlay


def with_block_rounds(name: str, agents: int, blocks: int, seed: int) -> Schedule:
    """The topology of this name over all agents in even rounds, over those of each block in odd ones.

    Agent i trains block i mod `blocks`; whoever does alone meets in odd rounds whom it meets in even ones.
    """
    numbers = [np.arange(block, agents, blocks) for block in range(blocks)]
    return _in_turn(name, agents, numbers, numbers, seed)


def with_level_rounds(name: str, levels: Sequence[int], seed: int) -> Schedule:
    """The topology of this name over all agents in even rounds; in odd ones over those who hold all that one holds.

    levels: of each agent of a nested model.
    """
    each, own = np.array(levels), sorted(set(levels))
    return _in_turn(
        name,
        len(levels),
        [np.flatnonzero(each >= level) for level in own],
        [np.flatnonzero(each == level) for level in own],
        seed,
    )


def _in_turn(name: str, agents: int, numbers: Sequence[Any], turning: Sequence[Any], seed: int) -> Schedule:
    """Even rounds over all; in odd ones those of `turning` turn to others of `numbers`, group by group."""
    together = as_topology(name, agents, seed)
    alike = [overlay(name, len(each), seed) if len(each) > 1 else None for each in numbers]
    period = math.lcm(*(len(_graphs(each)) for each in (together, *alike) if each is not None))
    graphs = []
    for r in range(period):
        whole = _at(together, r)
        arcs = [
            np.stack([each[0].repeat(whole.degree[each[0]]), whole.neighbors(int(each[0]), 0)])
            if topology is None
            else each[np.stack([_at(topology, r).sources, _at(topology, r).indices])]
            for each, topology in zip(numbers, alike, strict=True)
        ]
        arcs = [each[:, np.isin(each[0], some)] for each, some in zip(arcs, turning, strict=True)]
        graphs += [whole, _graph(agents, np.concatenate(arcs, axis=1))]
    return Schedule(agents, tuple(graphs), tuple(np.zeros(len(graph.indices)) for graph in graphs))


def _graphs(topology: Topology) -> tuple[Graph, ...]:
    return topology.graphs if isinstance(topology, Schedule) else (topology,)


def _at(topology: Topology, r: int) -> Graph:
    graphs = _graphs(topology)
    return graphs[r % len(graphs)]


def _graph(n: int, arcs: Any) -> Graph:
    """Of arcs (2, A), from one node to another."""
    order = np.lexsort((arcs[1], arcs[0]))
    starts = np.concatenate([[0], np.cumsum(np.bincount(arcs[0], minlength=n))])
    return Graph(n, starts.astype(np.int64), arcs[1][order].astype(np.int32), directed=True)
