"""What a simulated run begins with: models, their mean, and who is evaluated when."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.learning.data import permutation
from agents.learning.learner import Learner
from agents.mixing.consensus import weighted_mean
from sim.checks import SimulationError, array, shown

PICKS = 9  # keeps the random stream apart from those of shards and batches


def picks(agents: int, picked: int, moments: range, seeds: Sequence[int]) -> np.ndarray:
    """Who of each group is evaluated at each moment: int32 (S, groups, picked), ascending. moments: their numbers."""

    def pick(seed: int, moment: int) -> np.ndarray:
        if picked == agents:
            return np.arange(agents)
        return np.sort(permutation(agents, seed, PICKS, moment)[:picked])

    return np.array([[pick(seed, moment) for seed in seeds] for moment in moments], np.int32)


def start(learner: Learner, agents: int, local_steps: int, seed: int, init: Any) -> np.ndarray:
    """The models to begin with: (agents, P). One for all where they train, else those given or random ones."""
    shape = (agents, learner.size)
    if init is not None:
        expected = f"init is (agents, params) finite numbers, {shape} here: got "
        given = array(init, SimulationError(expected + shown(init)))
        if given.shape not in (shape, shape[1:]) or not np.isfinite(given.astype(np.float32)).all():
            raise SimulationError(f"{expected}shape {given.shape}")
        return np.broadcast_to(given.astype(np.float32), shape)
    if not local_steps:
        return np.random.default_rng(seed % 2**64).standard_normal(shape, np.float32)
    return np.broadcast_to(np.asarray(learner.flatten(learner.init(seed).params)), shape)


def is_one(theta: np.ndarray) -> bool:
    """Whether all agents start from one vector, held once."""
    return theta.strides[0] == 0


def origins(started: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """The consensus model of each group's models (agents, P) to begin with: (groups, P)."""
    each = zip(started, weights, strict=True)
    return np.array([one[0] if is_one(one) else weighted_mean(one, part) for one, part in each], np.float32)
