"""Each rule in two agents that really train and meet over sockets, and in the simulator, by the same code."""

import time
from functools import cache

import jax
import numpy as np
import pytest
from test_peer import together

from agents import Peer
from agents.learning.data import load_rows, samples
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.learning.rule_names import ACCELERATED, PARAMETERS, RULE_NAMES, VALUES
from agents.schedule import schedule_of
from agents.trainer import EpochBatches, ShardData, Trainer
from agents.values import Every
from sim import simulate

STEPS = 40
RULES = (*RULE_NAMES, "quasi+drift+noloco+prox+tracking", "momentum+drift+tracking+ema")


def trained(rule, codec="float32"):
    """What two agents hold that train with this rule, exchange every second step and finish exactly: their states."""
    task = load_task("digits")
    learner = make_learner(task, total_steps=STEPS, rule=rule)
    rows = np.argsort(np.asarray(load_rows(task.train_data, np.arange(samples(task.train_data)))["y"]), kind="stable")
    halves = [load_rows(task.train_data, half) for half in np.array_split(rows, 2)]
    start = learner.shared(learner.init(0))
    settings = {"task": "digits", "every": "2steps", "codec": codec, "vectors": learner.rule.vectors}
    first = Peer(start, name="one", **settings)
    with first, Peer(start, name="two", join=first.address, **settings) as second:

        def one(number, peer):
            shard = ShardData(jax.device_put(halves[number]), number, len(halves[number]["y"]))
            schedule = schedule_of(Every(steps=2), time.monotonic())
            trainer = Trainer(learner, shard, EpochBatches(shard, task.batch_size, 0, 2), schedule)
            state = trainer.compile(learner.init(0))
            state = state._replace(params=learner.params_of(peer.meet(learner.shared(state))))
            assert peer.wait_for(2, 60)
            peer.publish("training")
            state = trainer.end(trainer.run(state, peer, STEPS, lambda: True, lambda state, progress: None))
            return state._replace(params=learner.params_of(peer.finish(learner.shared(state))))

        return learner, together(lambda: one(0, first), lambda: one(1, second))


@pytest.mark.parametrize("rule", RULES)
def test_two_agents_train_with_it_and_finish_equal(rule):
    learner, states = trained(rule)
    thetas = [np.asarray(learner.flatten(state.params)) for state in states]
    assert np.isfinite(thetas[0]).all() and np.abs(thetas[0] - thetas[1]).max() < 1e-6
    assert np.abs(thetas[0] - np.asarray(learner.flatten(learner.init(0).params))).max() > 1e-3
    assert learner.rule.exchanged is None or all(moved(state.opt_state) for state in states)


def moved(state):
    """Whether a rule of ours keeps anything of what exchanges brought."""
    return any(np.abs(np.asarray(leaf, np.float64)).max() > 0 for leaf in jax.tree.leaves(state))


@cache
def simulated(rule):
    """Theta of four agents at the end of a few rounds."""
    settings = {"agents": 4, "rounds": 15, "local_steps": 2, "partition": "labels:2", "eval_every": 15, "seed": 3}
    return simulate("digits", rule=rule, picked=1, progress=False, **settings).theta


@pytest.mark.parametrize("rule", [*VALUES])
def test_the_simulator_trains_with_it_and_it_differs_from_parameters(rule):
    number = ":2" if rule == ACCELERATED else ""  # Four agents agree so fast that by itself it would do nothing.
    theta, plain = simulated(rule + number), simulated(PARAMETERS)
    assert np.isfinite(theta).all() and theta.tobytes() != plain.tobytes()
