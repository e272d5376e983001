"""`simulate(weigh="speed")`: slow agents weigh less, by the function that agents use."""

import numpy as np
import pytest

from agents.settings import Gossiping
from agents.values import SettingsError
from sim import simulate

SETTINGS = {"agents": 8, "topology": "complete", "rounds": 40, "local_steps": 2, "partition": "iid", "progress": False}
SPEEDS = [1, 1, 1, 0.05, 1, 0.4, 1, 1]


def test_of_equal_speeds_it_is_samples():
    speed, samples = (simulate("digits", weigh=weigh, **SETTINGS) for weigh in ("speed", "samples"))
    assert speed.theta.tobytes() == samples.theta.tobytes()


def test_the_consensus_is_the_mean_by_samples_and_shares():
    """Without training the weighted mean stays: with which weights, two vectors far apart show."""
    start = np.zeros((8, 4810), np.float32)
    start[3], start[5] = 1.0, 10.0
    found = simulate("digits", weigh="speed", speeds=SPEEDS, init=start, **SETTINGS | {"local_steps": 0, "rounds": 60})
    shares = np.array([1, 1, 1, 1 / 16, 1, 1 / 2, 1, 1])
    np.testing.assert_allclose(found.theta, np.tile(shares @ start / shares.sum(), (8, 1)), atol=1e-5)


def test_slow_agents_cost_less_than_by_samples():
    """Loss of the merged model on test data, eight agents of which two are slow; the same seeds for both."""
    settings = SETTINGS | {"rounds": 60, "speeds": SPEEDS, "eval_every": 60}
    seeds = range(3)
    loss = {w: np.mean([simulate("digits", weigh=w, seed=seed, **settings).consensus_loss[-1] for seed in seeds])
            for w in ("samples", "speed")}  # fmt: skip
    assert loss["speed"] < loss["samples"]


@pytest.mark.parametrize("rule", ["drift", "tracking", "prox+drift:0.1"])
def test_agents_refuse_it_with_rules_whose_corrections_need_constant_weights(rule):
    with pytest.raises(SettingsError, match="corrects by what agents weigh, which --weigh speed changes meanwhile"):
        Gossiping(weigh="speed", rule=rule)
