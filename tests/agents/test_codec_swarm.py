"""Codecs in live agents: over sockets, in the replica's vectors, and across a restart."""

from dataclasses import replace

import numpy as np
import pytest

from agents import Peer
from agents.mixing.codecs import CODECS, FLOAT32, named
from agents.mixing.learned import Learned
from agents.mixing.replica import Replica
from agents.protocol.driver import Rejected
from agents.protocol.events import KeepPiece
from agents.protocol.incarnation import Incarnation
from agents.vectors import ReplicaVectors
from tests.agents.test_peer import together
from transport.link import Link
from transport.messages import Answer, Offer, Pull
from transport.wire import encode

A, B = Incarnation("a", 1), Incarnation("b", 1)
SIZE = 1000


def vectors(theta, codec="lattice:4", learned=None):
    return ReplicaVectors(Replica(theta), named(codec), {1, 2, 3}.__contains__, learned=learned)


def near(seed=0):
    """Two vectors that hardly differ."""
    random = np.random.default_rng(seed)
    theta = random.normal(size=SIZE)
    return [(theta + 0.002 * random.normal(size=SIZE)).astype(np.float32) for _ in range(2)]


def exchange(mine, theirs, number=1, finish=""):
    name = "float32" if finish else mine._codec.name
    offer = mine.offer(B, Offer(number, 0, 1, 0.5, codec=name, finish=finish))
    offer = replace(offer, payload=bytes(offer.payload))
    codec = "float32" if finish else mine._codec.name
    answer, squared = theirs.apply_offer(A, offer, Answer(number, 0, codec=codec), 0.5)
    answer = replace(answer, payload=bytes(answer.payload))
    return offer, answer, squared, mine.apply_answer(B, answer, 0.5)


def exchanging(peers, starts, boundaries, end):
    """What both hold after so many boundaries each, side by side, and `end`."""

    def loop(peer, params):
        assert peer.wait_for(2, 60)
        for _ in range(boundaries):
            params = peer.boundary(params)
        return end(peer, params)

    return together(*(lambda p=peer, x=start: loop(p, x) for peer, start in zip(peers, starts, strict=True)))


@pytest.mark.parametrize("name", [*CODECS, "segments:1/3", "lattice:4+segments:1/5", "lowrank:2"])
def test_two_peers_send_as_many_bytes_as_the_codec_says_and_finish_equal(name, monkeypatch):
    """The finish in float32, whatever the codec."""
    sent: dict[tuple[str, bool], set[int]] = {}
    send = Link.send

    def counted(link, connection, message, payload=None):
        if isinstance(message, Offer):
            sent.setdefault(("offer", bool(message.finish)), set()).add(memoryview(message.payload).nbytes)
        elif isinstance(message, Answer):
            assert message.codec in (name, "float32")
            sent.setdefault(("answer", message.codec != name), set()).add(memoryview(message.payload).nbytes)
        return send(link, connection, message, payload)

    monkeypatch.setattr(Link, "send", counted)
    starts = [{"w": theta} for theta in near()]
    settings = {"task": "test", "every": "1steps", "topology": "complete", "codec": name}
    with Peer(starts[0], name="a", **settings) as a, Peer(starts[1], name="b", join=[a.address], **settings) as b:
        b.meet(starts[1])
        ends = exchanging((a, b), starts, 10, Peer.finish)
    np.testing.assert_allclose(ends[0]["w"], ends[1]["w"], atol=1e-6)
    np.testing.assert_allclose(ends[0]["w"], (starts[0]["w"] + starts[1]["w"]) / 2, atol=1e-5)
    offer, answer = named(name).on(((1, SIZE),)).size(SIZE)
    assert sent["offer", False] == {offer} and sent["offer", True] == {4 * SIZE}
    if name == "float32":
        assert sent["answer", False] == {4 * SIZE}
    else:
        assert sent["answer", False] == {answer} and sent["answer", True] == {4 * SIZE}


