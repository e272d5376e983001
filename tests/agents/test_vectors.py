"""The core's work on a replica: what is offered, applied, served and adopted, and what is recorded of it."""

import math
from dataclasses import replace

import numpy as np
import pytest

from agents.mixing.clipping import Radii
from agents.mixing.codecs import FLOAT32
from agents.mixing.layout import Layout
from agents.mixing.replica import Replica
from agents.protocol.driver import NotYet, Rejected
from agents.protocol.events import KeepPiece
from agents.protocol.incarnation import NOBODY, Incarnation
from agents.recorder import ADOPT, ANSWER, APPLY, KEEP, OFFER, SERVE, Recorder, read_recordings
from agents.vectors import ReplicaVectors
from tests.agents.mixing.coarse_codec import ABSOLUTE, COARSE, RELATIVE
from transport.messages import Answer, Offer, Piece, Pull

A, B = Incarnation("a", 1), Incarnation("b", 1)
SIZE, CHUNKS = 7, 3


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr("agents.mixing.layout.CHUNK", SIZE // CHUNKS + 1)
    assert len(Layout.flat(SIZE).chunks) == CHUNKS


def vectors(seed, codec=FLOAT32, recorder=None, open_ones=(1,)):
    theta = np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)
    return ReplicaVectors(Replica(theta), codec, open_ones.__contains__, recorder)


def sent(message, memory=bytes):
    """As it arrives: its payload in memory of its own."""
    return replace(message, payload=memory(message.payload))


def exchange(mine, theirs, number=1, step=5, rate=0.5):
    """All chunks of an exchange that `mine`, of agent a, begins with `theirs`, of b: its distance, as each has it."""
    squares = [0.0, 0.0]
    for chunk in range(CHUNKS):
        offer = Offer(number, chunk, CHUNKS, 0.5, step=step, codec=mine._codec.name)
        offered = sent(mine.offer(B, offer))
        answer = Answer(number, chunk, step=9, codec=mine._codec.name)
        answer, squared = theirs.apply_offer(A, offered, answer, rate)
        squares = [squares[0] + mine.apply_answer(B, sent(answer), rate), squares[1] + squared]
    return map(math.sqrt, squares)


@pytest.mark.parametrize("codec", [FLOAT32, RELATIVE, ABSOLUTE], ids=lambda codec: codec.name)
def test_distance_is_that_of_the_two_models_on_both_sides(codec):
    mine, theirs = vectors(0, codec), vectors(1, codec)
    expected = float(np.linalg.norm(mine.replica.snapshot() - theirs.replica.snapshot()))
    ours, other = exchange(mine, theirs)
    assert ours == other
    assert ours == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("codec", [FLOAT32, RELATIVE], ids=lambda codec: codec.name)
def test_payload_that_is_unusable_is_rejected_and_measures_nothing(codec):
    mine, theirs = vectors(0, codec), vectors(1, codec)
    before = mine.replica.snapshot(), theirs.replica.snapshot()
    mine.offer(B, Offer(1, 0, CHUNKS, 0.5, codec=mine._codec.name))
    for payload in (b"", b"\xff" * (4 * SIZE), b"\xff\xff\xff\x7f" * 3):
        with pytest.raises(Rejected):
            theirs.apply_offer(
                A, Offer(1, 0, CHUNKS, 0.5, step=5, codec=codec.name, payload=payload), Answer(1, 0), 0.5
            )
        with pytest.raises(Rejected):
            mine.apply_answer(B, Answer(1, 0, step=9, codec=codec.name, payload=payload), 0.5)
    with pytest.raises(Rejected, match=f"an answer in codec 'int3' to an offer in '{codec.name}'"):
        mine.apply_answer(B, Answer(1, 0, codec="int3"), 0.5)
    np.testing.assert_array_equal(mine.replica.read(0), before[0][:3])
    np.testing.assert_array_equal(theirs.replica.read(0), before[1][:3])


