"""Low rank: what it carries of a difference, which directions it learns, and what it costs."""

import numpy as np
import pytest

from agents.mixing.codecs import CodecError, named
from agents.mixing.layout import Layout, matrices
from tests.agents.mixing.codec_exchanges import Swarm, wired

SHAPES = ((40, 30), (1, 30), (30, 4), (1, 4))
SIZE = sum(rows * columns for rows, columns in SHAPES)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_what_differs_along_as_many_directions_is_carried_once_they_are_learned():
    """While it lasts: what training adds along the same directions, again and again."""
    codec, theta, moved = named("lowrank:2").on(SHAPES), normal(SIZE), np.zeros(SIZE, np.float32)
    moved[:1200] = 0.01 * (normal(40, 2, seed=1) @ normal(2, 30, seed=2)).reshape(-1)
    swarm = Swarm(codec, np.stack([theta, theta + moved]))
    for _ in range(50):
        d = swarm.exchange(0, 1)
        left = np.linalg.norm(swarm.theta[1] - swarm.theta[0])
        swarm.theta[1] += moved
    assert left < 0.5 * np.linalg.norm(moved)
    assert np.linalg.norm(d - moved) < 0.3 * np.linalg.norm(moved)


def test_vectors_and_small_matrices_are_exchanged_whole():
    """So they meet long before a large matrix does, of which each exchange carries two directions."""
    codec, start = named("lowrank:2").on(SHAPES), normal(2, SIZE, seed=5)
    swarm = Swarm(codec, start)
    for _ in range(15):
        swarm.exchange(0, 1)
    apart = np.abs(swarm.theta[0] - swarm.theta[1])
    assert apart[:1200].max() > 30 * apart[1200:].max()
    for _ in range(25):
        swarm.exchange(0, 1)
    assert np.abs(swarm.theta[0] - swarm.theta[1])[1200:].max() < 1e-3


def test_it_costs_three_numbers_of_a_byte_for_each_coordinate_of_a_direction():
    n, shapes = 784 * 128, ((784, 128),)
    offer, answer = named("lowrank:4").on(shapes).size(n)
    linear, blocks = 4 * (784 + 128), -(-4 * (784 + 128) // 128)
    assert (offer, answer) == (linear + 8 + 4 + 3 * blocks + 128 * blocks, blocks + 128 * blocks)
    assert offer + answer < 0.014 * 2 * 4 * n


def test_an_answer_in_the_codec_whose_turn_it_is_not_is_refused():
    codec, theta = named("lowrank:2+lattice:4/3").on(SHAPES), normal(2, SIZE)
    swarm = Swarm(codec, theta)
    kept, offered = swarm.offer(0)
    for _ in range(2):
        swarm.exchange(0, 1)
    later, _ = swarm.answer(1, 0, swarm.offer(0)[1])
    assert bool(later.whole) != bool(offered.whole)
    assert codec.difference(kept, later, SIZE).shape == (SIZE,), "a lattice's answer needs no offer"
    with pytest.raises(CodecError, match="an answer in lowrank:2 to an offer in lattice:4"):
        codec.difference(swarm.offer(0)[0], wired(codec, codec.answer(theta[1], offered, None), SIZE, "answer"), SIZE)


def test_the_matrices_of_a_chunk_are_those_of_its_parameters_and_of_whole_rows():
    layout = Layout([("w", (6, 4)), ("b", (4,)), ("k", (2, 3, 5)), ("s", ())])
    assert layout.matrices(slice(0, 59)) == ((6, 4), (1, 4), (6, 5), (1, 1))
    assert layout.matrices(slice(3, 27)) == ((1, 1), (5, 4), (1, 3))
    assert layout.matrices(slice(1, 3)) == ((1, 2),)
    assert layout.matrices(slice(30, 42)) == ((1, 3), (1, 5), (1, 4))
    cuts = [layout.matrices(slice(at, at + 7)) for at in range(0, 59, 7)]
    assert [sum(rows * count for rows, count in cut) for cut in cuts] == [7] * 8 + [3]
    assert matrices([(6, 4), (4,)]) == ((6, 4), (1, 4))
