"""The compiled loops find the bits of the array functions, which see a batch of one chunk where these see the chunk."""

import os
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.codecs import CODECS

CODES = [CODECS["bfloat16"], *(codec for name, codec in CODECS.items() if name.startswith("lattice"))]


@given(
    st.sampled_from(CODES),
    st.sampled_from([1, 127, 128, 129, 1000, 128 * 300 + 5]),
    st.sampled_from([0.0, 1e-7, 1e-4, 1e-2, 1.0, 1e3]),
    st.integers(-20, 20),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_they_find_the_bits_of_the_array_functions(codec, size, apart, power, seed, began):
    """Of models of any scale, equal, near or so far apart that blocks don't fit."""
    random = np.random.default_rng(seed)
    theta = random.standard_normal(size, np.float32) * np.float32(2.0**power)
    other = theta + np.float32(apart * 2.0**power) * random.standard_normal(size, np.float32)
    theta[random.random(size) < 0.1] = 0
    state = codec.begin(theta)
    equal(codec.begin(theta[None]), state)
    for _ in range(3):
        offered, batch = codec.offer(theta, state), codec.offer(theta[None], state[None])
        equal(batch, offered)
        answered, batch_answered = codec.answer(other, offered, None), codec.answer(other[None], batch, None)
        equal(batch_answered, answered)
        equal(codec.difference(batch, batch_answered, size), codec.difference(offered, answered, size))
        learned = codec.learn(state, answered, theta, began)
        equal(codec.learn(state[None], batch_answered, theta[None], np.array([began])), learned)
        state = learned


@given(st.sampled_from(CODES), st.sampled_from([np.nan, np.inf, -np.inf, 3e38]), st.integers(0, 10_000))
def test_of_what_is_not_finite_or_absurdly_large_they_mix_nothing(codec, value, seed):
    theta = np.random.default_rng(seed).standard_normal(300, np.float32)
    wrong = theta.copy()
    wrong[seed % 128] = value
    state = codec.begin(theta)
    for ours, theirs in ((theta, wrong), (wrong, theta)):
        answered = codec.answer(theirs, codec.offer(ours, state), None)
        assert not answered.steps[0] and not codec.difference(None, answered, 300)[:128].any()
        assert np.isfinite(codec.learn(state, answered, ours, True)).all()


PROGRAM = """
import numpy as np
from agents.mixing.codecs import named
codec, theta = named("lattice:4"), np.ones(200, np.float32)
print(codec.offer(theta, codec.begin(theta)).steps.size)
"""
NOWHERE = "from numba.core import caching; caching.CacheImpl._locator_classes = []"


def run(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, env=os.environ | environment
    )
    assert done.stdout.strip() == "2", done.stderr


def test_where_nothing_can_be_written_they_are_compiled_all_the_same():
    run(NOWHERE + PROGRAM)


def test_machine_code_that_was_damaged_is_compiled_again(tmp_path):
    """As by a power cut: cut to half, or empty."""
    run(PROGRAM, NUMBA_CACHE_DIR=str(tmp_path))
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(files) > 8
    for number, path in enumerate(files):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 * (number % 2)])
    run(PROGRAM, NUMBA_CACHE_DIR=str(tmp_path))


def equal(batch, alone):
    """A batch of one, and the one: arrays or tuples of them."""
    alone, batch = (each if isinstance(each, tuple) else (each,) for each in (alone, batch))
    for one, other in zip(batch, alone, strict=True):
        np.testing.assert_array_equal(np.asarray(one)[0], other)
        assert one.dtype == other.dtype
