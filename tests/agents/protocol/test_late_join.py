"""Adopt first, then be a neighbor: while an agent holds no vector of the swarm, nothing is exchanged with it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather

from agents.protocol import events as ev
from agents.protocol.adoption import RETRY_S, STALLED_S
from agents.protocol.core import NO_VECTOR
from agents.protocol.pull import ASK_AGAIN_S
from transport.messages import Answer, Decline, Gossip, Offer, Piece, Pull

ROUNDING = 2e-4


def swarm(n=2, parameters=60, seed=0, **settings):
    """n agents that train, and "late", which has joined them and holds nothing yet."""
    network = MemoryNetwork(parameters, seed, **settings)
    start = np.random.default_rng(seed).normal(size=(n + 1, parameters))
    for i in range(n):
        network.add_agent(f"agent-{i}", start[i])
    late = network.add_agent("late", start[n], state="joining")
    network.meet()
    for i in range(n):
        network.agents[f"agent-{i}"].driver.publish(step=5)
    assert network.run(20, lambda: all(member.report.step == 5 for member in late.core.members.others()))
    return network, late


def of(held, kind):
    return [packet.message for packet in held if isinstance(packet.message, kind)]


def test_a_joiner_whose_first_records_are_all_lost_is_known_to_all_a_little_later():
    network = MemoryNetwork(3)
    for name in ("a", "b"):
        network.add_agent(name, np.zeros(3))
    network.meet()
    late = network.add_agent("late", np.ones(3), state="joining")
    held = network.hold()
    while len(late.core.handshake.connections()) < 2:
        assert network.run(5, lambda: bool(held))
        packet = held.pop(0)
        if not isinstance(packet.message, Gossip):
            network.deliver(packet)
    network.release()
    network.meet()


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_late_joiner_adopts_a_whole_vector_in_any_weather(lost):
    network = MemoryNetwork(60)
    theta = np.random.default_rng(0).normal(size=60).astype(np.float32)
    network.add_agent("old", theta)
    late = network.add_agent("late", np.zeros(60), nat=True, state="joining")
    network.meet()
    network.agents["old"].driver.publish(step=5)
    network.weather = Weather(lost, 0.3, 0.2)
    network.adopt("late")
    assert network.run(120, lambda: late.core.members.me.state == "training")
    np.testing.assert_array_equal(late.theta, theta)
    np.testing.assert_array_equal(late.replica.snapshot(), theta)


def test_joining_agent_is_nobodys_neighbor():
    network, late = swarm(2)
    for agent in network.agents.values():
        assert agent.name == "late" or "late" not in agent.core.members.neighbors_among()
        assert agent.name == "late" or "late" not in {n for r in range(50) for n in agent.core.neighbors(r)}
    for round in range(1, 20):
        network.due("agent-0", round)
        assert network.run(5, network.at_rest)
    assert {sender.peer for sender in network.agents["agent-0"].of(ev.Completed)} == {"agent-1"}
    assert late.core.members.is_alive("agent-0")


def test_joining_agent_answers_no_offer_and_begins_none():
    network, late = swarm(1, parameters=3)
    old = network.agents["agent-0"]
    thetas = late.theta, old.theta
    network.due("late", 1)
    assert late.signals[-1] == ev.RoundOver(1, why=NO_VECTOR)
    held = network.hold()
    for sender, receiver in ((old, late), (late, old)):
        route = network.route(receiver.name, sender.name)
        receiver.handle(ev.Received(route, Offer(1, 0, 1, 0.5, payload=np.ones(3, "<f4").tobytes())))
        receiver.handle(ev.Received(route, Offer(1, 0, 1, 0.5, payload=np.ones(3, "<f4").tobytes())))
        assert of(held, Decline) == [Decline(1, 0, NO_VECTOR)] * 2, "either way, and whenever it comes again"
        held.clear()
    assert (late.theta == thetas[0]).all() and (old.theta == thetas[1]).all()


def test_offer_declined_while_its_sender_was_joining_stays_declined_when_it_comes_again():
    """The initiator has dropped the exchange: applied here alone, it would move the mean of the two."""
    network, late = swarm(1, parameters=3)
    old = network.agents["agent-0"]
    theta, route = old.theta, network.route("agent-0", "late")
    offer = Offer(1, 0, 1, 0.5, payload=np.ones(3, "<f4").tobytes())
    held = network.hold()
    old.handle(ev.Received(route, offer))
    late.core.publish(state="training")
    old.handle(ev.Received(route, Gossip(late.core.members.records(network.now))))
    assert old.core.members.get("late").state == "training"
    old.handle(ev.Received(route, offer))
    assert of(held, Decline) == [Decline(1, 0, NO_VECTOR)] * 2 and (old.theta == theta).all()
    old.handle(ev.Received(route, replace(offer, exchange=2)))
    assert [answer.exchange for answer in of(held, Answer)] == [2], "the next exchange is another matter"


def test_joining_agent_serves_no_vector():
    network, late = swarm(1, parameters=3)
    held = network.hold()
    for agent in ("", "late"):
        late.handle(ev.Received(network.route("late", "agent-0"), Pull(7, 0, 1, agent)))
    assert of(held, Piece) == [Piece(7, 0, -1, b"")] * 2
    late.core.publish(state="training")
    late.handle(ev.Received(network.route("late", "agent-0"), Pull(7, 0, 1)))
    assert of(held, Piece)[-1].parameters == 3


def spoil(network, name):
    """From now on this agent's vector has a NaN in its second chunk."""
    network.train(name, np.where(np.arange(60) == 4, np.nan, 0.0))


