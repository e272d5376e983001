"""Exchanges between two agents: codecs that differ, offers that are repeated, answers out of place, collisions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather

from agents.protocol import core as protocol_core
from agents.protocol import events as ev
from agents.protocol.codecs import Codecs
from agents.protocol.exchanges import CROSSING_S
from agents.protocol.session import WINDOW
from tests.agents.mixing.coarse_codec import COARSE, let_in
from topology import select
from transport.messages import Ack, Answer, Decline, Gossip, Liveness, Offer


@pytest.fixture(autouse=True)
def _coarse_codecs(monkeypatch):
    let_in(monkeypatch)


def pair(parameters=3, codecs=("float32", "float32"), **settings):
    """a and b, that know each other; by default one chunk."""
    network = MemoryNetwork(parameters, **settings)
    start = np.random.default_rng(0).normal(size=(2, parameters))
    a, b = (network.add_agent(name, start[i], codec=codecs[i]) for i, name in enumerate("ab"))
    network.meet()
    return network, a, b


def of(held, kind):
    """The messages of this kind that were held back, in order."""
    return [packet.message for packet in held if isinstance(packet.message, kind)]


def thetas(*agents):
    return [agent.theta for agent in agents]


# Codecs that differ.


@pytest.mark.parametrize("codecs", [("relative", "float32"), ("float32", "absolute"), ("lattice:4", "segments:1/3")])
def test_each_begins_in_its_own_codec_and_the_other_answers_in_it(codecs):
    network, a, _ = pair(30, codecs)
    before, held = network.total(), network.hold()
    for agent in "ab":
        network.due(agent, 1)
        while held:
            network.deliver(held.pop(0))
    assert before == pytest.approx(network.total(), abs=1e-5)
    assert network.at_rest() and a.core.exchanges.idle


def test_a_codec_that_the_other_lacks_is_agreed_down_and_said_once(monkeypatch):
    monkeypatch.setattr(protocol_core, "KINDS", ("float32", "lattice"))
    network, a, _ = pair(30, codecs=("lowrank:2+lattice:4/3", "float32"))
    held = network.hold()
    network.due("a", 1)
    assert {offer.codec for offer in of(held, Offer)} == {"lattice:4"}
    said = [signal for signal in a.signals if isinstance(signal, ev.Notice) and signal.event == "codec"]
    assert [(notice.text, notice.agent) for notice in said] == [
        ("b has no codec lowrank:2+lattice:4/3: what we begin with it is in lattice:4", "b")
    ]


def test_which_codec_auto_has_chosen_stands_in_the_record_that_others_see():
    network, a, b = pair(30, codecs=("auto", "float32"))
    a.core.codecs.now = "lattice:8"
    assert network.run(10, lambda: b.core.members.get("a").report.codec == "lattice:8")


@pytest.mark.parametrize(
    ("setting", "theirs", "expected"),
    [
        ("lowrank:4+lattice:4/5", "float32 lattice lowrank turns", "lowrank:4+lattice:4/5"),
        ("lowrank:4+lattice:4/5", "float32 lattice lowrank", "lowrank:4"),
        ("lowrank:4+lattice:4/5", "", "lattice:4"),
        ("lattice:3+segments:1/2+bfloat16/4", "float32 bfloat16 lattice turns", "lattice:3"),
        ("bfloat16", "", "float32"),
        ("segments:1/5", "float32", "float32"),
        ("lattice:4", "segments what-else " * 50, "float32"),
    ],
)
def test_what_is_agreed_is_the_first_part_that_both_have(setting, theirs, expected):
    codecs = Codecs(setting)
    assert codecs.of("b") == setting, "who told nothing yet is taken for one of ours"
    said = codecs.introduced("b", theirs)
    assert codecs.of("b") == expected and len(said) == (expected != setting)
    assert codecs.introduced("b", theirs) == []


def test_offer_in_a_codec_that_is_none_is_declined_with_all_names():
    network, a, b = pair()
    before, held = thetas(a, b), network.hold()
    network.due("a", 1)
    network.deliver(replace(held[0], message=replace(held[0].message, codec="int3")))
    (decline,) = of(held, Decline)
    assert decline.why.startswith("codec is one of float32, ") and decline.why.endswith("got 'int3'")
    network.deliver(held[1])
    assert a.signals[-1] == ev.RoundOver(1, "b", f"b declined: {decline.why}")
    np.testing.assert_array_equal(thetas(a, b), before)
    assert not network.account.outstanding and network.at_rest()


@pytest.mark.parametrize("codec", ["float32", *COARSE])
def test_answer_in_another_codec_changes_nothing(codec):
    network, a, _ = pair(codecs=(codec, codec))
    before, held = a.theta, network.hold()
    network.due("a", 1)
    network.deliver(held[0])
    other = "float32" if codec != "float32" else "relative"
    network.deliver(replace(held[1], message=replace(held[1].message, codec=other)))
    np.testing.assert_array_equal(a.theta, before)
    assert a.signals[-1].round == 1
    assert a.core.exchanges.idle


# Offers that are repeated.


@pytest.mark.parametrize("codec", COARSE)
def test_repeated_offer_is_the_same_bytes_though_theta_has_changed(codec):
    """The responder may have answered the first, and its answer be lost: its difference is of what was offered then."""
    network, _, b = pair(6, (codec, codec), silent_s=30.0)
    before, held = network.total(), network.hold()
    network.due("a", 1)
    network.train("a", np.ones(6))
    network.run(3.0)
    offers = of(held, Offer)
    assert len(offers) > 4
    for chunk in range(2):
        assert len({bytes(offer.payload) for offer in offers if offer.chunk == chunk}) == 1
    repeated = next(packet for packet in held[::-1] if isinstance(packet.message, Offer))
    network.deliver(next(packet for packet in held if packet.message == repeated.message))
    network.deliver(repeated)
    first, again = of(held, Answer)
    assert bytes(first.payload) == bytes(again.payload)
    assert len(b.of(ev.ApplyOffer)) == 1
    network.release()
    assert network.run(60, network.at_rest)
    assert not network.account.outstanding
    assert np.abs(network.total() - before).max() < 1e-5


def test_repeated_offer_of_a_codec_that_does_not_need_it_is_theta_as_it_is_now():
    """Nothing is kept for it: with float32 both sides move by the answer alone."""
    network, a, b = pair(silent_s=30.0)
    before, held = network.total(), network.hold()
    network.due("a", 1)
    network.train("a", np.ones(3))
    network.run(1.0)
    first, again, *_ = (packet for packet in held if isinstance(packet.message, Offer))
    np.testing.assert_allclose(
        np.frombuffer(again.message.payload, "<f4"), np.frombuffer(first.message.payload, "<f4") + 1, atol=1e-6
    )
    assert [code for code, *_ in a.vectors.inner._offered.values()] == [None]
    network.deliver(again)
    network.deliver(first)
    for packet in [each for each in held if isinstance(each.message, Answer)]:
        network.deliver(packet)
    assert len(a.of(ev.ApplyAnswer)) == len(b.of(ev.ApplyOffer)) == 1
    assert np.abs(network.total() - before).max() < 1e-5


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10_000), st.sampled_from(sorted(COARSE)), st.sampled_from([0.0, 0.3]))
def test_what_was_offered_is_kept_for_one_window_and_until_its_answer(seed, codec, lost):
    network = MemoryNetwork(90, seed, codec=codec)
    for name in "ab":
        network.add_agent(name, np.random.default_rng(seed).normal(size=90))
    network.meet()
    network.weather = Weather(lost, 0.3, 0.2)
    most = []
    for round in range(1, 4):
        network.due("a", round)
        network.run(60, lambda: most.append(len(network.agents["a"].vectors.inner._offered)) or network.at_rest())
    assert network.run(300, network.at_rest)
    assert 0 < max(most) <= WINDOW
    assert not network.agents["a"].vectors.inner._offered


# Messages out of place.


def test_answers_declines_and_acks_of_nobodys_exchange_change_nothing():
    network, a, b = pair(6)
    held = network.hold()
    network.due("a", 1)
    before, (first, second) = thetas(a, b), held[:2]
    route_a, route_b = network.route("a", "b"), first.connection
    payload = np.ones(3, "<f4").tobytes()
    for message in (Answer(2, 0, payload=payload), Answer(1, 2, payload=payload),
                    Decline(2, 0, "no"), Decline(1, 5, "no"), Ack(1)):  # fmt: skip
        a.handle(ev.Received(route_a, message))
    assert len(a.core.exchanges.open_peers) == 1
    b.handle(ev.Received(route_b, Ack(7)))
    b.handle(ev.OfferApplied(route_b, Offer(7, 0, 2, 0.5), Answer(7, 0)))
    b.handle(ev.Unusable(route_b, 7, "no"))
    np.testing.assert_array_equal(thetas(a, b), before)
    for packet in (first, second):
        network.deliver(packet)
    b.handle(ev.OfferApplied(route_b, Offer(1, 0, 2, 0.5), Answer(1, 0, payload=b"twice")))
    for packet in [each for each in held if isinstance(each.message, Answer)]:
        network.deliver(packet)
    assert len(a.of(ev.Completed)) == 1 and not network.account.outstanding


@pytest.mark.parametrize("answer", [Answer(1, 0, 0.0), Answer(1, 0, 2.0**60), Answer(1, 0, scale=0.0),
                                    Answer(1, 0, scale=1.5), Answer(1, 0, damping=0.0), Answer(1, 0, damping=1.01),
                                    Answer(1, 0, damping=math.nan)], ids=str)  # fmt: skip
def test_answer_that_makes_no_sense_ends_the_exchange_and_is_counted(answer):
    """Nothing is applied and nothing is reported as completed, though it answers the last chunk."""
    network, a, _ = pair()
    held = network.hold()
    network.due("a", 1)
    before = a.theta.copy()
    payload = np.ones(3, "<f4").tobytes()
    a.handle(ev.Received(network.route("a", "b"), replace(answer, payload=payload)))
    np.testing.assert_array_equal(a.theta, before)
    assert not a.of(ev.Completed) and len(a.of(ev.RoundOver)) == 1 and not a.core.exchanges.open_peers
    assert a.core.exchanges.ledger.of("b").rejected == 1 and held


def test_an_ack_that_was_lost_is_asked_for_again():
    """Else the responder would hold the answer, and could not leave, until its peer exchanges anew."""
    network, a, b = pair()
    held = network.hold()
    network.due("a", 1)
    for kind in (Offer, Answer):
        network.deliver(next(packet for packet in held if isinstance(packet.message, kind)))
    network.release()
    assert a.core.exchanges.idle and not b.core.exchanges.idle
    before = thetas(a, b)
    assert network.run(3, lambda: b.core.exchanges.idle)
    np.testing.assert_array_equal(thetas(a, b), before)


def test_offer_of_an_older_exchange_is_an_echo():
    network, a, b = pair()
    held = network.hold()
    for round in (1, 2):
        network.due("a", round)
        for packet in held:
            network.deliver(packet)
        for packet in held[1:]:
            network.deliver(packet)
        network.deliver(held[-1])
        old, held[:] = held[0], []
        if round == 1:
            first = old
    after = thetas(a, b)
    network.deliver(first)
    np.testing.assert_array_equal(thetas(a, b), after)
    assert not of(held, Answer) and not of(held, Decline)
    assert len(b.of(ev.ApplyOffer)) == 2


def around(network, names, held):
    """One exchange of each agent with the next one, all offered before any is answered."""
    seed = network.settings.get("seed", network.seed)
    for name, after in zip(names, names[1:] + names[:1], strict=True):
        others = sorted(set(names) - {name})
        network.due(name, next(round for round in range(1, 1000) if select(seed, name, round, others) == after))
    for kind in (Offer, Answer, Ack):
        for packet in [packet for packet in held if isinstance(packet.message, kind)]:
            network.deliver(packet)
    held.clear()


@pytest.mark.parametrize("agents", [3, 4, 6])
def test_exchanges_that_overlap_around_a_ring_are_damped_and_agree(agents):
    """Theory 30: theta_i += (theta_next + theta_previous - 2 theta_i) / 4. At full rate even rings swap for ever."""
    names = "abcdef"[:agents]
    network, start = MemoryNetwork(3), np.random.default_rng(0).normal(size=(agents, 3))
    made = [network.add_agent(name, start[k]) for k, name in enumerate(names)]
    network.meet()
    held, total = network.hold(), network.total()
    around(network, names, held)
    expected = start + (np.roll(start, 1, 0) + np.roll(start, -1, 0) - 2 * start) / 4
    np.testing.assert_allclose(thetas(*made), expected, atol=1e-5)
    np.testing.assert_allclose(network.total(), total, atol=1e-5)


def test_an_answer_is_damped_while_an_offer_of_the_same_chunk_is_open_and_no_longer():
    network, a, _ = pair()
    c = network.add_agent("c", np.ones(3))
    network.meet()
    held = network.hold()
    network.due("a", next(round for round in range(1, 99) if select(network.seed, "a", round, ["b", "c"]) == "b"))
    network.due("c", next(round for round in range(1, 99) if select(network.seed, "c", round, ["a", "b"]) == "a"))
    to_b, to_a = (packet for packet in held if isinstance(packet.message, Offer))
    before = thetas(a, c)
    network.deliver(to_a)
    (overlapping,) = of(held, Answer)
    np.testing.assert_allclose(a.theta, before[0] + (before[1] - before[0]) / 4, atol=1e-6)
    network.deliver(to_b)
    alone = of(held, Answer)[1]
    assert (overlapping.damping, alone.damping) == (0.5, 1.0)
    while held:
        network.deliver(held.pop(0))
    network.release()
    round = next(round for round in range(100, 199) if select(network.seed, "c", round, ["a", "b"]) == "a")
    held = network.hold()
    network.due("c", round)
    network.deliver(held[0])
    assert of(held, Answer)[0].damping == 1.0, "a's own exchange is over"


def test_of_two_offers_that_crossed_that_of_the_smaller_name_goes_on():
    network, _, _ = pair()
    held = network.hold()
    network.due("a", 1)
    network.due("b", 1)
    from_a, from_b = held[:2]
    network.deliver(from_b)
    (decline,) = of(held, Decline)
    assert decline.why == "our offers crossed, and mine goes first"
    network.deliver(from_a)
    assert len(of(held, Answer)) == 1 and len(of(held, Decline)) == 1


def test_offer_of_a_chunk_that_is_open_the_other_way_is_declined():
    """b answered long ago and knows of a's exchange, so its own offer did not cross; a still waits for the answer."""
    network, a, _ = pair(6, silent_s=30.0)
    held = network.hold()
    network.due("a", 1)
    network.deliver(held[0])
    network.run(CROSSING_S + 1.0)
    held.clear()
    network.due("b", 1)
    offer = held[0]
    assert offer.message.seen == 1
    network.deliver(offer)
    (decline,) = of(held, Decline)
    assert decline.why == "my own offer of this chunk is open"
    network.release()
    assert network.run(60, network.at_rest)
    assert not network.account.outstanding and len(a.of(ev.Completed)) == 1


