"""What a learning rule learns where agents train blocks of the model: of its own block alone (docs/theory.md 29)."""

import jax
import numpy as np
import pytest

from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.learning.rules import Rule, traces
from agents.prepare import trained_of

TASK = load_task("digits")


def learner_of(shard: int | None, rule: str | Rule):
    blocks, part = trained_of(TASK, (), "layers:2", shard)
    return make_learner(TASK, rule=rule, part=part), blocks


def moved(learner, by: float):
    """A state, and what is shared of it after exchanges have moved all of that by so much."""
    state = learner.init(0)
    return state, jax.tree.map(lambda leaf: leaf + np.float32(by), learner.shared(state))


@pytest.mark.parametrize("shard", [0, 1])
def test_drift_remembers_no_movement_of_what_is_followed(shard):
    learner, blocks = learner_of(shard, "drift:0.25")
    state, params = moved(learner, 0.5)
    after = learner.exchanged(state, params)
    pull = np.asarray(learner.flatten(after.opt_state.pull))
    for run, block in blocks.runs:
        assert (np.abs(pull[run]).min() > 0) if block == shard else not pull[run].any()
    np.testing.assert_array_equal(learner.flatten(after.params), learner.flatten(params))


@pytest.mark.parametrize("shard", [0, 1])
def test_of_further_vectors_too_no_movement_of_what_is_followed_is_seen(shard):
    """It takes theta over, and the state of its rule is as if nothing had come there."""
    learner, blocks = learner_of(shard, "momentum+tracking:0.5")
    state, mixed = moved(learner, 0.5)
    after = learner.exchanged(state, mixed)
    (trace,) = traces.of(after.opt_state)
    for kept, expected in ((trace, 0.5), (after.opt_state.correction, 0.25)):
        vector = np.asarray(learner.flatten(kept))
        for run, block in blocks.runs:
            np.testing.assert_array_equal(vector[run], expected if block == shard else 0.0)
    np.testing.assert_array_equal(learner.flatten(after.params), learner.flatten(mixed[0]))


@pytest.mark.parametrize("rule", ["drift:0.25", "momentum+tracking:0.5"])
def test_where_the_agent_is_known_only_as_the_program_runs_it_is_the_same(rule):
    own, _ = learner_of(1, rule)
    any_of_them, _ = learner_of(None, rule)
    found = any_of_them.exchanged(*moved(any_of_them, 0.5), np.int32(1))
    expected = own.exchanged(*moved(own, 0.5))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shard", [0, 1])
def test_an_agent_ends_with_the_average_of_its_own_block_alone(shard):
    learner, blocks = learner_of(shard, "ema:0.5")
    state, params = moved(learner, 0.5)
    average = jax.tree.map(lambda leaf: leaf + np.float32(0.25), params)
    state = state._replace(params=params, opt_state=state.opt_state._replace(average=average, steps=np.float32(3)))
    ended = np.asarray(learner.flatten(learner.final(state).params))
    for run, block in blocks.runs:
        expected = average if block == shard else params
        np.testing.assert_array_equal(ended[run], np.asarray(learner.flatten(expected))[run])


def half(state, before, after):
    """A rule of one's own that goes on from halfway."""
    return state, jax.tree.map(lambda b, a: (b + a) / 2, before, after)


def test_a_rule_moves_only_what_the_agent_trains():
    learner, blocks = learner_of(0, Rule("half", ("theta",), lambda optimizer: optimizer, half))
    state, params = moved(learner, 1.0)
    before = np.asarray(learner.flatten(state.params))
    gone = np.asarray(learner.flatten(learner.exchanged(state, params).params)) - before
    for run, block in blocks.runs:
        np.testing.assert_allclose(gone[run], 0.5 if block == 0 else 1.0, atol=1e-6)
