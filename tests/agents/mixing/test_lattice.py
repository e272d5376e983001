"""Lattice coding: wraps are noticed, rounding has no bias, and the step follows the disagreement."""

import numpy as np
import pytest

from agents.mixing import exchange
from agents.mixing.codecs import CODECS
from agents.mixing.codecs.lattice import step_of, written
from agents.mixing.codecs.lattice_code import blocked
from tests.agents.mixing.codec_exchanges import Swarm

LATTICES = {name: codec for name, codec in CODECS.items() if name.startswith("lattice")}


@pytest.fixture(params=LATTICES.values(), ids=LATTICES)
def lattice(request):
    return request.param


@pytest.fixture(params=[*LATTICES.values(), CODECS["bfloat16"]], ids=[*LATTICES, "bfloat16"])
def any_width(request):
    return request.param


def normal(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def test_differences_far_beyond_the_range_leave_the_block_alone_and_later_offers_recover(lattice):
    """On both sides; the blocks beside it are mixed."""
    start = np.tile(1 + 0.01 * normal(384), (2, 1))
    start[1, 128:256] += normal(128, seed=1)
    swarm = Swarm(lattice, start)
    swarm.states = [np.full(3, 1e-4, np.float32) for _ in range(2)]
    start[1, :128] += 1e-4 * normal(128, seed=2)
    swarm.theta[1] = start[1]
    alone = 0
    while not (d := swarm.exchange(0, 1))[128:256].any():
        np.testing.assert_array_equal(swarm.theta[:, 128:256], start[:, 128:256])
        alone += 1
        assert alone < 20
    assert alone >= 10 and np.abs(d[128:256]).max() > 0.1
    assert np.abs(swarm.theta[0, :128] - swarm.theta[1, :128]).max() < 5e-4
    for _ in range(300):
        swarm.exchange(0, 1)
    assert swarm.distance < 1e-5


def test_a_wrap_that_is_not_noticed_is_one_in_many(any_width):
    """The checksum has 16 bits: of a thousand differences that are aliased hardly one passes."""
    passed = 0
    for seed in range(1000):
        theta = normal(128, seed=seed)
        other = theta + normal(128, seed=seed + 1000)
        offered = any_width.offer(theta, np.full(1, 1e-3, np.float32))
        passed += int(any_width.answer(other, offered, None).steps.any())
    assert passed <= 1


def test_an_alias_that_passed_once_is_noticed_by_other_offers():
    """It takes agents apart in its own direction: if it passed each time they would go on (docs/theory.md 24)."""
    lattice, blocks, random = CODECS["lattice:3"], 1 << 15, np.random.default_rng(0)
    theta, state, passed = random.normal(size=128 * blocks).astype(np.float32), np.full(blocks, 0.1, np.float32), []
    while not len(passed):
        offered = lattice.offer(theta, state)
        beyond = np.float32(8) * random.integers(-1, 2, size=(blocks, 128)) * step_of(offered.steps)[:, None]
        other = theta + beyond.astype(np.float32).reshape(-1)
        passed = np.flatnonzero(lattice.answer(other, offered, None).steps)
    assert len(passed) <= 4
    block = slice(128 * passed[0], 128 * passed[0] + 128)
    again = 0
    for k in range(50):
        moved = np.float32(1e-3 * k)
        offered = lattice.offer(theta[block] + moved, state[:1])
        again += int(lattice.answer(other[block] + moved, offered, None).steps.any())
    assert again <= 1


def test_rounding_has_no_bias(lattice):
    """Of w, over dithers that are drawn anew: the mean of 4000 is the difference, to six standard deviations."""
    theta = 1 + 0.01 * normal(256)
    other = theta + 0.002 * normal(256, seed=1)
    state, sums, count = np.full(2, 0.01, np.float32), np.zeros(256), 4000
    other[128:] = theta[128:]
    for k in range(count):
        theta[255] = 1 + k / 1e4  # So the key is another; this block isn't looked at.
        offered = lattice.offer(theta, state)
        answered = lattice.answer(other, offered, None)
        assert answered.steps[0]
        sums += answered.w * step_of(answered.steps[0])
    step = float(step_of(answered.steps[0]))
    error = sums[:128] / count - (other - theta)[:128]
    assert np.abs(error).max() < 6 * 0.5 * step / np.sqrt(count)
    assert abs(error.mean()) < 6 * 0.5 * step / np.sqrt(count)


def test_offers_differ_in_their_dither_though_the_first_block_never_changes(any_width):
    """As the weights of a pixel that is dark in all images don't."""
    theta, keys = normal(1000), set()
    for k in range(100):
        theta[500 + k] += np.float32(1e-6)
        keys.add(int(any_width.offer(theta, any_width.begin(theta)).key))
    assert len(keys) == 100


def test_an_equal_vector_is_left_as_it_is(any_width):
    theta = normal(1000)
    swarm = Swarm(any_width, [theta, theta])
    for _ in range(50):
        assert not swarm.exchange(0, 1).any()


def test_what_is_applied_lies_between_nothing_and_all_that_is_shown(any_width):
    theta = normal(1280)
    answered, d = exchange.difference(any_width, theta, theta + 0.002 * normal(1280, seed=1), any_width.begin(theta))
    shown = blocked(answered.w) * step_of(answered.steps)[:, None]
    share = np.divide(blocked(d), shown, out=np.full_like(shown, 0.5), where=shown != 0)
    assert (share >= 0).all() and (share <= 1).all()
    assert np.ptp(share[shown != 0].reshape(-1)) < 1


def test_the_step_follows_the_disagreement_down_and_up(lattice):
    swarm = Swarm(lattice, 1 + 0.1 * normal(2, 1280))
    swarm.pairs(120)
    small = float(np.median(swarm.states[0]))
    swarm.theta[1] += 0.1 * normal(1280, seed=5)
    swarm.pairs(40)
    assert small < 1e-5 and np.median(swarm.states[0]) > 10 * small
    swarm.pairs(150)
    assert np.median(swarm.states[0]) < 1e-4


def test_only_who_offered_with_too_short_a_step_takes_a_longer_one():
    """Others would otherwise lengthen theirs for each neighbor that underestimates."""
    lattice = CODECS["lattice:4"]
    swarm = Swarm(lattice, np.stack([normal(128), normal(128, seed=1)]))
    swarm.states = [np.full(1, 1e-3, np.float32), np.full(1, 0.5, np.float32)]
    assert not swarm.exchange(0, 1).any()
    assert (float(swarm.states[0][0]), float(swarm.states[1][0])) == (pytest.approx(2e-3), 0.5)


@pytest.mark.parametrize("step", [2.0**-43, 1e-6, 0.7, 1.0, 3.14, 1e5])
def test_a_step_is_written_in_a_byte_as_the_next_longer(step):
    byte = written(np.float32([step]))
    found = float(step_of(byte)[0])
    assert step <= found <= 1.25 * step and int(byte[0]) > 0
    assert int(written(np.float32([found]))[0]) == int(byte[0])


def test_steps_that_are_too_short_or_long_for_a_byte_are_the_shortest_and_the_longest():
    assert written(np.float32([0.0, 1e-30, 1e30, np.inf])).tolist() == [1, 1, 255, 255]