def rejections(agent):
    """Filled with (connection, why) of each payload that the agent can't use."""
    found = []
    agent.driver._rejected = lambda *rejection: found.append(rejection)
    return found


def test_vector_that_cannot_be_used_is_counted_against_its_donor_and_asked_for_again_a_second_later():
    network, late = swarm(1)
    spoil(network, "agent-0")
    counted, begun_s, before = rejections(late), network.now, len(network.sent)
    network.adopt("late")
    assert network.run(20, lambda: len(counted) >= 5)
    assert network.now - begun_s >= 4 * RETRY_S
    assert {connection for connection, _ in counted} == {network.route("late", "agent-0")}
    assert sum(isinstance(message, Pull) for *_, message in network.sent[before:]) <= 3 * len(counted)
    assert late.core.members.me.state == "joining"


def test_next_vector_comes_from_a_donor_whose_vector_was_not_rejected():
    for seed in range(8):
        network, late = swarm(3, seed=seed)
        spoil(network, "agent-0")
        spoil(network, "agent-2")
        counted = rejections(late)
        network.adopt("late")
        assert network.run(20, lambda late=late: late.core.members.me.state == "training")
        assert len(counted) == len({connection for connection, _ in counted}) <= 2
        np.testing.assert_array_equal(late.theta, network.agents["agent-1"].theta)


def test_donor_that_was_rejected_is_asked_again_where_there_is_no_other():
    network, late = swarm(1)
    good = network.agents["agent-0"].theta
    spoil(network, "agent-0")
    counted = rejections(late)
    network.adopt("late")
    assert network.run(20, lambda: bool(counted))
    network.agents["agent-0"].replica.adopt(good)
    assert network.run(20, lambda: late.core.members.me.state == "training")
    np.testing.assert_array_equal(late.theta, good)


def test_donor_that_is_alive_and_sends_no_piece_is_given_up_for_another():
    """As one does that answers that it holds nothing, or whose pieces are of another length."""
    for seed in range(4):
        network, late = swarm(2, seed=seed)
        network.agents["agent-0"].core._pulls.on_pull = lambda connection, pull, *_: [
            ev.Send(connection, Piece(pull.request, 0, -1))
        ]
        network.adopt("late")
        assert network.run(STALLED_S + 10, lambda late=late: late.core.members.me.state == "training")
        np.testing.assert_array_equal(late.theta, network.agents["agent-1"].theta)


