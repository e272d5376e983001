"""Where two threads meet: nothing that comes in is lost, whatever the order (DESIGN 1.6)."""

import linecache
import sys
import threading
from functools import partial
from itertools import count
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agents.mixing.layout
from agents.mixing import exchange
from agents.mixing.codecs import FLOAT32
from agents.mixing.layout import Layout, Scope
from agents.mixing.norms import NotFinite, finite
from agents.mixing.replica import Replica
from tests.agents.mixing.coarse_codec import COARSE

SIZE = 3
"""Coordinates in a chunk here."""


@pytest.fixture(autouse=True, scope="module")
def _small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents.mixing.layout, "CHUNK", SIZE)
        yield


def span(chunk, parameters):
    return slice(chunk * SIZE, min(parameters, chunk * SIZE + SIZE))


def whole(replica):
    return np.concatenate([replica.read(chunk) for chunk in range(replica.chunks)])


def boundary(replica, theta):
    """theta and all that came, as training goes on with it."""
    merged = replica.boundary([theta], lambda: [np.full_like(theta, np.nan)])
    return theta if merged is None else merged[0]


floats = st.floats(-4, 4, width=32)
actions = st.lists(
    st.tuples(
        st.sampled_from(["answer", "apply", "train", "poison"]),
        st.integers(0, 2),
        st.lists(floats, min_size=7, max_size=7),
        st.sampled_from([0.0, 0.1, 0.5, 1.0, 1.9]),
    ),
    max_size=40,
)


@given(st.lists(floats, min_size=7, max_size=7), actions)
def test_theta_is_start_plus_training_plus_all_differences(start, plan):
    """The training thread works on a vector of its own and sees the network's only at boundaries."""
    replica = Replica(np.array(start, np.float32))
    theta, expected = np.array(start, np.float32), np.array(start, np.float64)
    for action, chunk, values, rate in plan:
        values, where = np.array(values, np.float32), span(chunk, 7)
        if action == "train":
            trained = theta + values
            expected += trained.astype(np.float64) - theta
            theta = boundary(replica, trained)
            np.testing.assert_allclose(theta, expected, atol=1e-3)
            continue
        part, before = values[where], whole(replica)
        if action == "poison":
            part[0] = np.nan
            for call in (replica.answer, replica.apply):
                with pytest.raises(NotFinite):
                    call(chunk, part, rate)
            np.testing.assert_array_equal(whole(replica), before)
            continue
        if action == "answer":
            answered, d, squared, _ = replica.answer(chunk, part, rate)
            np.testing.assert_array_equal(answered, d)
            np.testing.assert_array_equal(d, before[where] - part)
            moved = -rate * d.astype(np.float64)
        else:
            d, squared = part, replica.apply(chunk, part, rate)
            moved = rate * d.astype(np.float64)
        expected[where] += moved
        assert squared == pytest.approx(float((d.astype(np.float64) ** 2).sum()), rel=1e-4, abs=1e-9)
    np.testing.assert_allclose(boundary(replica, theta), expected, atol=1e-3)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0, 1.9])
@pytest.mark.parametrize("codec", [FLOAT32, *COARSE.values()], ids=lambda codec: codec.name)
def test_in_place_use_is_the_pure_formula_bit_for_bit(rate, codec):
    noise = np.random.default_rng(0)
    theta, d = noise.normal(size=(2, 7)).astype(np.float32)
    mine, yours = Replica(theta), Replica(theta)
    for chunk in range(3):
        part = span(chunk, 7)
        mine.apply(chunk, d[part], rate)
        offered = codec.offer((theta - d)[part], ())
        answered, known, *_ = yours.answer(chunk, offered, rate, codec)
        expected, difference = exchange.answer(codec, theta[part], offered)
        assert bytes(codec.pack(answered)) == bytes(codec.pack(expected))
        np.testing.assert_array_equal(known, difference)
        np.testing.assert_array_equal(whole(yours)[part], exchange.apply(theta[part], -rate, difference))
    np.testing.assert_array_equal(whole(mine), exchange.apply(theta, rate, d))


def test_answer_takes_the_memory_of_the_offer_where_it_may():
    replica, offered = Replica(np.ones(7, np.float32)), np.full(3, 3, np.float32)
    answered, *_ = replica.answer(0, offered, 0.5, out=offered)
    assert answered is offered
    np.testing.assert_array_equal(answered, np.full(3, -2))
    np.testing.assert_array_equal(whole(replica), [2, 2, 2, 1, 1, 1, 1])


