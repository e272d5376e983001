"""How far a swarm is from agreeing, and what it agrees on. Pure, for any array namespace.

The consensus model is M_f = sum_i m_i w_i theta_i / sum_i m_i w_i, coordinate by coordinate: m_i is 1 in the block that
agent i trains and 0 elsewhere (`blocks`), so 1 everywhere where everybody trains everything. Coordinates of no block
are each agent's own: there is no consensus of them, and how far agents are apart in them doesn't count. Of a nested
model m_i is 1 in all blocks that agent i holds; in the others it has no value at all, so distances are among holders.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.mixing.blocks import OWN, Blocks, named_in
from agents.mixing.nested import Nested
from topology.errors import GossamerError

Array = Any  # of whichever namespace x.__array_namespace__() names
Vector = np.ndarray[Any, np.dtype[np.float32]]


class NobodyTrains(GossamerError, RuntimeError):
    """Of some parameters no consensus can be had: none of those who train them is there."""

    code = "G409"


def weighted_mean(
    thetas: Array,
    weights: Array | None = None,
    matmul: Callable[..., Array] | None = None,
    blocks: Blocks | None = None,
) -> Array:
    """The consensus model: (agents, P) -> (P,). weights: (agents,), all 1 if None; (agents, K) for K blocks.

    matmul: in place of the namespace's own, such as one of a given precision. Coordinates of no block: their mean.
    """
    xp = thetas.__array_namespace__()
    if weights is None:
        return xp.mean(thetas, axis=0)
    if blocks is None:
        return (matmul or xp.matmul)(weights / xp.sum(weights), thetas)
    own = xp.sum(weights, axis=1)  # Each agent weighs in one block, what it weighs at all.
    return xp.concat(
        [
            weighted_mean(thetas[:, run], own if block == OWN else weights[:, block], matmul)
            for run, block in blocks.runs
        ]
    )


def consensus_distance(
    thetas: Array, weights: Array | None = None, mean: Array | None = None, blocks: Blocks | None = None
) -> Array:
    """sqrt(mean_i ||theta_i - mean||^2), how far the agents are from agreeing: (agents, P) -> scalar.

    weights: (agents,), all 1 if None; (agents, K) for K blocks. mean: their consensus model, where it is known.
    """
    xp = thetas.__array_namespace__()
    mean = weighted_mean(thetas, weights, blocks=blocks) if mean is None else mean
    if blocks is None:
        squared = xp.sum((thetas - mean[None, :]) ** 2, axis=1)
    elif blocks.nested and weights is not None:
        each = [(run, weights[:, block]) for run, block in blocks.runs]
        apart = [xp.sum(held * xp.sum((thetas[:, run] - mean[None, run]) ** 2, axis=1)) for run, held in each]
        return xp.sqrt(sum(apart) / xp.sum(weights[:, 0]))
    else:
        runs = [run for run, block in blocks.runs if block != OWN]
        squared = sum(xp.sum((thetas[:, run] - mean[None, run]) ** 2, axis=1) for run in runs)
        weights = None if weights is None else xp.sum(weights, axis=1)
    if weights is None:
        return xp.sqrt(xp.mean(squared))
    return xp.sqrt(xp.sum(weights * squared) / xp.sum(weights))


class RunningConsensus:
    """The same two figures for vectors that come one at a time: memory of one vector, or two for several blocks.

    Welford's update (Technometrics 4, 1962) with weights, as in West (CACM 22, 1979). mean: 0 where there is none.
    """

    def __init__(self, parameters: int, blocks: Blocks | None = None) -> None:
        self._blocks = blocks or Blocks.whole(parameters)
        self.mean = np.zeros(parameters, np.float32)
        self.weight = 0.0
        self.masses = [0.0] * self._blocks.count
        shares = self._blocks.count > 1 and not self._blocks.nested
        self._of_all = np.zeros(parameters, np.float32) if shares else self.mean
        self._scatter = 0.0

    def add(
        self, theta: Vector, weight: float = 1.0, shard: int = 0, capacity: float = 1.0, masses: Sequence[float] = ()
    ) -> None:
        """Take in one agent's vector, (P,). shard, capacity: the agent's, by which follows what it trains.

        masses: what the vector weighs in each block, if that is not `weight` in those that it trains.
        """
        self.weight += weight
        own = self._blocks.of_agent(shard, capacity)
        assert own is not None, "whose capacity is none of the run's is left out before"
        count = self._blocks.count
        weighs = masses or [weight if self._blocks.trains(own, block) else 0.0 for block in range(count)]
        for block, mass in enumerate(weighs):
            self.masses[block] += mass
        if self._blocks.nested:
            held = [(run, block) for run, block in self._blocks.runs if block <= own and weighs[block]]
            for run, block in held:
                self._scatter += weighs[block] * _move(self.mean, theta, run, weighs[block] / self.masses[block])
            return
        for run, block in self._blocks.runs:
            if block == OWN:
                continue
            if count > 1 and weighs[block]:
                _move(self.mean, theta, run, weighs[block] / self.masses[block])
            self._scatter += weight * _move(self._of_all, theta, run, weight / self.weight)

    @property
    def distance(self) -> float:
        """sqrt(mean_i ||theta_i - mean||^2) of all so far; 0 for none."""
        apart = 0.0
        if self._of_all is not self.mean:  # Around another point than their mean vectors scatter by so much more.
            held = [run for run, block in self._blocks.runs if block != OWN and self.masses[block]]
            apart = sum(float(np.sum((self._of_all[run] - self.mean[run]) ** 2, dtype=float)) for run in held)
        return math.sqrt(max(0.0, self._scatter) / self.weight + apart) if self.weight else 0.0


def _move(mean: Vector, theta: Vector, run: slice, share: float) -> float:
    """Bring the mean of a run of coordinates up to date: by how much the scatter grows, for a weight of one."""
    grows = 0.0
    for start in range(run.start, run.stop, 1 << 18):
        span = slice(start, min(run.stop, start + (1 << 18)))
        before = theta[span] - mean[span]
        mean[span] += share * before
        grows += float(np.dot(before, theta[span] - mean[span]))
    return grows


def check_held(
    masses: Sequence[float], blocks: Blocks, parameters: Sequence[tuple[str, tuple[int, ...]]] | None, shards: int
) -> None:
    """Raise NobodyTrains unless somebody weighs in each block.

    masses: what those who are there weigh in each. parameters: names and shapes in order, None where unknown. shards:
    how many agents the run has, 0 where that isn't known. Of a nested model see `check_levels`.
    """
    for block, mass in enumerate(masses):
        if mass > 0:
            continue
        who = [f"{shard}/{shards}" for shard in range(block, shards, blocks.count)[:8]]
        owners = ", ".join(who) if who else f"s with s mod {blocks.count} = {block}"
        raise NobodyTrains(
            f"no agent that was found trains {named_in(blocks, block, parameters)}: the agents of the shards {owners} "
            "do; start one of them, or add its folder"
        )


def check_levels(masses: Sequence[float], map: Nested) -> None:
    """Raise NobodyTrains unless somebody holds each level of a nested model. masses: what is there weighs in each."""
    for block, mass in enumerate(masses):
        if mass > 0:
            continue
        raise NobodyTrains(
            f"no agent that was found holds all of {map.named_in(block)}: of their units the first "
            f"{map.blocks.share(block - 1)} are there; start an agent of --capacity 1, or add its folder"
        )
