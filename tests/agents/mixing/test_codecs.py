"""Codecs: two-sided, and inside the exchange, so that the mean survives however coarse they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.mixing.codecs import FLOAT32, CodecError, UnknownCodec, named
from agents.mixing.exchange import answer, apply, difference, rate
from tests.agents.mixing.coarse_codec import COARSE, RELATIVE
from tests.agents.mixing.codec_exchanges import TESTED

ALL = {**TESTED, **COARSE}
vectors = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20)


def over_the_wire(codec, code, size, kind="offer"):
    """What the other side unpacks."""
    unpack = codec.unpack if kind == "offer" else codec.unpack_answer
    return unpack(memoryview(bytes(codec.pack(code))), size)


@pytest.mark.parametrize("name", ALL)
@given(vectors, st.integers(0, 1000))
def test_both_sides_know_the_same_bits(name, values, seed):
    """The responder from what it received and made, the initiator from what it kept and received."""
    codec, theta_i = ALL[name], np.array(values, np.float32)
    theta_j = theta_i + np.random.default_rng(seed).normal(size=theta_i.size).astype(np.float32)
    offered = codec.offer(theta_i, codec.begin(theta_i))
    answered, theirs = answer(codec, theta_j, over_the_wire(codec, offered, theta_i.size))
    ours = codec.difference(
        offered if codec.needs_offer else None, over_the_wire(codec, answered, theta_i.size, "answer"), theta_i.size
    )
    assert theirs.dtype == ours.dtype == np.float32 and theirs.shape == ours.shape == theta_i.shape
    assert theirs.tobytes() == ours.tobytes()
    _, known = difference(codec, theta_i, theta_j, codec.begin(theta_i))
    assert known.tobytes() == ours.tobytes(), "one function for whoever holds both"


@pytest.mark.parametrize("name", ALL)
@given(vectors)
def test_payload_of_another_size_is_refused_and_comes_back_as_it_went(name, values):
    codec, vector = ALL[name], np.array(values, np.float32)
    payload = bytes(codec.pack(codec.offer(vector, codec.begin(vector))))
    code = codec.unpack(payload, vector.size)
    assert bytes(codec.pack(code)) == payload
    for wrong in (payload[:-1], payload + b"\0", b""):
        with pytest.raises(CodecError, match="a chunk of"):
            codec.unpack(wrong, vector.size)


def test_float32_is_exact_and_copies_nothing():
    vector = np.random.default_rng(1).normal(size=100).astype(np.float32)
    payload = FLOAT32.pack(FLOAT32.offer(vector, ()))
    np.testing.assert_array_equal(FLOAT32.unpack(payload.cast("B"), 100), vector)
    assert np.shares_memory(FLOAT32.unpack(payload.cast("B"), 100), vector)
    assert not FLOAT32.needs_offer


def drift(inside, agents=8, exchanges=50):
    """How far the mean of a swarm moves, as a norm: the codec inside the exchange, or applied to the answer alone."""
    noise = np.random.default_rng(0)
    thetas = noise.normal(size=(agents, 1000)).astype(np.float32)
    before = thetas.astype(np.float64).mean(0)
    for _ in range(exchanges):
        i, j = noise.choice(agents, 2, replace=False)
        answered, d = answer(RELATIVE, thetas[j], RELATIVE.offer(thetas[i], ()))
        known_to_j = d if inside else thetas[j] - thetas[i]
        thetas[i] = apply(thetas[i], rate(0.5, 1, 1), RELATIVE.difference(None, answered, 1000))
        thetas[j] = apply(thetas[j], -rate(0.5, 1, 1), known_to_j)
    return float(np.linalg.norm(thetas.astype(np.float64).mean(0) - before) / np.sqrt(before.size))


def test_both_sides_apply_what_both_can_compute():
    """8 bits, 50 exchanges: the mean drifts by rounding alone. Where the responder applies the difference that it alone
    has seen, and codes it afterwards, the mean drifts by the codec's error: ten thousand times as far.
    """
    assert drift(inside=True) < 1e-7
    assert drift(inside=False) > 1e-3


def test_codec_is_named_or_the_names_are_listed():
    assert named("float32") is FLOAT32
    with pytest.raises(
        UnknownCodec, match=r"codec is one of float32, bfloat16, lattice:2 to lattice:8, .*: got 'int3'"
    ):
        named("int3")