def test_answer_never_writes_into_memory_that_cannot_be_written():
    """A payload from the link may be read-only, or writable and then gone: the answer is the same."""
    for make in (bytes, bytearray):
        mine, theirs = vectors(0), vectors(1)
        offer = sent(mine.offer(B, Offer(1, 0, CHUNKS, 0.5, codec=mine._codec.name)), make)
        answer, _ = theirs.apply_offer(A, sent(offer, memoryview), Answer(1, 0), 0.5)
        np.testing.assert_array_equal(
            np.frombuffer(answer.payload, "<f4"), vectors(1).replica.read(0) - vectors(0).replica.read(0)
        )


@pytest.mark.parametrize("codec", [FLOAT32, *COARSE.values()], ids=lambda codec: codec.name)
def test_both_sides_move_by_the_same_difference_whoever_owns_the_payloads_memory(codec):
    """An offer in memory that can be written to is not lost to a codec whose difference needs it."""
    mine, theirs = vectors(0, codec), vectors(1, codec)
    before = mine.replica.read(0).copy(), theirs.replica.read(0).copy()
    offer = sent(sent(mine.offer(B, Offer(1, 0, CHUNKS, 0.5, codec=mine._codec.name)), bytearray), memoryview)
    mine.apply_answer(B, sent(theirs.apply_offer(A, offer, Answer(1, 0, codec=codec.name), 0.5)[0]), 0.5)
    moved = mine.replica.read(0) - before[0], theirs.replica.read(0) - before[1]
    assert np.abs(moved[0]).max() > 0.1
    np.testing.assert_allclose(moved[0], -moved[1], atol=1e-6)


def test_an_offer_that_nobody_keeps_is_the_replicas_memory_in_one_frame_for_all_times():
    mine, theirs = vectors(0), vectors(1)
    before = mine.offer(B, Offer(1, 0, CHUNKS, 0.5)).payload
    exchange(mine, theirs)
    after = mine.offer(B, Offer(2, 0, CHUNKS, 0.5)).payload
    assert after is before
    np.testing.assert_array_equal(np.frombuffer(after, "<f4"), mine.replica.read(0))


def test_offers_of_exchanges_that_are_over_are_forgotten():
    open_ones = {1}
    mine = vectors(0, ABSOLUTE, open_ones=open_ones)
    for chunk in range(CHUNKS):
        mine.offer(B, Offer(1, chunk, CHUNKS, 0.5, codec=mine._codec.name))
    open_ones.clear()
    open_ones.add(2)
    mine.offer(B, Offer(2, 0, CHUNKS, 0.5, codec=mine._codec.name))
    assert list(mine._offered) == [(2, 0)]


def keep(theirs, chunk, last=False):
    return KeepPiece("route:01", chunk, bytes(theirs.piece(B, Pull(4, 0, 8), chunk).payload), last, 4)


def test_adopted_vector_is_there_at_once_when_its_last_piece_is():
    mine, theirs, adopted_as = vectors(0), vectors(1), []
    mine.adopted = lambda: adopted_as.append(mine.replica.snapshot())
    before = mine.replica.snapshot()
    mine.keep(B, keep(theirs, 0))  # Nothing was to be adopted: a piece that comes late.
    mine.adopt()
    for chunk in (2, 0):
        mine.keep(B, keep(theirs, chunk))
    np.testing.assert_array_equal(mine.replica.snapshot(), before)
    assert not adopted_as
    mine.keep(B, keep(theirs, 1, last=True))
    np.testing.assert_array_equal(mine.replica.snapshot(), theirs.replica.snapshot())
    np.testing.assert_array_equal(adopted_as[0], theirs.replica.snapshot())
    mine.keep(B, keep(vectors(2), 1, last=True))
    assert len(adopted_as) == 1


def test_unusable_piece_is_rejected_and_changes_nothing():
    mine = vectors(0)
    before = mine.replica.snapshot()
    mine.adopt()
    for payload in (b"", b"\xff" * 12, np.array([1, math.inf, 2], "<f4").tobytes()):
        with pytest.raises(Rejected):
            mine.keep(B, KeepPiece("route:01", 0, payload, True))
    np.testing.assert_array_equal(mine.replica.snapshot(), before)