def trickling(network, name, every_s):
    """This agent sends one piece in so long, whatever is asked of it."""
    sent_s = [-math.inf]

    def on_pull(connection, pull, onward, now):
        if now - sent_s[0] < every_s:
            return []
        sent_s[0] = now
        return [ev.SendPiece(connection, pull, pull.first)]

    network.agents[name].core._pulls.on_pull = on_pull


def test_donor_that_sends_each_piece_just_in_time_is_given_up_for_another():
    for seed in range(4):
        network, late = swarm(2, seed=seed, parameters=300)
        trickling(network, "agent-0", STALLED_S - 1)
        network.adopt("late")
        assert network.run(STALLED_S + 10, lambda late=late: late.core.members.me.state == "training")
        np.testing.assert_array_equal(late.theta, network.agents["agent-1"].theta)


def test_a_network_that_is_slow_for_every_donor_is_waited_for_in_the_end():
    network, late = swarm(2, parameters=60)
    for name in ("agent-0", "agent-1"):
        trickling(network, name, STALLED_S / 4)
    network.adopt("late")
    assert network.run(40 * STALLED_S, lambda: late.core.members.me.state == "training")


@pytest.mark.parametrize("under_way", [False, True])
def test_adoption_that_was_stopped_asks_for_nothing_more(under_way):
    network, late = swarm(1)
    theta = late.theta
    if under_way:
        network.adopt("late")
    else:
        network.isolate("agent-0")
        assert network.run(20, lambda: not late.core.members.is_alive("agent-0"))
        network.adopt("late")
    late.handle(ev.StopAdopting())
    network.reunite("agent-0")
    before = len(network.sent)
    network.run(20)
    assert late.core.members.is_alive("agent-0") and late.core.members.me.state == "joining"
    assert not any(isinstance(message, Pull) for *_, message in network.sent[before:])
    np.testing.assert_array_equal(late.theta, theta)


def test_refusal_ends_with_the_adoption():
    network, late = swarm(1, parameters=3)
    network.adopt("late")
    assert network.run(10, lambda: late.core.members.me.state == "training")
    network.run(2)
    network.train("late", np.ones(3))
    network.due("late", 1)
    assert network.run(5, network.at_rest)
    network.train("agent-0", np.ones(3))
    network.due("agent-0", 1)
    assert network.run(5, network.at_rest)
    assert [done.initiated for done in late.of(ev.Completed)] == [True, False]


def test_nobody_adopts_from_who_has_not_trained_or_has_no_vector():
    network, late = swarm(1)
    other = network.add_agent("other", np.zeros(60), state="joining")
    network.meet()
    network.agents["agent-0"].driver.publish(step=0)
    other.driver.publish(step=9)
    network.run(2)
    network.adopt("late")
    network.run(5)
    assert late.core.members.me.state == "joining"
    assert not late.of(ev.KeepPiece)
    network.agents["agent-0"].driver.publish(step=1)
    assert network.run(5, lambda: late.core.members.me.state == "training")
    np.testing.assert_array_equal(late.theta, network.agents["agent-0"].theta)


def test_adoption_begins_anew_with_another_donor_when_one_is_gone():
    network, late = swarm(2, parameters=300)
    network.adopt("late")
    donor = late.core._pulls.download.agent
    network.isolate(donor)
    assert network.run(30, lambda: late.core.members.me.state == "training")
    (other,) = {"agent-0", "agent-1"} - {donor}
    np.testing.assert_array_equal(late.theta, network.agents[other].theta)


