"""How far a swarm is from agreeing, and what it agrees on. Pure, for any array namespace."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any  # of whichever namespace x.__array_namespace__() names


def weighted_mean(thetas: Array, weights: Array | None = None, matmul: Callable[..., Array] | None = None) -> Array:
    """The consensus model: (agents, P) -> (P,). weights: (agents,), all 1 if None.

    matmul: in place of the namespace's own, such as one of a given precision.
    """
    xp = thetas.__array_namespace__()
    if weights is None:
        return xp.mean(thetas, axis=0)
    return (matmul or xp.matmul)(weights / xp.sum(weights), thetas)


def consensus_distance(thetas: Array, weights: Array | None = None, mean: Array | None = None) -> Array:
    """sqrt(mean_i ||theta_i - mean||^2), how far the agents are from agreeing: (agents, P) -> scalar.

    weights: (agents,), all 1 if None. mean: their weighted mean, where it is known.
    """
    xp = thetas.__array_namespace__()
    mean = weighted_mean(thetas, weights) if mean is None else mean
    squared = xp.sum((thetas - mean[None, :]) ** 2, axis=1)
    if weights is None:
        return xp.sqrt(xp.mean(squared))
    return xp.sqrt(xp.sum(weights * squared) / xp.sum(weights))


class RunningConsensus:
    """The same two figures for vectors that come one at a time: memory of one vector, however many come.

    Welford's update (Technometrics 4, 1962) with weights, as in West (CACM 22, 1979).
    """

    def __init__(self, parameters: int) -> None:
        self.mean = np.zeros(parameters, np.float32)
        self.weight = 0.0
        self._scatter = 0.0

    def add(self, theta: np.ndarray[Any, np.dtype[np.float32]], weight: float = 1.0) -> None:
        """Take in one agent's vector, (P,)."""
        self.weight += weight
        for start in range(0, theta.size, 1 << 18):
            span = slice(start, start + (1 << 18))
            before = theta[span] - self.mean[span]
            self.mean[span] += (weight / self.weight) * before
            self._scatter += weight * float(np.dot(before, theta[span] - self.mean[span]))

    @property
    def distance(self) -> float:
        """sqrt(mean_i ||theta_i - mean||^2) of all so far; 0 for none."""
        return math.sqrt(max(0.0, self._scatter) / self.weight) if self.weight else 0.0
