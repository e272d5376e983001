"""Sketches against the closed form of their error, and what is read off them against the vectors themselves."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.mixing import distances
from agents.mixing.consensus import consensus_distance
from agents.mixing.distances import Made, at_one_step, mapped, pairwise, to_mean
from agents.mixing.sketch import BUCKETS, SKETCH_BYTES, TILE, pack, plan_of, sketch, sketch_of, unpack

SIZES = st.sampled_from((1, 255, 256, 257, 5_000, TILE * BUCKETS - 1, TILE * BUCKETS, 2 * TILE * BUCKETS + 300))


def drawn(size, seed=0):
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


SHAPES = {
    "spread": drawn(5_000),
    "one column": np.tile(np.eye(1, 64, 7, dtype=np.float32)[0], 100),  # All that feeds one of 64 hidden units.
    "one coordinate": np.eye(1, 5_000, 3, dtype=np.float32)[0],
    "biased": np.ones(5_000, np.float32),
    "short": drawn(300),
}


@pytest.mark.parametrize("x", SHAPES.values(), ids=SHAPES)
def test_mean_and_variance_over_seeds_are_those_of_the_closed_form(x):
    """docs/theory.md 32; bounds of 20. Of a few rows the square is far from normal: its fourth moment is taken."""
    found = np.array([np.sum(sketch(plan_of.__wrapped__(seed, x.size), x) ** 2) for seed in range(400)])
    norms = np.sum(np.pad(x, (0, -x.size % BUCKETS)).reshape(-1, BUCKETS).astype(np.float64) ** 2, axis=1)
    mean, variance = norms.sum(), 2 / BUCKETS * (norms.sum() ** 2 - np.sum(norms**2))
    assert abs(found.mean() - mean) <= 4 * np.sqrt(variance / found.size) + 1e-6 * mean
    spread = (found - mean) ** 2
    assert abs(spread.mean() - variance) <= 4 * spread.std() / np.sqrt(found.size) + 1e-9 * mean**2


@settings(max_examples=20, deadline=None)
@given(SIZES, st.integers(0, 2**31), st.floats(-3, 3))
def test_a_sketch_is_linear(size, seed, factor):
    plan, x, y = plan_of(seed, size), drawn(size, 1), drawn(size, 2)
    both = sketch(plan, x + np.float32(factor) * y)
    scale = np.linalg.norm(x) + abs(factor) * np.linalg.norm(y)
    np.testing.assert_allclose(both, sketch(plan, x) + factor * sketch(plan, y), atol=1e-6 * scale, rtol=0)


@settings(max_examples=20, deadline=None)
@given(SIZES, st.lists(st.floats(0, 1), max_size=6))
def test_pieces_make_the_sketch_of_the_whole(size, cuts):
    plan, x = plan_of(3, size), drawn(size)
    edges = [0, *sorted({int(cut * size) for cut in cuts}), size]
    pieces = [(start, x[start:stop]) for start, stop in itertools.pairwise(edges) if start < stop]
    np.testing.assert_allclose(sketch_of(plan, pieces), sketch(plan, x), rtol=1e-6, atol=1e-6)


def test_what_is_private_is_not_in_the_sketch():
    plan, x = plan_of(0, 5_000), drawn(5_000)
    shown = [(0, x[:100]), (900, x[900:])]
    before = sketch_of(plan, shown)
    x[100:900] = np.nan
    assert np.array_equal(sketch_of(plan, shown), before)


@pytest.mark.parametrize("size", [5_000, 2 * TILE * BUCKETS + 300])
def test_numpy_and_jax_make_the_same_sketch(size):
    plan, x = plan_of(5, size), drawn((2, size))
    made = jax.jit(lambda theta: sketch(plan, theta))(jnp.asarray(x))
    np.testing.assert_allclose(made, sketch(plan, x), atol=1e-5 * np.linalg.norm(x))


def test_a_plan_is_the_same_on_every_machine():
    """Of PCG64's raw output, which NumPy keeps; another plan would make other agents' distances nonsense."""
    plan = plan_of(7, 100_000)
    assert plan.shifts[:6].tolist() == [205, 92, 201, 222, 21, 245]
    assert plan.signs[0, :12].tolist() == [-1, 1, 1, 1, -1, 1, -1, -1, 1, -1, 1, 1]


def test_a_run_s_seed_may_be_negative():
    assert np.array_equal(plan_of(-1, 600).signs, plan_of(2**64 - 1, 600).signs)


def test_rows_share_shifts_only_where_there_are_many():
    assert [plan_of(0, rows * BUCKETS).together for rows in (1, 1000, 2047, 2048, 8192, 100_000)] == [1, 1, 1, 2, 8, 16]


def test_near_agreement_a_sketch_is_as_exact_as_float32():
    """Vectors that differ in their last bits: the floor is of the size of their own rounding."""
    x = (1 + drawn(300_000) ** 2).astype(np.float32)
    plan = plan_of(0, x.size)
    ulp = x + np.spacing(x) * np.sign(drawn(x.size, 1)).astype(np.float32)
    true = np.linalg.norm(ulp.astype(np.float64) - x)
    found = np.linalg.norm(sketch_of(plan, [(0, ulp)]).astype(np.float64) - sketch_of(plan, [(0, x)]))
    assert abs(found / true - 1) < 0.5
    assert np.array_equal(sketch_of(plan, [(0, x)]), sketch_of(plan, [(0, x.copy())]))


def test_what_comes_from_the_wire_is_256_finite_numbers():
    values = drawn(BUCKETS)
    assert len(pack(values)) == SKETCH_BYTES
    assert np.array_equal(unpack(pack(values)), values)
    for bad in (
        b"",
        pack(values)[:-1],
        pack(values) + b"0",
        pack(np.full(BUCKETS, np.nan)),
        pack(values + np.float32(np.inf)),
    ):
        with pytest.raises(ValueError, match="sketch"):
            unpack(bad)


def swarm(agents, size=20_000, seed=0):
    common = drawn(size, seed)
    return common + 0.01 * np.stack([drawn(size, seed + 1 + agent) for agent in range(agents)])


def test_distances_are_those_of_the_vectors():
    thetas, weights = swarm(8), np.arange(1.0, 9.0)
    sketches = sketch(plan_of(0, thetas.shape[1]), thetas)
    true = float(consensus_distance(thetas.astype(np.float64), weights))
    assert distances.consensus(to_mean(sketches, weights), weights) == pytest.approx(true, rel=0.1)
    exact = pairwise(thetas.astype(np.float64))
    np.testing.assert_allclose(pairwise(sketches), exact, rtol=0.2)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 99))
def test_points_of_a_plane_are_mapped_to_where_they_were(agents, seed):
    points = np.random.default_rng(seed).standard_normal((agents, 2))
    found = mapped(pairwise(points))
    np.testing.assert_allclose(pairwise(found), pairwise(points), atol=1e-6)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-6)


def steps(*made, still=False):
    return [Made(step, still, None) for step in made]


@pytest.mark.parametrize(
    ("made", "chosen"),
    [
        ({}, {}),
        ({"a": steps(8), "b": []}, {"a": 8}),
        ({"a": steps(8, 16, 24), "b": steps(0, 8, 16)}, {"a": 16, "b": 16}),
        ({"a": steps(16, 32), "b": steps(0, 8, 16, 24)}, {"a": 16, "b": 16}),
        ({"a": steps(8, 16), "b": steps(8, 16), "c": steps(2)}, {"a": 16, "b": 16, "c": 2}),  # c is far behind.
        ({"a": steps(8, 16), "b": steps(20, still=True)}, {"a": 16, "b": 20}),
        ({"a": steps(20, still=True), "b": steps(21, still=True)}, {"a": 20, "b": 21}),
    ],
)
def test_sketches_are_compared_at_one_step(made, chosen):
    assert {agent: one.step for agent, one in at_one_step(made).items()} == chosen