@pytest.mark.parametrize("payload", [b"", np.array([1, np.nan, 2], "<f4").tobytes(), np.full(3, 3e38, "<f4").tobytes()])
def test_piece_that_is_unusable_begins_the_adoption_anew(payload):
    network, late = swarm(1)
    held = network.hold()
    network.adopt("late")
    (pull,) = of(held, Pull)
    late.handle(ev.Received(network.route("late", "agent-0"), Piece(pull.request, 0, 60, payload)))
    assert not of(held, Pull)[1:], "not at once: the donor would be asked without end"
    assert network.run(2 * RETRY_S, lambda: len(of(held, Pull)) > 1)
    again = of(held, Pull)[-1]
    assert again.request > pull.request and again.first == 0
    network.release()
    assert network.run(30, lambda: late.core.members.me.state == "training")
    np.testing.assert_array_equal(late.theta, network.agents["agent-0"].theta)


def test_lost_pieces_are_asked_for_again_and_nothing_else():
    network, late = swarm(1, silent_s=20.0)
    held = network.hold()
    network.adopt("late")
    donor = network.agents["agent-0"]
    network.deliver(held[0])
    for packet in [each for each in held if isinstance(each.message, Piece)][:5]:
        network.deliver(packet)
        network.deliver(packet)
    assert len(late.of(ev.KeepPiece)) == 5
    held.clear()
    network.run(ASK_AGAIN_S + 1.0)
    (pull,) = set(of(held, Pull))
    assert (pull.first, pull.agent) == (5, "agent-0")
    network.release()
    assert network.run(30, lambda: late.core.members.me.state == "training")
    np.testing.assert_array_equal(late.theta, donor.theta)


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    parameters=st.sampled_from([1, 7, 60]),
    lost=st.sampled_from([0.0, 0.3]),
    doubled=st.sampled_from([0.0, 0.3]),
    delay_s=st.sampled_from([0.01, 0.3, 1.0]),
    joins_s=st.floats(0, 6),
    adopts_s=st.floats(0, 6),
    rounds=st.lists(st.tuples(st.floats(0, 20), st.integers(0, 3), st.booleans()), max_size=40),
)
def test_late_join_loses_nothing(seed, parameters, lost, doubled, delay_s, joins_s, adopts_s, rounds):
    """sum_i w_i theta_i over the others is untouched by a join, whenever it happens; the joiner has its donor's."""
    network = MemoryNetwork(parameters, seed)
    noise = np.random.default_rng(seed)
    for i, weight in enumerate([1.0, 3.0, 0.5]):
        network.add_agent(f"agent-{i}", noise.normal(size=parameters), weight=weight)
    network.meet()
    for agent in network.agents.values():
        agent.driver.publish(step=1)
    network.weather = Weather(lost, doubled, delay_s)
    before, start = network.total(), network.now
    names = ["agent-0", "agent-1", "agent-2", "late"]

    def join():
        network.add_agent("late", noise.normal(size=parameters), weight=100.0, state="joining")
        network.at(network.now + adopts_s, lambda: network.adopt("late"))

    def boundary(name, round, trains):
        if name in network.agents:
            if trains and network.agents[name].core.members.me.state == "training":
                network.train(name, noise.normal(size=parameters))
            network.due(name, round)
        assert np.abs(network.total() - before).max() < 100 * ROUNDING

    network.at(start + joins_s, join)
    for round, (when, who, trains) in enumerate(sorted(rounds), 1):
        network.at(start + when, lambda name=names[who], r=round, t=trains: boundary(name, r, t))
    network.run(20.0)
    network.weather = Weather()
    late = network.agents["late"]
    assert network.run(60, lambda: late.core.members.me.state == "training")
    assert network.run(300, network.at_rest)
    assert not network.account.outstanding
    assert np.abs(network.total() - before).max() < 100 * ROUNDING
    kept = {}
    for effect in late.of(ev.KeepPiece):
        kept[effect.chunk] = bytes(effect.payload)
    donors = [agent.vectors.served for agent in network.agents.values() if agent is not late]
    assert all(any(payload in served.get(chunk, []) for served in donors) for chunk, payload in kept.items())
    assert b"".join(kept[chunk] for chunk in sorted(kept)) == late.adopted.tobytes()
