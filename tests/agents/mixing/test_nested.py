"""Nested slices: the map between a model and them, for every kind of layer, and the mean of what agents hold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.mixing.blocks import Blocks
from agents.mixing.consensus import NobodyTrains, RunningConsensus, check_levels, consensus_distance, weighted_mean
from agents.mixing.narrow import NarrowError
from agents.mixing.nested import Nested


def dense(inputs, *widths, share=1.0):
    """Shapes of an MLP whose hidden widths are these times share."""
    hidden = [round(width * share) for width in widths[:-1]]
    sizes = [inputs, *hidden, widths[-1]]
    return [
        (f"layer_{k}/{name}", shape)
        for k, (a, b) in enumerate(pairwise(sizes))
        for name, shape in (("bias", (b,)), ("weights", (a, b)))
    ]


def convolutions(share=1.0):
    """One convolution, flattened over 3 pixels into a dense layer."""
    channels, hidden = round(4 * share), round(8 * share)
    return [
        ("a/bias", (channels,)),
        ("a/kernel", (2, 2, 1, channels)),
        ("b/bias", (hidden,)),
        ("b/kernel", (3 * channels, hidden)),
        ("c/kernel", (hidden, 2)),
    ]


@st.composite
def models(draw):
    """A model's slices: of an MLP with any number of layers and levels, or with a convolution."""
    levels = draw(st.integers(1, 3))
    if levels < 3 and draw(st.booleans()):
        return Nested(convolutions(), [convolutions(2.0**-k) for k in range(1, levels + 1)])
    widths = [2**levels * draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 3)))]
    shape = draw(st.integers(1, 4)), *widths, draw(st.integers(1, 3))
    return Nested(dense(*shape), [dense(*shape, share=2.0**-k) for k in range(1, levels + 1)])


@settings(max_examples=50)
@given(models())
def test_slices_nest_and_every_coordinate_is_in_exactly_one_chunk(map):
    blocks = map.blocks
    held = [set(map.held(block).tolist()) for block in range(blocks.count)]
    assert all(small < large for small, large in pairwise(held)) and len(held[-1]) == map.size
    assert sorted(map.order.tolist()) == list(range(map.size))
    covered = [at for chunk in blocks.scope.chunks() for at in range(chunk.start, chunk.stop)]
    assert covered == list(range(map.size))
    for block in range(blocks.count):
        scope = blocks.held(block)
        assert set(map.order[: scope.size].tolist()) == held[block], "a slice is a prefix of the common order"
        assert scope.chunks() == blocks.scope.chunks()[: len(scope.chunks())]
    assert Blocks.of_settings({**blocks.settings, "submodel": "nested"}, map.size) == blocks


@settings(max_examples=50)
@given(models(), st.integers(0, 1000))
def test_to_take_a_slice_and_to_put_it_back_is_the_identity_on_what_it_holds(map, seed):
    theta = np.random.default_rng(seed).normal(size=map.size).astype(np.float32)
    for block in range(map.blocks.count):
        own = theta[map.held(block)]
        padded = map.padded(own, block)
        assert map.narrowed(padded, block).tolist() == own.tolist()
        whole = map.whole(padded)
        assert whole[map.held(block)].tolist() == own.tolist()
        assert np.count_nonzero(whole) == np.count_nonzero(own), "nothing elsewhere"


def test_a_slice_is_the_first_units_of_each_layer_and_of_each_group_of_a_flattened_one():
    full = [(name, shape) for name, shape in convolutions()]
    map = Nested(full, [convolutions(0.5)])
    names = np.concatenate([[f"{name} {at}" for at in np.ndindex(shape)] for name, shape in full])
    held = set(names[map.held(0)].tolist())
    assert {"a/kernel (1, 1, 0, 1)", "b/bias (3,)", "c/kernel (3, 1)"} <= held
    assert held.isdisjoint({"a/kernel (0, 0, 0, 2)", "b/bias (4,)", "c/kernel (4, 0)"})
    assert {at for at in range(12) if f"b/kernel ({at}, 0)" in held} == {0, 1, 4, 5, 8, 9}


@settings(max_examples=30)
@given(models(), st.integers(0, 1000), st.lists(st.floats(0.01, 100), min_size=1, max_size=6))
def test_the_consensus_of_a_coordinate_is_the_mean_of_those_who_hold_it(map, seed, weights):
    """M_f = sum_i m_i w_i theta_i / sum_i m_i w_i by its definition, and distances among holders alone."""
    random, blocks = np.random.default_rng(seed), map.blocks
    levels = [blocks.count - 1, *random.integers(0, blocks.count, len(weights) - 1).tolist()]
    own = [random.normal(size=map.held(level).size).astype(np.float32) for level in levels]
    mean, squared = np.zeros(map.size), 0.0
    for at in range(map.size):
        there = [
            (w, float(theta[np.flatnonzero(map.held(level) == at)[0]]))
            for w, theta, level in zip(weights, own, levels, strict=True)
            if at in map.held(level)
        ]
        mean[at] = sum(w * x for w, x in there) / sum(w for w, _ in there)
        squared += sum(w * (x - mean[at]) ** 2 for w, x in there)
    running = RunningConsensus(map.size, blocks)
    thetas = np.stack([map.padded(theta, level) for theta, level in zip(own, levels, strict=True)])
    for theta, weight, level in zip(thetas, weights, levels, strict=True):
        running.add(theta, weight, capacity=2.0 ** (level - blocks.count + 1))
    check_levels(running.masses, map)
    masses = np.array([blocks.weights(w, level) for w, level in zip(weights, levels, strict=True)], np.float32)
    merged = weighted_mean(thetas, masses, blocks=blocks)
    for found in (running.mean, merged):
        np.testing.assert_allclose(map.whole(found), mean, atol=1e-4)
    distance = pytest.approx((squared / sum(weights)) ** 0.5, rel=1e-3, abs=1e-3)
    assert running.distance == distance
    assert float(consensus_distance(thetas, masses, blocks=blocks)) == distance


def test_what_nobody_holds_is_an_error_with_the_parameters():
    map = Nested(dense(3, 4, 2), [dense(3, 4, 2, share=0.5)])
    with pytest.raises(NobodyTrains, match="holds all of layer_0/bias, layer_0/weights, layer_1/weights: of"):
        check_levels([2.0, 0.0], map)


def test_narrow_models_that_do_not_fit_are_refused_with_the_parameter():
    with pytest.raises(NarrowError, match=r"layer_0/bias is \(4,\) in the full model and \(1,\)"):
        Nested(dense(3, 4, 2), [dense(3, 4, 2, share=0.25)])
    halves = [("a/bias", (4,)), ("b/bias", (8,))]
    with pytest.raises(NarrowError, match="slices must nest"):
        Nested(halves, [[("a/bias", (2,)), ("b/bias", (8,))], [("a/bias", (4,)), ("b/bias", (2,))]])