def test_nothing_is_begun_with_a_peer_whose_exchange_is_half_answered():
    network, a, b = pair(6)
    held = network.hold()
    network.due("a", 1)
    network.deliver(held[0])
    network.due("b", 1)
    assert b.signals[-1] == ev.RoundOver(1, why="no neighbor is free now")
    network.due("a", 2)
    assert a.signals[-1] == ev.RoundOver(2, why="no neighbor is free now"), "one exchange with a peer at a time"
    network.release()
    assert network.run(60, network.at_rest)
    network.run(3.0)
    network.due("b", 2)
    assert network.run(60, network.at_rest)
    assert b.signals[-1] == ev.RoundOver(2, "a", "")


def test_unusable_answer_stops_the_exchange_and_what_is_open_completes():
    """20 chunks: after the first answer nothing more is offered than what was open; the round ends with the reason."""
    network, a, b = pair(60)
    held = network.hold()
    network.due("a", 1)
    for packet in held[:WINDOW]:
        network.deliver(packet)
    answers = [packet for packet in held if isinstance(packet.message, Answer)]
    network.deliver(replace(answers[0], message=replace(answers[0].message, payload=b"odd")))
    assert a.signals[-1] == ev.RoundOver(1, "b", "expected a chunk of 12 bytes, got 3: the peer trains another model")
    assert not network.at_rest()
    network.release()
    assert network.run(60, network.at_rest)
    assert {key[2] for key in network.account.outstanding} == {0}, "of it the responder moved alone"
    assert len(a.of(ev.ApplyAnswer)) == WINDOW == len(b.of(ev.ApplyOffer))
    assert not a.of(ev.Completed)