def test_notes_are_written_in_the_order_in_which_chunks_change():
    noted = []
    replica = Replica(np.zeros(4, np.float32), published=lambda chunk: noted.append(("publish", chunk)))
    copied = replica.copy(0, lambda: noted.append("offer"))
    replica.answer(0, np.ones(3, np.float32), 0.5, note=lambda rate, answered: noted.append("answer"))
    replica.apply(1, np.ones(1, np.float32), 0.5, lambda rate: noted.append("apply"))
    boundary(replica, np.zeros(4, np.float32))
    replica.adopt(np.ones(4, np.float32), lambda: noted.append("adopt"))
    assert noted == ["offer", "answer", "apply", ("publish", 0), ("publish", 1), "adopt"]
    assert not copied.any(), "a copy"
    for call in (replica.answer, replica.apply):
        with pytest.raises(NotFinite):
            call(0, np.full(3, np.nan, np.float32), 0.5, note=lambda: noted.append("poison"))
    assert "poison" not in noted


@given(
    st.lists(floats, min_size=11, max_size=11),
    st.lists(st.integers(0, 11), max_size=5),
    st.lists(st.integers(0, 3), max_size=4),
)
def test_theta_in_pieces_is_theta_bit_for_bit(values, cuts, touched):
    """Wherever it is cut, empty pieces included, and whether or not anything came in for a chunk."""
    theta, start = np.array(values, np.float32), np.arange(11, dtype=np.float32)
    whole_one, in_pieces = Replica(start), Replica(start)
    for replica in (whole_one, in_pieces):
        for chunk in touched:
            replica.apply(chunk, np.full(replica.size(chunk), 0.1, np.float32), 0.3)
    expected = boundary(whole_one, theta)
    pieces = np.split(theta, sorted(cuts))
    got = in_pieces.boundary(pieces, lambda: [np.full_like(piece, np.nan) for piece in pieces])
    assert (got is None) == (not touched)
    assert np.concatenate(pieces if got is None else got).tobytes() == expected.tobytes()
    assert whole(in_pieces).tobytes() == whole(whole_one).tobytes()


def test_publishing_chunk_by_chunk_is_a_boundary():
    """As a replay does it, in the order that was recorded."""
    theta, start = np.linspace(-1, 1, 7, dtype=np.float32), np.arange(7, dtype=np.float32)
    at_once, one_by_one = Replica(start), Replica(start)
    for replica in (at_once, one_by_one):
        replica.apply(1, np.ones(3, np.float32), 0.3)
    expected, out = boundary(at_once, theta), np.full(7, np.nan, np.float32)
    assert [one_by_one.publish(chunk, theta, out) for chunk in (2, 1, 0)] == [False, True, False]
    assert out.tobytes() == expected.tobytes() == whole(one_by_one).tobytes()


class Interrupt(BaseException):
    """As Ctrl-C raises it in the training thread, between any two lines."""


def interrupted_after(lines, call):
    """Call it and raise an Interrupt before the line of this number in the replica's code: whether it came so far.

    Not at a `with` itself: CPython lets no signal in between a lock and the block that it guards.
    """

    def trace(frame, event, _):
        nonlocal lines
        if not frame.f_code.co_filename.endswith("mixing/replica.py"):
            return None
        code = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not code.startswith("with "):
            lines -= 1
            if lines == 0:
                raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_line_of_a_boundary_loses_nothing():
    """What came in is in the next boundary's sum, whether or not the network adds more in between."""
    start, theta = np.arange(7, dtype=np.float32), np.arange(7, dtype=np.float32) + 8
    pieces = np.split(theta, [1, 5])

    def fresh():
        return [np.full_like(piece, np.nan) for piece in pieces]

    for lines in count(1):
        replica = Replica(start - 1)
        np.testing.assert_array_equal(boundary(replica, start), start)
        replica.apply(0, np.full(3, 2, np.float32), 1.0)
        replica.apply(2, np.full(1, 4, np.float32), 1.0)
        if not interrupted_after(lines, partial(replica.boundary, pieces, fresh)):
            break
        replica.apply(0, np.full(3, 16, np.float32), 1.0)
        np.testing.assert_array_equal(boundary(replica, theta), theta + np.array([18, 18, 18, 0, 0, 0, 4]))
        np.testing.assert_array_equal(boundary(replica, theta), theta)
    assert lines > 30, "the interrupt came at every line"


