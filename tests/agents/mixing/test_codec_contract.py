"""What every codec keeps: both sides know the same difference, the mean stays, agents agree, and bytes do no harm."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.mixing import exchange
from agents.mixing.clipping import Reach
from agents.mixing.codecs import CODECS, FLOAT32, Codec, CodecError
from agents.mixing.norms import squared_norm
from agents.mixing.replica import Replica
from tests.agents.mixing.codec_exchanges import TESTED, Swarm, floats, period, takes, wired

pytestmark = pytest.mark.filterwarnings("error")

ROUNDING = 1e-5
"""Of some dozens of float32 additions of numbers below 10."""


@pytest.fixture(params=TESTED.values(), ids=TESTED)
def codec(request):
    return request.param


def normal(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


# The mean.

plans = st.fixed_dictionaries(
    {
        "codec": st.sampled_from(sorted(TESTED)),
        "size": st.sampled_from([1, 3, 127, 128, 129, 300]),
        "seed": st.integers(0, 10_000),
        "apart": st.sampled_from([0.0, 1e-4, 1.0]),
        "weights": st.lists(st.sampled_from([1.0, 0.25, 3.0, 100.0]), min_size=4, max_size=4),
        "events": st.lists(
            st.tuples(
                st.sampled_from(["offer", "answer", "close", "train"]),
                st.integers(0, 3), st.integers(1, 3),
                st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([1.0, 0.5, 1e-3]),
            ),
            min_size=1, max_size=30,
        ),
    }
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(plans)
def test_the_weighted_mean_stays_through_any_interleaving(plan):
    """Whatever lies between offer, answer and close, who weighs what and how much is clipped."""
    start = normal(1, plan["size"], seed=plan["seed"]) + plan["apart"] * normal(4, plan["size"], seed=plan["seed"] + 1)
    swarm = Swarm(TESTED[plan["codec"]], start, plan["weights"])
    before, trained = swarm.mean, np.zeros(plan["size"])
    offered, answered = [], []

    def answer():
        i, j, alpha, scale, (kept, code) = offered.pop()
        code, theirs = swarm.answer(j, i, code, alpha, scale)
        answered.append((i, j, alpha, scale, kept, code, theirs))

    def close():
        i, j, alpha, scale, kept, code, theirs = answered.pop(0)
        assert swarm.close(i, j, kept, code, alpha, scale).tobytes() == theirs.tobytes()

    for kind, i, away, alpha, scale in plan["events"]:
        if kind == "offer":
            offered.append((i, (i + away) % 4, alpha, scale, swarm.offer(i)))
        elif kind == "train":
            step = normal(plan["size"], seed=away)
            trained += swarm.weights[i] * step.astype(np.float64) / swarm.weights.sum()
            swarm.theta[i] += step
        elif kind == "answer" and offered:
            answer()
        elif kind == "close" and answered:
            close()
    while offered:
        answer()
    while answered:
        close()
    # An exchange may carry a rounding error of one side, of 2^-24 of its vector, with a rate of at most 2.
    assert np.abs(swarm.mean - before - trained).max() < ROUNDING * max(1.0, np.abs(swarm.theta).max())


def test_agents_agree_to_float_rounding_and_the_mean_does_not_drift(codec):
    """With training off, on random pairs: 1e-5 of a vector's norm, where absolute codes stall far above."""
    swarm = Swarm(codec, 1 + normal(8, 500), weights=np.arange(1, 9))
    before = swarm.mean
    swarm.pairs(1200 if takes(codec) == 1 else 600 * takes(codec))
    assert swarm.distance < 1e-5
    assert np.abs(swarm.mean - before).max() < 1e-6 * np.sqrt(takes(codec))  # Of as many more roundings.


@pytest.mark.parametrize("size", [1, 5, 100])
def test_models_smaller_than_a_block_agree_too(codec, size):
    swarm = Swarm(codec, 3 + normal(4, size, seed=2))
    swarm.pairs(600 if takes(codec) == 1 else 240 * takes(codec))
    assert swarm.distance < 1e-5


@pytest.mark.parametrize("zeros", ["initiator", "responder"])
def test_a_vector_of_zeros_meets_one_that_is_not(codec, zeros):
    """Of which one may know nothing of the scale, and takes some exchanges to learn it."""
    start = np.stack([np.zeros(300, np.float32), 1 + 0.1 * normal(300)])
    swarm = Swarm(codec, start if zeros == "initiator" else start[::-1])
    for _ in range(120 * takes(codec)):
        swarm.exchange(0, 1)
    assert swarm.distance < 1e-4
    swarm = Swarm(codec, np.zeros((2, 300)))
    assert not swarm.exchange(0, 1).any()


