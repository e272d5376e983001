"""Trains the agents of a wave: the learner's own `train`, on every lane."""

from typing import Any

import jax
import jax.numpy as jnp

from agents.learning.learner import Learner
from agents.learning.step import TrainState
from sim.device.lanes import each_lane, rows_of
from sim.device.population import Array, Inputs, Static


def starting(learner: Learner, theta: Array) -> Any:
    """What training keeps of each agent from one turn to the next, at the start: theta (agents, P)."""
    opt_state = jax.tree.map(
        lambda leaf: jnp.repeat(jnp.asarray(leaf)[None], len(theta), axis=0), learner.init(0).opt_state
    )
    return (opt_state, jnp.array(theta)) if learner.rule.exchanged is not None else opt_state


def trainer(learner: Learner, static: Static) -> Any:
    """(theta (L, P), opt_state, rows, agent, step (L,), inputs) -> (theta, opt_state, loss (L,))."""

    remembers = learner.rule.exchanged is not None

    def train_one(lane: Any, data: dict[str, Array]) -> Any:
        theta, kept, rows, seed, number, step = lane
        opt_state, before = kept if remembers else (kept, theta)
        state = TrainState(learner.unflatten(before), opt_state)
        state = learner.exchanged(state, learner.unflatten(theta), number)
        state, losses = learner.train(state, data, rows, number, step, None, seed)
        theta = learner.flatten(state.params)
        return theta, (state.opt_state, theta) if remembers else state.opt_state, losses[-1]

    def train_all(theta: Array, opt_state: Any, rows: Array, agent: Array, step: Array, inputs: Inputs) -> Any:
        lanes = theta, opt_state, rows, rows_of(inputs.seeds, agent), rows_of(inputs.numbers, agent), step
        return each_lane(train_one, lanes, inputs.data, static)

    return train_all
