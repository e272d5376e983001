"""How far from agreeing, and on what: the running way equals the direct one, NumPy equals JAX."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.blocks import OWN, blocks_of, nested_blocks
from agents.mixing.consensus import NobodyTrains, RunningConsensus, check_held, consensus_distance, weighted_mean
from agents.mixing.layout import CHUNK, Layout


def directly(thetas, weights):
    """The definition, in float64 and one agent at a time."""
    mean = sum(w * theta.astype(np.float64) for theta, w in zip(thetas, weights, strict=True)) / sum(weights)
    squared = [w * float(((theta - mean) ** 2).sum()) for theta, w in zip(thetas, weights, strict=True)]
    return mean, (sum(squared) / sum(weights)) ** 0.5


@given(st.integers(0, 1000), st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_running_consensus_is_the_definition_in_any_order(seed, weights, random):
    thetas = np.random.default_rng(seed).normal(size=(len(weights), 11)).astype(np.float32)
    mean, distance = directly(thetas, weights)
    order = list(range(len(weights)))
    random.shuffle(order)
    running = RunningConsensus(11)
    assert running.distance == 0
    for i in order:
        running.add(thetas[i], weights[i])
    np.testing.assert_allclose(running.mean, mean, atol=1e-5)
    assert running.distance == pytest.approx(distance, rel=1e-4, abs=1e-5)
    assert running.weight == pytest.approx(sum(weights))


def test_running_consensus_goes_over_the_seams_of_its_spans():
    thetas = np.random.default_rng(0).normal(size=(3, CHUNK + 5)).astype(np.float32)
    running = RunningConsensus(CHUNK + 5)
    for theta in thetas:
        running.add(theta)
    np.testing.assert_allclose(running.mean, thetas.mean(0), atol=1e-6)
    assert running.distance == pytest.approx(float(consensus_distance(thetas)), rel=1e-4)


def test_numpy_and_jax_agree_with_the_definition():
    thetas = np.random.default_rng(0).normal(size=(5, 11)).astype(np.float32)
    weights = np.array([1, 2, 3, 4, 0.5], np.float32)
    for given_weights, plain in ((None, [1.0] * 5), (weights, weights.tolist())):
        mean, distance = directly(thetas, plain)
        theirs = None if given_weights is None else jnp.asarray(given_weights)
        for xp_thetas, xp_weights in ((thetas, given_weights), (jnp.asarray(thetas), theirs)):
            np.testing.assert_allclose(weighted_mean(xp_thetas, xp_weights), mean, atol=1e-5)
            assert float(consensus_distance(xp_thetas, xp_weights)) == pytest.approx(distance, rel=1e-4)


def test_equal_vectors_are_at_no_distance():
    assert float(consensus_distance(np.ones((3, 4), np.float32))) == 0


@given(st.integers(0, 1000), st.lists(st.floats(0.01, 100), min_size=2, max_size=8), st.integers(1, 3), st.booleans())
def test_with_blocks_it_is_the_mean_of_those_who_train_each_coordinate(seed, weights, count, private):
    """M_f = sum_i m_i w_i theta_i / sum_i m_i w_i, in all ways; what is each agent's own counts for no distance."""
    layout = Layout([("a", (3,)), ("b", (4,)), ("c", (2,)), ("d", (5,))])
    count = min(count, len(weights))
    blocks = blocks_of(layout, ["b"] if private else [], count)
    thetas = np.random.default_rng(seed).normal(size=(len(weights), layout.size)).astype(np.float32)
    masses = np.array([blocks.weights(weight, shard) for shard, weight in enumerate(weights)])
    mean, squared = np.zeros(layout.size), np.zeros(len(weights))
    for at in range(layout.size):
        block = next(block for run, block in blocks.runs if run.start <= at < run.stop)
        if block != OWN:
            mean[at] = np.average(thetas[:, at], weights=masses[:, block])
            squared += (thetas[:, at] - mean[at]) ** 2
    distance = np.average(squared, weights=weights) ** 0.5
    running = RunningConsensus(layout.size, blocks)
    for shard, (theta, weight) in enumerate(zip(thetas, weights, strict=True)):
        running.add(theta, weight, shard)
    check_held(running.masses, blocks, layout.parameters, len(weights))
    merged = weighted_mean(jnp.asarray(thetas), jnp.asarray(masses, np.float32), blocks=blocks)
    for found in (running.mean, np.asarray(merged)):
        np.testing.assert_allclose(blocks.shared(found), mean, atol=1e-5)
    apart = consensus_distance(jnp.asarray(thetas), jnp.asarray(masses, np.float32), blocks=blocks)
    assert running.distance == pytest.approx(distance, rel=1e-4, abs=1e-5)
    assert float(apart) == pytest.approx(distance, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("levels", [False, True], ids=["blocks", "nested levels"])
def test_what_a_vector_weighs_by_block_decides_where_that_is_not_its_weight(levels):
    """As after some rounds of an exact finish, in which those who train a block have shared what they weigh there."""
    thetas = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    masses = np.array([[2.0, 1.5], [0.5, 0.0], [1.0, 3.0]])
    blocks = nested_blocks([4, 7]) if levels else blocks_of(Layout([("a", (4,)), ("b", (3,))]), [], 2)
    running = RunningConsensus(7, blocks)
    for shard, (theta, each) in enumerate(zip(thetas, masses, strict=True)):
        running.add(theta, 1.0, shard, (1.0, 0.5, 1.0)[shard], tuple(each.tolist()))
    mean = [np.average(thetas[:, at], axis=0, weights=masses[:, k]) for k, at in enumerate((slice(4), slice(4, 7)))]
    np.testing.assert_allclose(running.mean, np.concatenate(mean), atol=1e-6)


def test_a_block_that_nobody_trains_is_an_error_with_its_parameters_and_their_shards():
    blocks = blocks_of(Layout([("a", (3,)), ("b", (4,))]), [], 2)
    running = RunningConsensus(7, blocks)
    running.add(np.ones(7, np.float32), 1.0, shard=2)
    with pytest.raises(NobodyTrains, match=r"trains b: the agents of the shards 1/4, 3/4 do"):
        check_held(running.masses, blocks, [("a", (3,)), ("b", (4,))], 4)