def naive(bits):
    """A code of the vectors themselves with so many bits, relative to their largest coordinate."""
    most = 2 ** (bits - 1) - 1

    def coded(theta):
        scale = np.float32(np.abs(theta).max() / most)
        return scale, np.rint(theta / (scale or np.float32(1))).astype(np.int8)

    def values(code):
        return code[0] * code[1].astype(np.float32)

    def unpack(payload, size):
        return np.frombuffer(payload[:4], "<f4")[0], np.frombuffer(payload[4:], np.int8)

    return Codec(
        f"naive:{bits}",
        offer=lambda theta, state: coded(theta),
        answer=lambda theta, offered, out: coded(theta),
        difference=lambda offered, answered, size: values(answered) - values(offered),
        pack=lambda code: np.float32(code[0]).tobytes() + code[1].tobytes(),
        unpack=unpack,
        unpack_answer=unpack,
        size=lambda size: (4 + size, 4 + size),
    )


def test_a_code_of_the_vectors_themselves_stalls_where_that_of_their_difference_does_not():
    """The same 4 bits: the one's error is a part of the vector, the other's of the disagreement."""
    stalls, agrees = (Swarm(codec, 1 + normal(8, 500)) for codec in (naive(4), CODECS["lattice:4"]))
    stalls.pairs(1200)
    agrees.pairs(1200)
    assert stalls.distance > 1e-2 > 1e3 * agrees.distance


def test_numbers_rounded_to_bfloat16_stall_where_the_codec_of_that_size_does_not():
    """The answer to a rounded offer, rounded again: what docs/theory.md 24 states, and why the codec isn't this."""

    def rounded(theta):
        return theta.astype(ml_dtypes.bfloat16).astype(np.float32)

    absolute = FLOAT32._replace(
        offer=lambda theta, state: rounded(theta), answer=lambda theta, offered, out: rounded(theta - offered)
    )
    stalls, agrees = (Swarm(codec, 1 + normal(8, 500)) for codec in (absolute, CODECS["bfloat16"]))
    stalls.pairs(600)
    agrees.pairs(600)
    assert 5e-4 < stalls.distance < 2e-3
    assert agrees.distance < 1e-7


# Bytes.


@settings(max_examples=100)
@given(st.sampled_from(sorted(TESTED)), st.sampled_from([1, 7, 127, 128, 129, 1000]), st.integers(0, 10_000),
       st.sampled_from([0.0, 1e-6, 1e-2, 10.0]))  # fmt: skip
def test_both_sides_know_the_same_bits_and_payloads_are_as_long_as_said(name, size, seed, apart):
    codec, theta = TESTED[name], normal(size, seed=seed)
    other = theta + np.float32(apart) * normal(size, seed=seed + 1)
    offered = codec.offer(theta, codec.begin(theta))
    answered, theirs = exchange.answer(codec, other, wired(codec, offered, size))
    ours = codec.difference(offered if codec.needs_offer else None, wired(codec, answered, size, "answer"), size)
    assert ours.tobytes() == theirs.tobytes() and ours.shape == (size,)
    if period(codec) == 1:
        assert (memoryview(codec.pack(offered)).nbytes, memoryview(codec.pack(answered)).nbytes) == codec.size(size)
    again = wired(codec, offered, size), wired(codec, answered, size, "answer")
    assert [bytes(codec.pack(code)) for code in again] == [bytes(codec.pack(code)) for code in (offered, answered)]
    assert exchange.difference(codec, theta, other, codec.begin(theta))[1].tobytes() == ours.tobytes()


@pytest.mark.parametrize("size", [1, 300])
def test_over_the_exchanges_that_take_turns_payloads_are_as_long_as_said(codec, size):
    """Of one agent, whatever others begin meanwhile."""
    swarm = Swarm(codec, normal(2, size))
    for _ in range(3):
        sent = np.zeros(2)
        for _ in range(period(codec)):
            swarm.exchange(1, 0)
            _, offered = swarm.offer(0)
            answered, _ = exchange.answer(codec, swarm.theta[1], offered)
            sent += [memoryview(codec.pack(code)).nbytes for code in (offered, answered)]
            swarm.exchange(0, 1)
        np.testing.assert_allclose(sent, period(codec) * np.array(codec.size(size)), rtol=1e-12)