def test_vector_is_adopted_no_longer_once_that_was_stopped():
    mine, theirs = vectors(0), vectors(1)
    before = mine.replica.snapshot()
    mine.adopt()
    mine.stop_adopting()
    for chunk in range(CHUNKS):
        mine.keep(B, keep(theirs, chunk, last=chunk == CHUNKS - 1))
    np.testing.assert_array_equal(mine.replica.snapshot(), before)


def test_who_pulls_often_gets_one_mask_until_the_vector_has_moved_by_as_much_as_it_hides():
    mine = ReplicaVectors(Replica(np.arange(SIZE, dtype=np.float32)), FLOAT32, {1}.__contains__, mask=0.5)

    def pulled(step=0.0):
        mine.replica.boundary([np.arange(SIZE, dtype=np.float32) + step], lambda: [np.empty(SIZE, np.float32)])
        return bytes(mine.piece(A, Pull(1, 0, 1), 0).payload)

    first = pulled()
    assert {pulled(0.4 * k / 99) for k in range(100)} == {first}
    assert pulled(0.6) != first
    assert np.abs(np.frombuffer(first, np.float32) - np.arange(3)).max() > 0


def test_piece_says_how_long_the_whole_is():
    piece = vectors(0).piece(B, Pull(4, 0, 8), 2)
    assert isinstance(piece, Piece) and (piece.request, piece.chunk, piece.parameters) == (4, 2, SIZE)


def test_everything_is_recorded_once_and_in_order(tmp_path):
    """Repeated offers, and pieces for observers, are no operations of their own."""
    recorders = [Recorder(tmp_path / name) for name in "ab"]
    for recorder, name in zip(recorders, "ab", strict=True):
        recorder.begin({"agent": name})
    mine, theirs = vectors(0, recorder=recorders[0]), vectors(1, recorder=recorders[1])
    offered = [bytes(mine.offer(B, Offer(1, 0, CHUNKS, 0.5, codec=mine._codec.name)).payload) for _ in range(2)]
    mine.replica.boundary([np.ones(SIZE, np.float32)], lambda: [np.empty(SIZE, np.float32)])
    assert bytes(mine.offer(B, Offer(1, 0, CHUNKS, 0.5, codec=mine._codec.name)).payload) == offered[0] == offered[1]
    exchange(mine, theirs, rate=0.25)
    theirs.piece(NOBODY, Pull(4, 0, 8), 0)
    mine.adopt()
    for chunk in range(CHUNKS):
        mine.keep(B, keep(theirs, chunk, last=chunk == CHUNKS - 1))
    with pytest.raises(Rejected):
        theirs.apply_offer(A, Offer(2, 0, CHUNKS, 0.5, payload=b""), Answer(2, 0), 0.5)
    for recorder in recorders:
        recorder.close()
    ours, other = (read_recordings(tmp_path / name)[0] for name in "ab")
    assert (ours.peers, other.peers) == ([B], [A, B])
    rows = [(r["op"], r["chunk"], r["number"], r["rate"]) for r in ours.records]
    assert rows == [
        *((op, chunk, 1, rate) for chunk in range(3) for op, rate in ((OFFER, 0), (APPLY, 0.25))),
        *((KEEP, chunk, 4, 0) for chunk in range(3)), (ADOPT, 0, 4, 0),
    ]  # fmt: skip
    rows = [(r["op"], r["chunk"], r["number"], r["rate"]) for r in other.records]
    assert rows == [*((ANSWER, chunk, 1, 0.25) for chunk in range(3)), *((SERVE, chunk, 4, 0) for chunk in range(3))]


def two_vectors(seed):
    """Theta and one vector beside it, of other values, in chunks of one vector each."""
    both = np.random.default_rng(seed).normal(size=2 * SIZE).astype(np.float32)
    both[SIZE:] *= 1000
    return ReplicaVectors(Replica(both, layout=Layout.flat(SIZE, ("theta", "beside"))), FLOAT32, {1}.__contains__)