def test_a_sum_that_cannot_be_restored_comes_in_again():
    replica, theta = Replica(np.zeros(7, np.float32)), np.arange(7, dtype=np.float32)
    replica.apply(1, np.ones(3, np.float32), 0.5)
    with pytest.raises(Interrupt):
        replica.boundary([theta], lambda: [np.empty_like(theta)], Mock(side_effect=Interrupt))
    np.testing.assert_array_equal(boundary(replica, theta), theta + np.repeat([0, 0.5, 0], [3, 3, 1]))


def test_of_a_scope_the_rest_is_training_s_own():
    layout = Layout([("theta", (11,))], Scope(((2, 4), (5, 10))))
    replica = Replica(np.zeros(11, np.float32), layout=layout)
    assert [replica.size(chunk) for chunk in range(replica.chunks)] == [2, 3, 2]
    replica.apply(1, np.ones(3, np.float32), 0.5)
    np.testing.assert_array_equal(replica.snapshot(), [0, 0, 0, 0, 0, 0.5, 0.5, 0.5, 0, 0, 0])
    theta = np.arange(11, dtype=np.float32)
    np.testing.assert_array_equal(boundary(replica, theta), theta + np.repeat([0, 0.5, 0], [5, 3, 3]))


def test_untouched_chunks_are_the_learners_bit_for_bit():
    """x + (theta - x) need not be theta in floats: a chunk nobody touched is copied."""
    replica = Replica(np.full(7, 1e8, np.float32))
    theta = np.full(7, 0.1, np.float32)
    replica.apply(1, np.ones(3, np.float32), 0.5)
    assert replica.touched
    merged = boundary(replica, theta)
    assert not replica.touched
    np.testing.assert_array_equal(merged[:3], theta[:3])
    np.testing.assert_array_equal(merged[6:], theta[6:])
    np.testing.assert_array_equal(whole(replica), merged)
    assert replica.boundary([theta], lambda: pytest.fail("nothing came")) is None
    np.testing.assert_array_equal(whole(replica), theta)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, 3.4e38])
def test_difference_that_is_not_finite_changes_nothing(bad):
    replica = Replica(np.arange(7, dtype=np.float32))
    poison = np.array([1, bad, 2], np.float32)
    for call in (replica.answer, replica.apply):
        with pytest.raises(NotFinite):
            call(1, poison, 0.5)
    with pytest.raises(NotFinite):
        finite(poison)
    np.testing.assert_array_equal(whole(replica), np.arange(7))
    assert not replica.touched


def test_one_bad_coordinate_among_many_is_seen():
    """Wherever it lies: the norm is taken in rows and a rest."""
    values = np.ones(20_000, np.float32)
    for at in (0, 8191, 8192, 16_383, 16_384, 19_999):
        values[at] = np.nan
        with pytest.raises(NotFinite):
            finite(values)
        values[at] = 1
    assert finite(values) is values


def test_replica_copies_its_start_and_gives_copies_of_itself():
    start = np.zeros(4, np.float32)
    replica = Replica(start)
    start += 1
    assert not whole(replica).any()
    replica.snapshot()[0] = 1
    assert not whole(replica).any()
    assert (replica.parameters, replica.chunks, replica.size(0), replica.size(1)) == (4, 2, 3, 1)


def test_adopt_replaces_everything():
    replica = Replica(np.zeros(4, np.float32))
    replica.apply(0, np.ones(3, np.float32), 0.5)
    replica.adopt(np.full(4, 7, np.float32))
    assert not replica.touched
    np.testing.assert_array_equal(replica.snapshot(), np.full(4, 7))
    np.testing.assert_array_equal(whole(replica), np.full(4, 7))


def test_two_threads_lose_nothing():
    """Whole numbers below 2^24 add exactly in float32: the sum must come out exact."""
    parameters, rounds = 3 * 200, 3000
    replica = Replica(np.zeros(parameters, np.float32))
    one, given = np.ones(3, np.float32), np.zeros(parameters)

    def network():
        for i in range(rounds):
            replica.apply(i % 200, one, 1.0)
            chunk = i * 7 % 200
            _, d, *_ = replica.answer(chunk, replica.read(chunk) + one, 1.0)  # A boundary may come in between.
            given[span(chunk, parameters)] += d

    thread = threading.Thread(target=network)
    theta, steps = np.zeros(parameters, np.float32), 0
    thread.start()
    while thread.is_alive() or steps < 10:
        theta = boundary(replica, theta + 1)
        steps += 1
    thread.join()
    theta = boundary(replica, theta)
    np.testing.assert_array_equal(theta, steps + rounds / 200 - given)
