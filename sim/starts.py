"""What a simulation begins with: the models of its agents, and who of them is evaluated when."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.learning.data import permutation
from agents.learning.learner import Learner
from agents.mixing.consensus import weighted_mean
from sim.checks import SimulationError, array, shown
from sim.device.whole import Parts

PICKS = 9  # keeps the random stream apart from those of shards and batches


def picks_of(agents: int, picked: int, moments: int, seeds: Sequence[int]) -> np.ndarray:
    """Who of each group is evaluated at each moment: int32 (S, groups, picked), ascending."""

    def pick(seed: int, moment: int) -> np.ndarray:
        if picked == agents:
            return np.arange(agents)
        return np.sort(permutation(agents, seed, PICKS, moment)[:picked])

    return np.array([[pick(seed, moment) for seed in seeds] for moment in range(moments)], np.int32)


def start_of(learner: Learner, agents: int, local_steps: int, seed: int, init: Any, parts: Parts) -> np.ndarray:
    """The models to begin with: (agents, P). One for all where they train, else those given or random ones.

    Of agents that train subnetworks each has its part of the full model's first one.
    """
    shape = (agents, learner.size)
    if init is not None:
        expected = f"init is (agents, params) finite numbers, {shape} here: got "
        given = array(init, SimulationError(expected + shown(init)))
        if given.shape not in (shape, shape[1:]) or not np.isfinite(given.astype(np.float32)).all():
            raise SimulationError(f"{expected}shape {given.shape}")
        return np.broadcast_to(given.astype(np.float32), shape)
    if not local_steps:
        return np.random.default_rng(seed % 2**64).standard_normal(shape, np.float32)
    if parts.whole is None:
        return np.broadcast_to(np.asarray(learner.flatten(learner.init(seed).params)), shape)
    full = parts.whole.learner
    theta, map = np.asarray(full.flatten(full.init(seed).params)), parts.whole.map
    first = [np.asarray(map.begin(theta, k)) for k in range(map.count)]
    return np.stack([first[k] for k in parts.of])


def is_one(theta: np.ndarray) -> bool:
    """Whether all agents start from one vector, held once."""
    return theta.strides[0] == 0


def means_of(theta: np.ndarray, weights: np.ndarray, parts: Parts) -> np.ndarray:
    """The consensus models of the models to begin with, of each part, one after the other: (K * p,)."""
    if is_one(theta) and parts.whole is None:
        first: np.ndarray = theta[0]
        return first
    means: list[np.ndarray] = [weighted_mean(theta[some], weights[some]) for some in parts.members]
    return np.concatenate(means)
