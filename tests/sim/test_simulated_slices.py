"""Simulated agents that hold nested slices, by the formulas of live ones: masks in the full shape."""

import numpy as np
import pytest

from agents import load_task
from agents.learning.learner import make_learner
from agents.mixing.consensus import weighted_mean
from agents.subnetworks import nested, slice_of
from sim import simulate
from sim.checks import SimulationError
from sim.learners import trained

DIGITS = load_task("digits")
MAP = nested(DIGITS)[0]
CAPACITIES = (1, 0.5, 0.25, 1)
LEVELS = [MAP.blocks.of_agent(0, capacity) for capacity in CAPACITIES]
HELD = np.arange(MAP.size)[None, :] < np.array([MAP.held(level).size for level in LEVELS])[:, None]
QUICK = {"agents": 4, "local_steps": 10, "progress": False, "submodel": "nested", "capacity": CAPACITIES}


def test_a_masked_agent_trains_as_a_dense_narrow_model_does():
    """The same shard and batches: the same steps to rounding, and nothing where it holds nothing."""
    capacities = tuple(map(float, CAPACITIES))
    masked = trained("digits", None, None, None, 5, submodel="nested", capacities=capacities).learner
    narrow, level = make_learner(slice_of(DIGITS, 0.5)[0], total_steps=5), LEVELS[1]
    data = {name: np.asarray(field[:64]) for name, field in DIGITS.train_data.items()}
    rows = np.random.default_rng(0).integers(0, 64, (5, 32)).astype(np.int32)
    theta = np.where(HELD[1], np.asarray(masked.flatten(masked.init(0).params)), 0)
    state = masked.replace(masked.init(0), theta)
    whole, losses = masked.train(state, data, rows, 1, 0)
    small, others = narrow.train(narrow.init(0), data, rows, 1, 0)
    np.testing.assert_allclose(losses, others, rtol=1e-4)
    own = MAP.padded(np.asarray(narrow.flatten(small.params)), level)
    np.testing.assert_allclose(np.asarray(masked.flatten(whole.params)), own, atol=1e-5)


def test_pure_consensus_ends_where_the_mean_of_the_holders_is():
    init = np.random.default_rng(0).normal(size=(4, MAP.size)).astype(np.float32)
    quick = {**QUICK, "rounds": 120, "local_steps": 0, "eval_every": 120}
    history = simulate("digits", init=init, topology="ring", **quick)
    masses = np.array([MAP.blocks.weights(1.0, level) for level in LEVELS], np.float32)
    mean = weighted_mean(np.where(HELD, init, 0).astype(np.float32), masses, blocks=MAP.blocks)
    np.testing.assert_allclose(history.theta, np.where(HELD, mean, 0), atol=1e-3)
    assert history.mean_drift[-1] < 1e-3, "of each coordinate among its holders nothing is lost or made"


def test_a_swarm_with_halves_and_a_quarter_comes_near_whole_models():
    history = simulate("digits", rounds=30, eval_every=30, topology="complete", **QUICK)
    assert history.consensus_accuracy[-1] > 0.93 and (history.theta[~HELD] == 0).all()
    assert history.facts["capacity"] == "1,0.5,0.25,1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"capacity": (1, 0.5)}, "one for each of 4 agents"),
        ({"capacity": (1, 1, 1, 0.3)}, "a capacity is one of"),
        ({"capacity": 0.5}, "must hold the whole model"),
        ({"submodel": "none"}, "below 1 needs"),
        ({"codec": "lattice:4"}, "is simulated with protocol 'exchange', codec 'float32'"),
        ({"protocol": "push"}, "is simulated with protocol 'exchange'"),
        ({"joins": {1: 3.0}}, "no joins"),
        ({"virtual": True}, "no virtual"),
        ({"private": "output/*"}, "exclude each other"),
    ],
    ids=str,
)
def test_what_is_not_simulated_is_refused_in_a_line(changes, words):
    with pytest.raises(SimulationError, match=words):
        simulate("digits", rounds=1, **QUICK | changes)