def test_of_several_vectors_all_are_mixed_and_theta_s_distance_counts():
    mine, theirs = two_vectors(0), two_vectors(1)
    starts = [each.replica.snapshot() for each in (mine, theirs)]
    assert mine.replica.chunks == 2 * CHUNKS
    assert all((span.stop <= SIZE) or (span.start >= SIZE) for span in map(mine.replica.span, range(2 * CHUNKS)))
    squares = [0.0, 0.0]
    for chunk in range(2 * CHUNKS):
        offered = sent(mine.offer(B, Offer(1, chunk, 2 * CHUNKS, 0.5)))
        answer, squared = theirs.apply_offer(A, offered, Answer(1, chunk, codec="float32"), 0.5)
        squares = [squares[0] + mine.apply_answer(B, sent(answer), 0.5), squares[1] + squared]
    assert squares[0] == squares[1] == pytest.approx(float(np.sum((starts[0] - starts[1])[:SIZE] ** 2)), rel=1e-4)
    for each in (mine, theirs):
        np.testing.assert_allclose(each.replica.snapshot(), (starts[0] + starts[1]) / 2, rtol=1e-3, atol=1e-3)


def test_who_adopts_takes_theta_alone_and_is_served_theta_alone():
    mine, theirs = two_vectors(0), two_vectors(1)
    own, other = mine.replica.snapshot(), theirs.replica.snapshot()
    mine.adopt()
    for chunk in range(CHUNKS):
        piece = theirs.piece(A, Pull(1, 0, CHUNKS), chunk)
        assert piece.parameters == SIZE
        mine.keep(B, KeepPiece(1, chunk, bytes(piece.payload), last=chunk == CHUNKS - 1))
    np.testing.assert_array_equal(mine.replica.snapshot(), np.concatenate([other[:SIZE], own[SIZE:]]))


def test_both_sides_know_how_far_they_are_apart_in_each_parameter_unless_models_are_masked():
    mine, theirs = vectors(0), vectors(1)
    apart = float(np.linalg.norm(mine.replica.snapshot() - theirs.replica.snapshot()))
    list(exchange(mine, theirs))
    assert mine.layers() == theirs.layers() == {"theta": pytest.approx(apart)}
    masked = ReplicaVectors(Replica(np.zeros(SIZE, np.float32)), FLOAT32, lambda exchange: True, mask=0.1)
    list(exchange(masked, theirs, number=2))
    assert masked.layers() == {}


@pytest.mark.parametrize(("start", "theirs"), [(0.0, False), (1.0, True)])
def test_an_offer_of_1e17_before_the_first_boundary_is_refused_and_held_against_it_only_where_a_measure_is_known(
    start, theirs
):
    replica = Replica(np.full(SIZE, start, np.float32))
    mine = ReplicaVectors(replica, FLOAT32, {1}.__contains__, radii=Radii(7.0, CHUNKS))
    offer = Offer(1, 0, CHUNKS, 0.5, codec="float32", payload=np.full(3, 1e17, np.float32).tobytes())
    with pytest.raises(Rejected) as refused:
        mine.apply_offer(B, offer, Answer(1, 0, codec="float32"), 0.5)
    assert isinstance(refused.value, NotYet) != theirs
    assert (replica.snapshot() == start).all()


def test_a_vector_beside_theta_is_taken_at_any_distance_where_we_only_follow():
    """Of theta no more than two models are apart; the other is used by who trains it alone."""
    layout = Layout.flat(SIZE, ("theta", "direction"))
    radii = Radii(7.0, len(layout.chunks))
    for chunk in range(len(layout.chunks)):
        radii.moved(chunk, 0.1)
    replica = Replica(np.ones(2 * SIZE, np.float32), layout=layout)
    following = ReplicaVectors(replica, FLOAT32, lambda _: True, radii=radii, trains=lambda peer, _: peer is not None)
    offers = [following.offer(B, Offer(1, chunk, 2 * CHUNKS, 0.5, codec="float32")) for chunk in range(2 * CHUNKS)]
    assert [offer.limit > 0 for offer in offers] == [True] * CHUNKS + [False] * CHUNKS