def test_a_coordinate_takes_so_many_bits():
    n = 1 << 18
    assert FLOAT32.size(n) == (4 * n, 4 * n)
    for bits in (*range(2, 9), 16):
        offer, answer = CODECS["bfloat16" if bits == 16 else f"lattice:{bits}"].size(n)
        assert (offer, answer) == (4 + n // 128 * (3 + 16 * bits), n // 128 * (1 + 16 * bits))


@pytest.mark.parametrize("size", [1, 128, 300])
def test_a_payload_of_another_size_is_refused(codec, size):
    theta = normal(size)
    offered = codec.offer(theta, codec.begin(theta))
    answered, _ = exchange.answer(codec, theta, offered)
    for unpack, code in ((codec.unpack, offered), (codec.unpack_answer, answered)):
        payload = bytes(codec.pack(code))
        for wrong in (b"", payload[:-1], payload + b"\0", 2 * payload, payload[: len(payload) // 2]):
            with pytest.raises(CodecError, match="expected a chunk of"):
                unpack(wrong, size)


@pytest.mark.parametrize("kind", ["offers", "answers"])
def test_a_million_random_bytes_are_refused_or_move_a_model_by_the_radius_at_most(codec, kind):
    size, radius, taken = 300, 0.01, 0
    replica, noise = Replica(normal(size)), np.random.default_rng(1)
    offered = codec.offer(normal(size), codec.begin(normal(size)))
    genuine = bytes(codec.pack(offered if kind == "offers" else codec.answer(normal(size), offered, None)))
    length = len(genuine)
    reach = Reach(radius)

    def take(payload):
        if kind == "offers":
            return replica.answer(0, codec.unpack(payload, size), 0.5, codec, reaches=[reach]).difference
        d = codec.difference(offered, codec.unpack_answer(payload, size), size)
        norm = np.sqrt(squared_norm(d))
        replica.apply(0, d, 0.5, scale=min(1.0, radius / max(norm, 1e-9)), reach=reach)
        return d

    for _ in range(-(-1_000_000 // length)):
        before = replica.copy(0)
        try:
            payload = noise.bytes(length)
            d = take(payload[:-1] + genuine[-1:] if noise.random() < 0.5 else payload)  # What says which codec.
        except ValueError:  # CodecError, NotFinite or TooFar.
            assert replica.copy(0).tobytes() == before.tobytes()
            continue
        taken += 1
        assert np.isfinite(d).all()
        assert floats(codec) or np.abs(d).max() <= (2.0**35 if "bfloat16" in codec.name else 2.0**30)
        moved = np.linalg.norm(replica.copy(0).astype(float) - before)
        assert moved < 0.5 * radius * 1.01 + 1e-5, "farther than the radius lets it"
    nested = takes(codec) > 1 and period(codec) > 1  # Only the last byte is right; the code of one codec is refused.
    assert taken > 50 or floats(codec) or nested, "most random floats are absurdly large, random integers are not"


def test_random_answers_leave_what_is_learned_finite_and_it_is_right_again_after_some_exchanges(codec):
    size, noise = 300, np.random.default_rng(2)
    swarm = Swarm(codec, 1 + 0.01 * normal(2, size))
    for kind in ("random", "nothing is mixed"):
        for _ in range(300):
            given = codec.answer(swarm.theta[1], codec.offer(swarm.theta[0], swarm.states[0]), None)
            length = memoryview(codec.pack(given)).nbytes
            try:
                answered = codec.unpack_answer(noise.bytes(length) if kind == "random" else bytes(length), size)
            except CodecError:
                continue
            swarm.states[0] = codec.learn(swarm.states[0], answered, swarm.theta[0], True)
        for state in np.atleast_1d(np.ravel(swarm.states[0])):
            assert 0 <= abs(state) < 2**20
        for _ in range(80 * takes(codec)):
            swarm.exchange(0, 1)
        assert swarm.distance < 1e-5
        swarm.theta[0] += 0.01 * normal(size, seed=3)


# What isn't finite, and what is huge.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_on_one_side_reaches_nobody_else(codec, value, side):
    """float32 refuses the exchange; a lattice leaves out the block, and mixes the others."""
    start = 1 + 0.001 * normal(2, 300)
    start[side, 5] = value
    sides = [Replica(row) for row in start]
    states = [codec.begin(row) for row in start]
    for _ in range(3):
        before = sides[1].copy(0)
        with np.errstate(invalid="ignore"):
            offered = codec.offer(sides[0].copy(0), states[0])
        try:
            d = sides[1].answer(0, wired(codec, offered, 300), 0.5, codec).difference
            sides[0].apply(0, d, 0.5)
        except ValueError:
            assert floats(codec)
        assert np.isfinite(sides[1 - side].copy(0)).all()
        if takes(codec) == 1:
            np.testing.assert_array_equal(sides[1].copy(0)[:128], before[:128])
        assert floats(codec) or np.isfinite(states[0]).all()
    if not floats(codec) and takes(codec) == 1:
        apart = np.abs(sides[0].copy(0) - sides[1].copy(0))[128:].max()
        assert apart < np.abs(start[0] - start[1])[128:].max()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e38, np.finfo(np.float32).max])
def test_vectors_of_any_scale_do_no_harm(codec, scale):
    theta = np.float32(scale) * np.sign(normal(300))
    swarm = Swarm(codec, np.stack([theta, np.float32(0.9) * theta]))
    for _ in range(5):
        _, offered = swarm.offer(0)
        with np.errstate(over="ignore"):
            d = swarm.codec.difference(offered, exchange.answer(codec, swarm.theta[1], offered)[0], 300)
        assert np.isfinite(d).all()
        swarm.states[0] = codec.learn(swarm.states[0], exchange.answer(codec, swarm.theta[1], offered)[0], theta, True)


# The device.


def test_the_compiled_form_compiles_once_and_gives_what_numpy_gives(codec):
    """The same integers but where rounding decides, at the border between two."""
    traced = []

    def both(theta_i, theta_j, state_i, state_j):
        traced.append(1)
        offered = codec.offer(theta_i, state_i)
        answered, d = exchange.answer(codec, theta_j, offered)
        learned = [codec.learn(state, answered, theta_j, began) for state, began in ((state_i, True), (state_j, False))]
        return offered, answered, d, learned

    compiled, begin = jax.jit(both), jax.jit(codec.begin)
    rounded = 0.3 if "lowrank" in codec.name else 0.05  # Of products the last bits differ, and with them the dither.
    swarm = Swarm(codec, 1 + 0.01 * normal(2, 1000))
    for _ in range(16 if "lowrank" in codec.name else 20):  # Later these agree up to the rounding of products.
        theta, states = swarm.theta.copy(), list(swarm.states)
        expected = both(*theta, *states)
        traced.pop()
        on_device = jax.device_get(compiled(*map(jnp.asarray, theta), *jax.tree.map(jnp.asarray, states)))
        both_here = period(codec) == 1  # Else NumPy computes the codec alone whose turn it is.
        for ours, theirs in (
            zip(jax.tree.leaves(on_device), jax.tree.leaves(expected), strict=True) if both_here else ()
        ):
            assert ours.dtype == np.asarray(theirs).dtype and ours.shape == np.shape(theirs)
            if np.issubdtype(ours.dtype, np.integer) and ours.size > 300:
                assert (ours != theirs).mean() < (0.3 if ours.dtype.itemsize == 2 else 0.01)  # Steps are finer.
        most = np.abs(expected[2]).max()
        assert (np.abs(on_device[2] - expected[2]) > max(rounded * most, 3e-6)).mean() < 0.01
        swarm.exchange(0, 1)
    assert len(traced) == 1
    for ours, theirs in zip(jax.tree.leaves(begin(theta[0])), jax.tree.leaves(codec.begin(theta[0])), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 if "lowrank" in codec.name else 0)


def test_many_exchanges_at_once_are_each_as_one_alone(codec):
    """(lanes, n) in place of (n,), as the simulator calls it."""
    thetas = 1 + 0.01 * normal(2, 3, 300)
    states = codec.begin(thetas[0])
    answered, together = exchange.difference(codec, *thetas, states)
    learned = codec.learn(states, answered, thetas[1], np.array([True, False, True]))
    for lane in range(3):
        state = codec.begin(thetas[0, lane])
        answered, alone = exchange.difference(codec, *thetas[:, lane], state)
        np.testing.assert_array_equal(together[lane], alone)
        if codec is not FLOAT32:
            np.testing.assert_array_equal(learned[lane], codec.learn(state, answered, thetas[1, lane], lane != 1))