def test_an_offer_that_is_repeated_is_answered_as_before_though_it_is_another_segments_turn_by_then():
    """The answer names the segment, so both sides apply the same difference."""
    one, other = near()
    mine, theirs, third = (vectors(theta, "segments:1/3") for theta in (one, other, near(1)[0]))
    mean = (one.astype(float) + other + near(1)[0]) / 3
    first = mine.offer(B, Offer(1, 0, 1, 0.5, codec="segments:1/3"))
    answer, _ = theirs.apply_offer(
        A, replace(first, payload=bytes(first.payload)), Answer(1, 0, codec=first.codec), 0.5
    )
    second = mine.offer(B, Offer(2, 0, 1, 0.5, codec="segments:1/3"))
    other_answer, _ = third.apply_offer(A, second, Answer(2, 0, codec=first.codec), 0.5)
    mine.apply_answer(B, replace(other_answer, payload=bytes(other_answer.payload)), 0.5)
    again = mine.offer(B, Offer(1, 0, 1, 0.5, codec="segments:1/3"))
    assert again.payload[-1] != first.payload[-1]
    mine.apply_answer(B, replace(answer, payload=bytes(answer.payload)), 0.5)
    ends = [vector.replica.read(0).astype(float) for vector in (mine, theirs, third)]
    np.testing.assert_allclose(sum(ends) / 3, mean, atol=1e-6)


def test_a_large_model_takes_an_eighth_of_the_bytes(monkeypatch):
    """Of offers and answers as they are sent; how many there are depends on how often two of them cross."""
    sizes: list[int] = []
    send = Link.send

    def counted(link, connection, message, payload=None):
        if isinstance(message, Offer | Answer):
            sizes.append(sum(memoryview(frame).nbytes for frame in encode(message, payload)))
        return send(link, connection, message, payload)

    monkeypatch.setattr(Link, "send", counted)
    mean = []
    for codec in ("float32", "lattice:4"):
        sizes.clear()
        starts = [{"w": np.tile(theta, 200)} for theta in near()]
        settings = {"task": "test", "every": "1steps", "topology": "complete", "codec": codec, "finish": "gossip"}
        with Peer(starts[0], name="a", **settings) as a, Peer(starts[1], name="b", join=[a.address], **settings) as b:
            b.meet(starts[1])
            exchanging((a, b), starts, 25, Peer.drain)
        assert len(sizes) > 50
        mean.append(sum(sizes) / len(sizes))
    assert 0.12 < mean[1] / mean[0] < 0.14, "132 bytes of 1024"


def test_an_offer_in_bytes_of_another_codec_is_refused_and_nothing_changes():
    one, other = near()
    mine, theirs = vectors(one, "lattice:4"), vectors(other, "lattice:3")
    offer = mine.offer(B, Offer(1, 0, 1, 0.5, codec="lattice:4"))
    with pytest.raises(Rejected, match="expected a chunk of"):
        theirs.apply_offer(A, replace(offer, codec="lattice:3"), Answer(1, 0, codec="lattice:3"), 0.5)
    np.testing.assert_array_equal(theirs.replica.read(0), other)


@pytest.mark.parametrize("codec", ["float32", "lattice:3"])
def test_an_answer_in_another_codec_is_refused_and_the_right_one_is_still_taken(codec):
    one, other = near()
    mine, theirs = vectors(one), vectors(other)
    offer = mine.offer(B, Offer(1, 0, 1, 0.5, codec=mine._codec.name))
    answer, _ = theirs.apply_offer(
        A, replace(offer, payload=bytes(offer.payload)), Answer(1, 0, codec="lattice:4"), 0.5
    )
    payload = bytes(answer.payload)
    with pytest.raises(Rejected, match=f"an answer in codec '{codec}' to an offer in 'lattice:4'"):
        mine.apply_answer(B, replace(answer, codec=codec, payload=payload), 0.5)
    with pytest.raises(Rejected):
        mine.apply_answer(B, replace(answer, payload=payload[:-1]), 0.5)
    np.testing.assert_array_equal(mine.replica.read(0), one)
    mine.apply_answer(B, replace(answer, payload=payload), 0.5)
    assert (mine.replica.read(0) != one).any()


