"""The full model of agents that hold one of its subnetworks each: their means, and what these make up."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np

from agents.learning.learner import Learner
from agents.mixing.blocks import OWN, Blocks
from agents.mixing.consensus import consensus_distance, weighted_mean
from agents.mixing.narrow import Subnetworks

Array = Any


@dataclass(frozen=True, eq=False)
class Whole:
    """What subnetworks make up. learner: of the full model. map: how they do."""

    learner: Learner
    map: Subnetworks


@dataclass(frozen=True)
class Parts:
    """Who holds what. of: the subnetwork of each agent of a group; 0 for all where each holds the whole model.

    blocks: of what an agent holds, what is exchanged and who trains what; None for everything, by all. levels: of a
    nested model, the level of each agent; () otherwise.
    """

    of: tuple[int, ...]
    whole: Whole | None = None
    blocks: Blocks | None = None
    levels: tuple[int, ...] = ()

    @property
    def held(self) -> np.ndarray | None:
        """Whether each agent holds each coordinate, (agents, P), of a nested model; None where all hold all."""
        if self.blocks is None or not self.levels:
            return None
        sizes = [self.blocks.held(level).size for level in self.levels]
        return np.arange(self.blocks.size)[None, :] < np.array(sizes)[:, None]

    @cached_property
    def members(self) -> list[np.ndarray]:
        """The agents of each part."""
        return [np.flatnonzero(np.array(self.of) == k) for k in range(self.whole.map.count if self.whole else 1)]

    def consensus(
        self, models: Callable[[np.ndarray, Array], tuple[Array, Array]], weights: Array, matmul: Any
    ) -> tuple[Array, Array]:
        """The mean of each part, (K, p), and sqrt(mean_i ||theta_i - mean of its part||^2).

        models: of some agents, given their numbers and weights: vectors, and a weight for each of these. weights
        (n,): of all agents, their sum 1; (n, B) for B blocks.
        """
        means, squares = [], []
        for members in self.members:
            theta, some = models(members, weights[members])
            mean = weighted_mean(theta, some, matmul, self.blocks)
            distance = consensus_distance(theta, some, mean, self.blocks)
            if self.whole is None:
                return mean[None], distance
            means.append(mean)
            squares.append(weights[members].sum() * jnp.square(distance))
        return jnp.stack(means), jnp.sqrt(jnp.stack(squares).sum())

    def completed(self, means: Array, agent: Array, theta: Array) -> Array:
        """An agent's model with what is exchanged merged, (p,): without what is its own there is no model.

        means (K, p): of each part; agent: its number; theta (p,): its own.
        """
        return jnp.where(self.exchanged, means[jnp.array(self.of)[agent]], theta)

    @property
    def keeps(self) -> bool:
        """Whether something is each agent's own."""
        return self.blocks is not None and self.blocks.keeps

    def shown(self, theta: Array) -> Array:
        """What codecs see of models, (agents, p): nothing of what is each agent's own."""
        return jnp.where(self.exchanged, theta, 0) if self.keeps else theta

    @property
    def exchanged(self) -> Array:
        """Whether each coordinate of what an agent holds is exchanged: (p,), or True where all are."""
        if self.blocks is None:
            return jnp.array(True)
        return jnp.concatenate([jnp.full(run.stop - run.start, block != OWN) for run, block in self.blocks.runs])

    def assembled(self, means: Array, weights: Array) -> Array:
        """The full model, (P,), assembled from the mean vector of each of K subnetworks, (K, p), and their weights."""
        if self.whole is None:
            return means[0]
        return self.whole.map.assemble(means, jnp.stack([weights[members].sum() for members in self.members]))

    def learner(self, own: Learner) -> Learner:
        """Of the assembled model. own: the agents'."""
        return own if self.whole is None else self.whole.learner
