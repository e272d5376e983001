"""Trains the agents of a wave: the learner's own `train`, on every lane."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from agents.learning.learner import Learner
from agents.learning.step import TrainState
from sim.device.coding import codec_for
from sim.device.lanes import each_lane, rows_of
from sim.device.population import Array, Inputs, Static


def starting(learner: Learner, theta: Array) -> Any:
    """What training keeps of each agent from one turn to the next, at the start: theta (agents, P)."""
    opt_state = jax.tree.map(
        lambda leaf: jnp.repeat(jnp.asarray(leaf)[None], len(theta), axis=0), learner.init(0).opt_state
    )
    return (opt_state, jnp.array(theta[:, : learner.size])) if learner.rule.exchanged is not None else opt_state


def with_further(learner: Learner, theta: Array) -> Array:
    """Theta, (agents, P), with what the rule exchanges beside it at the start: (agents, V * P)."""
    if learner.rule.beside is None:
        return theta
    further = learner.flatten(learner.rule.beside(learner.init(0).opt_state))
    return jnp.concatenate([theta, jnp.broadcast_to(further, (len(theta), len(further)))], axis=1)


def codec_state(learner: Learner, static: Static, rows: Array) -> Any:
    """What the codec has learned of each vector at the start: rows (agents, V * P)."""
    begin = jax.jit(codec_for(static.codec, learner).begin)
    return tuple(begin(static.parts.shown(part)) for part in jnp.split(rows, len(learner.rule.vectors), axis=1))


def trainer(learner: Learner, static: Static) -> Any:
    """(theta (L, P), opt_state, rows, agent, step (L,), inputs) -> (theta, opt_state, loss (L,))."""

    remembers = learner.rule.exchanged is not None

    def train_one(lane: Any, data: dict[str, Array]) -> Any:
        theta, kept, rows, seed, number, step, late = lane
        opt_state, before = kept if remembers else (kept, theta[: learner.size])
        if remembers:  # What a late joiner takes over is no exchange, and it is theta alone.
            first = late & (step == 0)
            before = jnp.where(first, theta[: learner.size], before)
            own = learner.vector(TrainState(learner.unflatten(before), opt_state))
            theta = jnp.where(first, own, theta)
        state = TrainState(learner.unflatten(before), opt_state)
        state = learner.exchanged(state, learner.unpack(theta), number)
        state, losses = learner.train(state, data, rows, number, step, None, seed)
        shared = learner.vector(state)
        return shared, (state.opt_state, shared[: learner.size]) if remembers else state.opt_state, losses[-1]

    def train_all(theta: Array, opt_state: Any, rows: Array, agent: Array, step: Array, inputs: Inputs) -> Any:
        each = (rows_of(of_agents, agent) for of_agents in (inputs.seeds, inputs.numbers))
        lanes = theta, opt_state, rows, *each, step, rows_of(inputs.late, agent)
        return each_lane(train_one, lanes, inputs.data, static)

    return train_all


@partial(jax.jit, static_argnums=(0, 1))
def finals(learner: Learner, static: Static, theta: Array, opt_state: Any, numbers: Array) -> Array:
    """What agents end with once they have taken their last step: theta and the result (agents, P)."""

    def final_one(lane: Any, _: Any) -> Array:
        theta, kept, number = lane
        opt_state = kept[0] if learner.rule.exchanged is not None else kept
        return learner.flatten(learner.final(TrainState(learner.unflatten(theta), opt_state), number).params)

    return each_lane(final_one, (theta, opt_state, numbers), {}, static)
