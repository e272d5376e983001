"""What a crash costs is counted by who is still there: the chunks that one side alone may have applied."""

import numpy as np
import pytest
from memory_network import MemoryNetwork

from agents.mixing.layout import Layout
from agents.protocol import events as ev
from agents.protocol.incarnation import Incarnation
from agents.protocol.session import WINDOW
from transport.messages import Answer, Offer

CHUNKS = 20


def pair(**settings):
    network = MemoryNetwork(3 * CHUNKS, **settings)
    start = np.random.default_rng(0).normal(size=(2, 3 * CHUNKS))
    a, b = (network.add_agent(name, start[i], weight=1.0 + 2 * i) for i, name in enumerate("ab"))
    assert a.replica.chunks == CHUNKS
    network.meet()
    return network, a, b


def under_way(network, applied, answered):
    """An exchange that a has begun, of which b has applied some chunks and a has the answers to some of these."""
    held = network.hold()
    network.due("a", 1)
    for kind, count in (Offer, min(applied, WINDOW)), (Answer, answered), (Offer, applied):
        packets = [packet for packet in held if isinstance(packet.message, kind) and packet.message.chunk < count]
        for packet in packets:
            held.remove(packet)
            network.deliver(packet)
    return held


def crash(network, name):
    """This agent is killed: what it has sent meanwhile is lost."""
    network.remove(name)
    network.release()
    return network.agents.pop(name)


def start_again(network, name):
    """Its later incarnation comes, and everybody knows of it."""
    network.add_agent(name, np.zeros(3 * CHUNKS), incarnation=2)
    network.meet()


def of_kind(agent, event):
    return [signal for signal in agent.signals if isinstance(signal, ev.Notice) and signal.event == event]


CASES = [(0, 0), (1, 0), (5, 3), (WINDOW, 0), (WINDOW, WINDOW), (WINDOW + 4, WINDOW)]


@pytest.mark.parametrize(("applied", "answered"), CASES)
def test_an_initiator_counts_what_it_offered_and_has_no_answer_to(applied, answered):
    network, a, _ = pair()
    under_way(network, applied, answered)
    b = crash(network, "b")
    start_again(network, "b")
    offered = {effect.offer.chunk for effect in a.of(ev.SendOffer)}
    taken = {effect.answer.chunk for effect in a.of(ev.ApplyAnswer)}
    truly = {effect.offer.chunk for effect in b.of(ev.ApplyOffer)} - taken
    assert len(taken) == answered and len(truly) == applied - answered
    (lost,) = a.of(ev.Lost)
    assert lost == ev.Lost(Incarnation("b", 1), 1, tuple(sorted(offered - taken)), initiated=True)
    assert truly <= set(lost.chunks) and len(lost.chunks) <= WINDOW
    assert a.core.lost == a.core.exchanges.lost == len(lost.chunks)


@pytest.mark.parametrize(("applied", "answered"), CASES)
def test_a_responder_counts_what_it_applied_and_is_not_acknowledged(applied, answered):
    network, _, b = pair()
    before = b.theta
    under_way(network, applied, answered)
    a = crash(network, "a")
    start_again(network, "a")
    acked = max((effect.offer.acked for effect in b.of(ev.ApplyOffer)), default=0)
    mine = {effect.offer.chunk for effect in b.of(ev.ApplyOffer)}
    truly = mine - {effect.answer.chunk for effect in a.of(ev.ApplyAnswer)}
    expected = tuple(sorted(chunk for chunk in mine if chunk >= acked))
    assert [(each.peer, each.exchange, each.chunks, each.initiated) for each in b.of(ev.Lost)] == [
        (Incarnation("a", 1), 1, expected, False)
    ] * bool(expected)
    assert truly <= set(expected) and len(expected) <= WINDOW
    assert b.core.lost == b.core.exchanges.lost == len(expected)
    spans = Layout.flat(3 * CHUNKS).chunks
    moved = np.linalg.norm([(b.theta - before)[spans[chunk]] for chunk in expected]) if expected else 0.0
    assert sum(each.moved for each in b.of(ev.Lost)) == pytest.approx(moved, rel=1e-5)


def test_what_is_open_with_a_silent_agent_is_published_as_long_as_it_is_silent():
    """An agent that never returns has no later incarnation by which its end would be known."""
    network, a, b = pair()
    c = network.add_agent("c", np.zeros(3 * CHUNKS), state="joining")
    network.meet()
    under_way(network, 3, 0)
    network.isolate("b")
    network.release()
    assert network.run(30, lambda: not a.core.members.is_alive("b"))
    assert network.run(30, lambda: c.core.members.get("a").report.lost == WINDOW)
    (notice,) = of_kind(a, "interrupted")
    assert f"b is silent with open chunks ({WINDOW})" in notice.text
    assert a.core.members.me.report.lost == a.core.lost == WINDOW and a.core.exchanges.lost == 0
    assert network.run(30, lambda: b.core.lost == 3), "a is as silent to b"
    network.reunite("b")
    assert network.run(60, lambda: network.at_rest() and c.core.members.get("a").report.lost == 0)
    network.run(1)
    assert a.core.lost == b.core.lost == 0 and not a.of(ev.Lost) and not b.of(ev.Lost)


@pytest.mark.parametrize("leaves", ["a", "b"])
def test_nothing_is_lost_with_who_drains_and_leaves(leaves):
    network, a, b = pair()
    under_way(network, 3, 0)
    network.release()
    left = network.agents[leaves]
    left.handle(ev.Drain())
    assert network.run(60, lambda: left.core.exchanges.idle)
    left.driver.publish(state="left")
    network.run(1)
    assert len(a.of(ev.ApplyAnswer)) == len(b.of(ev.ApplyOffer)) == CHUNKS
    assert a.core.lost == b.core.lost == 0 and not a.of(ev.Lost) and not b.of(ev.Lost)


def test_nothing_is_lost_by_a_connection_that_breaks_and_is_resumed():
    network, a, b = pair()
    under_way(network, 5, 3)
    network.release()
    network.disconnect("a", network.route("a", "b"))
    assert network.run(60, network.at_rest)
    network.run(1)
    assert len(a.of(ev.ApplyAnswer)) == len(b.of(ev.ApplyOffer)) == CHUNKS
    assert a.core.lost == b.core.lost == 0 and not a.of(ev.Lost) and not b.of(ev.Lost)
