"""The formulas of one exchange, on NumPy and on JAX alike."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.codecs import FLOAT32
from agents.mixing.exchange import answer, apply, difference, rate

weights = st.floats(1e-3, 1e6)
alphas = st.floats(0, 1)
any_weights = st.floats(5e-324, 1.7976931348623157e308)


@given(any_weights, any_weights, alphas)
def test_rate_is_finite_for_any_weight_and_at_most_two(wi, wj, alpha):
    assert 0 <= rate(alpha, wi, wj) <= 2
    assert rate(1.0, wi, wj) == 0


@given(st.floats(1e-150, 1e150), st.floats(1e-150, 1e150), alphas)
def test_both_sides_move_the_same_weight(wi, wj, alpha):
    """w_i r_i = w_j r_j, and r_i + r_j = 2 (1 - alpha): the formula, written out."""
    ri, rj = rate(alpha, wi, wj), rate(alpha, wj, wi)
    np.testing.assert_allclose(wi * ri, wj * rj, rtol=1e-12)
    np.testing.assert_allclose(ri, (1 - alpha) * 2 * wj / (wi + wj), rtol=1e-12)
    np.testing.assert_allclose(ri + rj, 2 * (1 - alpha), atol=1e-12)


@given(st.lists(weights, min_size=1, max_size=5), weights, alphas)
def test_rate_of_arrays_is_that_of_each(own, other, alpha):
    many = rate(alpha, np.array(own), other)
    np.testing.assert_array_equal(many, [rate(alpha, w, other) for w in own])


@given(weights, weights, alphas, st.integers(0, 1000))
def test_what_one_side_gains_the_other_gives(wi, wj, alpha, seed):
    """In float64, with the offer as stale and as coarse as may be."""
    ti, tj, offered = np.random.default_rng(seed).normal(size=(3, 5))
    answered, d = answer(FLOAT32, tj, offered)
    np.testing.assert_array_equal(d, FLOAT32.difference(offered, answered, d.size))
    after = wi * apply(ti, rate(alpha, wi, wj), d) + wj * apply(tj, -rate(alpha, wj, wi), d)
    np.testing.assert_allclose(after, wi * ti + wj * tj, rtol=1e-9, atol=1e-9 * (wi + wj))


@given(weights, alphas)
def test_equal_weights_are_plain_alpha_mixing(w, alpha):
    ti, tj = np.array([1.0, -2.0]), np.array([3.0, 5.0])
    assert rate(alpha, w, w) == 1 - alpha
    _, d = difference(FLOAT32, ti, tj)
    np.testing.assert_allclose(apply(ti, rate(alpha, w, w), d), alpha * ti + (1 - alpha) * tj, atol=1e-12)
    np.testing.assert_allclose(apply(tj, -rate(alpha, w, w), d), alpha * tj + (1 - alpha) * ti, atol=1e-12)


@given(weights, weights)
def test_half_brings_both_to_the_weighted_mean_at_once(wi, wj):
    ti, tj = np.array([1.0, -2.0]), np.array([3.0, 5.0])
    (_, d), mean = difference(FLOAT32, ti, tj), (wi * ti + wj * tj) / (wi + wj)
    np.testing.assert_allclose(apply(ti, rate(0.5, wi, wj), d), mean, atol=1e-9)
    np.testing.assert_allclose(apply(tj, -rate(0.5, wj, wi), d), mean, atol=1e-9)


def test_numpy_and_jax_agree_and_stay_what_they_are():
    rows = np.random.default_rng(0).normal(size=(2, 9)).astype(np.float32)
    a, b = rows
    ja, jb = jnp.asarray(rows)
    for formula in (lambda x, y: difference(FLOAT32, x, y)[1], lambda x, y: answer(FLOAT32, x, y)[0],
                    lambda x, y: apply(x, 0.84, y), lambda x, y: apply(x, -rate(0.3, 2.0, 3.0), y)):  # fmt: skip
        here, there, compiled = formula(a, b), formula(ja, jb), jax.jit(formula)(ja, jb)
        assert type(here) is np.ndarray and here.dtype == np.float32
        assert isinstance(there, jax.Array) and there.dtype == jnp.float32
        np.testing.assert_allclose(here, there, rtol=1e-6)
        np.testing.assert_allclose(here, compiled, rtol=1e-5, atol=1e-6)


def test_in_place_use_is_the_pure_formula_bit_for_bit():
    theta, d = np.random.default_rng(0).normal(size=(2, 9)).astype(np.float32)
    expected, memory = apply(theta, 0.3, d), theta.copy()
    assert apply(memory, 0.3, d, out=memory) is memory
    np.testing.assert_array_equal(memory, expected)
    expected, offered = answer(FLOAT32, theta, d)[0], d.copy()
    answered, known = answer(FLOAT32, theta, offered, out=offered)
    assert answered is offered and known is answered, "the offer's own memory"
    np.testing.assert_array_equal(answered, expected)