def test_end_of_one_incarnation_leaves_exchanges_with_others_open():
    network = MemoryNetwork(3, silent_s=30.0)
    for name in "abc":
        network.add_agent(name, np.zeros(3))
    network.meet()
    network.hold()
    network.due("a", 1)
    network.due("a", 2)
    a = network.agents["a"]
    assert {peer.agent for peer in a.core.exchanges.open_peers} == {"b", "c"}
    a.handle(
        ev.Received(
            network.route("a", "b"), Gossip((replace(a.core.members.get("b"), liveness=Liveness(10**6, "left")),))
        )
    )
    assert {peer.agent for peer in a.core.exchanges.open_peers} == {"c"}
    network.release()
    assert network.run(60, network.at_rest)


def test_one_agent_alone_has_no_neighbor():
    network = MemoryNetwork(3)
    alone = network.add_agent("alone", np.zeros(3))
    network.due("alone", 1)
    assert alone.signals == [ev.RoundOver(1, why="no neighbor is free now")]


def test_credit_shrinks_as_more_peers_are_answered():
    network = MemoryNetwork(60)
    for i in range(5):
        network.add_agent(f"agent-{i}", np.zeros(60), topology="star")
    network.meet()
    for i in range(1, 5):
        network.due(f"agent-{i}", 1)
    network.run(0.05)
    credits = [m.credit for _, receiver, m in network.sent if isinstance(m, Answer) and receiver != "agent-0"]
    assert set(credits) >= {WINDOW, WINDOW // 4} and min(credits) >= 1
    assert network.run(60, network.at_rest)