def test_the_exact_finish_speaks_float32_and_the_codec_learns_nothing_of_it():
    mine, theirs = map(vectors, near())
    before = mine.learned(lambda: None), theirs.learned(lambda: None)
    offer, answer, *squares = exchange(mine, theirs, finish="0:x")
    assert len(offer.payload) == len(answer.payload) == 4 * SIZE and squares[0] == squares[1]
    np.testing.assert_allclose(mine.replica.read(0), theirs.replica.read(0), atol=1e-6)
    for vector, learned in zip((mine, theirs), before, strict=True):
        np.testing.assert_array_equal(vector.learned(lambda: None), learned)


def test_what_was_learned_goes_on_after_a_restart():
    """So the next offer is the one that would have been made."""
    mine, theirs = map(vectors, near())
    for number in (1, 2):
        exchange(mine, theirs, number)
    learned = mine.learned(lambda: None)
    assert learned.dtype == np.float32 and learned.shape == (8,)
    again = vectors(mine.replica.snapshot(), learned=learned)
    offers = [
        bytes(each.offer(B, Offer(3, 0, 1, 0.5, codec="lattice:4")).payload)
        for each in (mine, again, vectors(mine.replica.read(0)))
    ]
    assert offers[0] == offers[1] != offers[2]


def test_what_fits_no_model_of_this_length_or_is_no_length_is_not_taken_over():
    replica, codec = Replica(near()[0]), CODECS["lattice:4"]
    fresh = Learned(codec, replica).saved
    for saved in (np.ones(7, np.float32), np.full(8, np.nan, np.float32), np.empty(0)):
        np.testing.assert_array_equal(Learned(codec, replica, saved).saved, fresh)
    assert Learned(FLOAT32, replica, fresh).saved.size == 0
    taken = Learned(codec, replica, 2 * fresh)
    np.testing.assert_array_equal(taken.saved, 2 * fresh)


def test_who_adopts_a_vector_begins_afresh_with_it():
    mine, theirs = vectors(np.zeros(SIZE, np.float32)), vectors(near()[0])
    mine.adopt()
    mine.keep(B, KeepPiece("route:01", 0, bytes(theirs.piece(A, Pull(1, 0, 8), 0).payload), True, 1))
    np.testing.assert_array_equal(mine.learned(lambda: None), theirs.learned(lambda: None))


@pytest.mark.parametrize("names", [("lattice:4", "float32"), ("segments:1/2", "lowrank:2"), ("auto", "bfloat16")])
def test_peers_of_two_codecs_exchange_each_in_its_own_and_the_mean_stays(names):
    starts = [{"w": theta} for theta in near()]
    settings = {"task": "test", "every": "1steps", "topology": "complete"}
    with (
        Peer(starts[0], name="a", codec=names[0], **settings) as a,
        Peer(starts[1], name="b", codec=names[1], join=[a.address], **settings) as b,
    ):
        b.meet(starts[1])
        ends = exchanging((a, b), starts, 40, Peer.finish)
    np.testing.assert_allclose(ends[0]["w"], ends[1]["w"], atol=1e-6)
    np.testing.assert_allclose(ends[0]["w"], (starts[0]["w"] + starts[1]["w"]) / 2, atol=1e-5)


@pytest.mark.parametrize("name", [*CODECS, "lattice:2+float32/3"])
def test_under_masks_the_mean_stays_and_agents_come_as_near_as_the_noise(name):
    thetas, scale = near(), 0.001
    mine, theirs = (ReplicaVectors(Replica(t), named(name), {1}.__contains__, mask=scale) for t in thetas)
    mean = (thetas[0].astype(float) + thetas[1]) / 2
    for number in range(40):
        mine._is_open = {number}.__contains__
        exchange(mine, theirs, number)
    ends = mine.replica.read(0).astype(float), theirs.replica.read(0).astype(float)
    assert np.abs((ends[0] + ends[1]) / 2 - mean).max() < 1e-6
    assert 0.1 * scale < np.std(ends[0] - ends[1]) < 6 * scale


def test_an_agent_whose_own_vector_is_not_finite_spoils_no_other():
    one, other = near()
    one[10] = np.nan
    mine, theirs = vectors(one), vectors(other)
    exchange(mine, theirs, 1)
    exchange(theirs, mine, 2)
    assert np.isfinite(theirs.replica.read(0)).all() and np.isfinite(mine.learned(lambda: None)).all()
    np.testing.assert_array_equal(theirs.replica.read(0)[:128], other[:128])
