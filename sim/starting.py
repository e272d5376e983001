"""What a simulated run begins with: models, their mean, and who is evaluated when."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.data import permutation
from agents.learning.learner import Learner
from agents.mixing.consensus import weighted_mean
from sim.checks import SimulationError, array, shown
from sim.device.population import Measured, Population, Static
from sim.device.training import codec_state, starting, with_further
from sim.device.whole import Parts

PICKS = 9  # keeps the random stream apart from those of shards and batches


def picks(agents: int, picked: int, moments: range, seeds: Sequence[int]) -> np.ndarray:
    """Who of each group is evaluated at each moment: int32 (S, groups, picked), ascending. moments: their numbers."""

    def pick(seed: int, moment: int) -> np.ndarray:
        if picked == agents:
            return np.arange(agents)
        return np.sort(permutation(agents, seed, PICKS, moment)[:picked])

    return np.array([[pick(seed, moment) for seed in seeds] for moment in moments], np.int32)


def first_moments(moments: np.ndarray, joins: np.ndarray, masses: np.ndarray, parts: Parts) -> np.ndarray:
    """From which moment on each agent counts in the consensus: int32 (groups, agents), (groups, 0) if all always do.

    joins (groups, agents): when each comes; from then on it stands for a model. masses (groups, agents) or (groups,
    agents, B): what it weighs, by block. A part or a block that nobody is there for stands as it began with those who
    come first.
    """
    if not joins.any():
        return np.empty((len(joins), 0), np.int32)
    first = np.where(joins > 0, np.searchsorted(moments, joins, side="right"), 0).astype(np.int32)
    for moment, comes, mass in zip(first, joins, masses, strict=True):
        for members in parts.members:
            for weighs in mass[members].reshape(len(members), -1).T > 0:
                some = members[weighs]
                moment[some[comes[some] == comes[some].min(initial=np.inf)]] = 0
    return first


def start(learner: Learner, agents: int, local_steps: int, seed: int, init: Any, parts: Parts) -> np.ndarray:
    """The models to begin with: (agents, P). One for all where they train, else those given or random ones.

    Of agents that train subnetworks each has its part of the full model's first one, and of those that hold slices its
    own, with 0 elsewhere.
    """
    theta = _all_of_it(learner, agents, local_steps, seed, init, parts)
    return theta if parts.held is None else np.where(parts.held, theta, np.float32(0))


def _all_of_it(learner: Learner, agents: int, local_steps: int, seed: int, init: Any, parts: Parts) -> np.ndarray:
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
    """Whether theta (agents, P) is a single vector in memory, broadcast to all agents."""
    return theta.strides[0] == 0


def origins(started: Sequence[np.ndarray], weights: np.ndarray, parts: Parts) -> np.ndarray:
    """The consensus models of each group's models (agents, p) to begin with, part after part: (groups, K * p)."""
    each = zip(started, weights, strict=True)
    return np.array([_means(theta, shares, parts) for theta, shares in each], np.float32)


def _means(theta: np.ndarray, weights: np.ndarray, parts: Parts) -> np.ndarray:
    if is_one(theta) and parts.whole is None:
        first: np.ndarray = theta[0]
        return first
    means: list[np.ndarray] = [weighted_mean(theta[some], weights[some], blocks=parts.blocks) for some in parts.members]
    return np.concatenate(means)


def at_start(learner: Learner, started: Sequence[np.ndarray], static: Static, put: Callable[[Any], Any]) -> Population:
    """Everyone at the start, nothing measured yet. What is the same for all is made many on the device, not here.

    started: (agents, P) of each group.
    """

    def on_device(theta: np.ndarray) -> jax.Array:
        return jnp.repeat(put(np.asarray(theta[0]))[None], len(theta), axis=0) if is_one(theta) else put(theta)

    groups = [on_device(theta) for theta in started]
    theta = with_further(learner, jnp.concatenate(groups) if len(groups) > 1 else groups[0])
    return Population(
        theta,
        starting(learner, theta) if static.local_steps else (),
        put(np.zeros(len(theta), np.float32)),
        Measured(None, None, {}, {}),
        codec_state(learner, static, theta),
    )
