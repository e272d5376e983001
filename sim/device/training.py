"""Trains the agents of a wave: the learner's own `train`, on every lane."""

from typing import Any

from agents.learning.learner import Learner
from agents.learning.step import TrainState
from sim.device.lanes import each_lane, rows_of
from sim.device.population import Array, Inputs, Static


def trainer(learner: Learner, static: Static) -> Any:
    """(theta (L, P), opt_state, rows, agent, step (L,), inputs) -> (theta, opt_state, loss (L,))."""

    def train_one(lane: Any, data: dict[str, Array]) -> Any:
        theta, opt_state, rows, seed, number, step = lane
        state = TrainState(learner.unflatten(theta), opt_state)
        state, losses = learner.train(state, data, rows, number, step, None, seed)
        return learner.flatten(state.params), state.opt_state, losses[-1]

    def train_all(theta: Array, opt_state: Any, rows: Array, agent: Array, step: Array, inputs: Inputs) -> Any:
        lanes = theta, opt_state, rows, rows_of(inputs.seeds, agent), rows_of(inputs.numbers, agent), step
        return each_lane(train_one, lanes, inputs.data, static)

    return train_all
