"""The formulas of DESIGN 1.2, on NumPy and on JAX alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.codecs import CODECS
from agents.mixing.exchange import close, concede, difference, shares, step

weights = st.floats(1e-3, 1e6)
alphas = st.floats(0, 1)


@given(weights, weights, alphas, st.integers(0, 1000))
def test_what_one_side_gains_the_other_gives(wi, wj, alpha, seed):
    """In float64, with the offer as stale and as coarse as may be."""
    ti, tj, offered = np.random.default_rng(seed).normal(size=(3, 5))
    share_i, share_j = shares(wi, wj)
    d = difference(tj, offered)
    after = wi * close(ti, d, alpha, share_i) + wj * concede(tj, d, alpha, share_j)
    np.testing.assert_allclose(after, wi * ti + wj * tj, rtol=1e-9, atol=1e-9 * (wi + wj))


@given(weights, alphas)
def test_equal_weights_are_plain_alpha_mixing(w, alpha):
    ti, tj = np.array([1.0, -2.0]), np.array([3.0, 5.0])
    assert shares(w, w) == (1, 1)
    d = difference(tj, ti)
    np.testing.assert_allclose(close(ti, d, alpha), alpha * ti + (1 - alpha) * tj, atol=1e-12)
    np.testing.assert_allclose(concede(tj, d, alpha), alpha * tj + (1 - alpha) * ti, atol=1e-12)


@given(weights, weights)
def test_half_brings_both_to_the_weighted_mean_at_once(wi, wj):
    ti, tj = np.array([1.0, -2.0]), np.array([3.0, 5.0])
    share_i, share_j = shares(wi, wj)
    d, mean = difference(tj, ti), (wi * ti + wj * tj) / (wi + wj)
    np.testing.assert_allclose(close(ti, d, 0.5, share_i), mean, atol=1e-9)
    np.testing.assert_allclose(concede(tj, d, 0.5, share_j), mean, atol=1e-9)


def test_numpy_and_jax_agree_and_stay_what_they_are():
    rows = np.random.default_rng(0).normal(size=(2, 9)).astype(np.float32)
    a, b = rows
    ja, jb = jnp.asarray(rows)
    for formula in (lambda x, y: difference(x, y), lambda x, y: close(x, y, 0.3, 1.2),
                    lambda x, y: concede(x, y, 0.3, 1.2), lambda x, y: step(y, 0.3, 1.2)):  # fmt: skip
        here, there, compiled = formula(a, b), formula(ja, jb), jax.jit(formula)(ja, jb)
        assert type(here) is np.ndarray and here.dtype == np.float32
        assert isinstance(there, jax.Array) and there.dtype == jnp.float32
        np.testing.assert_allclose(here, there, rtol=1e-6)
        np.testing.assert_allclose(here, compiled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CODECS)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20))
def test_codec_takes_only_the_size_it_was_told(name, values):
    codec, vector = CODECS[name], np.array(values, np.float32)
    payload = bytes(codec.encode(vector))
    back = codec.decode(payload, vector.size)
    assert back.dtype == np.float32 and back.shape == vector.shape
    np.testing.assert_array_equal(codec.decode(bytes(codec.encode(back)), vector.size), back)
    for wrong in (payload[:-1], payload + b"\0", b""):
        with pytest.raises(ValueError, match="a chunk of"):
            codec.decode(wrong, vector.size)


def test_float32_is_exact():
    vector = np.random.default_rng(1).normal(size=100).astype(np.float32)
    np.testing.assert_array_equal(CODECS["float32"].decode(CODECS["float32"].encode(vector).cast("B"), 100), vector)
