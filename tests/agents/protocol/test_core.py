"""The core's settings, what it chooses, and how the driver carries out what it wants."""

import numpy as np
import pytest
from memory_network import MemoryNetwork

from agents.protocol import events as ev
from agents.protocol.incarnation import Incarnation
from agents.protocol.settings import CoreSettings
from topology.errors import TopologyError
from transport.messages import Gossip, Offer

PLAN = {"run": "run", "topology": "ring", "seed": 0, "alpha": 0.5, "parameters": 7, "chunks": 3}


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_beyond_its_range_is_refused_showing_it(alpha):
    with pytest.raises(ValueError, match="alpha is how much of itself"):
        CoreSettings(**PLAN | {"alpha": alpha})


@pytest.mark.parametrize("times", [{"tick_s": 0.5}, {"ping_s": 5.0}, {"silent_s": 0.5}])
def test_times_that_do_not_fit_each_other_are_refused_showing_all(times):
    with pytest.raises(ValueError, match=r"tick_s < ping_s < silent_s must hold: got tick_s [\d.]+, ping_s"):
        CoreSettings(**PLAN | times)


def test_topology_that_is_none_is_refused_at_once():
    with pytest.raises(TopologyError):
        CoreSettings(**PLAN | {"topology": "moebius"})


def pair(**changes):
    network = MemoryNetwork(3, **changes)
    a, b = (network.add_agent(name, np.zeros(3)) for name in "ab")
    network.meet()
    return network, a, b


def test_change_of_state_is_sent_at_once_and_progress_with_the_next_gossip():
    network, a, b = pair()
    held = network.hold()
    a.driver.publish(step=7)
    assert not held
    a.driver.publish(state="settling", step=8)
    assert {packet.receiver for packet in held} == {"b"}
    assert all(isinstance(packet.message, Gossip) for packet in held)
    network.deliver(held[0])
    record = b.core.members.get("a")
    assert (record.state, record.report.step) == ("settling", 8)
    assert b.core.members.all_finished()


def test_agent_that_left_is_gone_at_once_and_what_is_open_with_it_ends():
    network, a, b = pair()
    network.hold()
    network.due("b", 1)
    network.release()
    a.driver.publish(state="left")
    network.run(0.05)
    assert b.core.neighbors(1) == []
    assert network.at_rest()
    assert b.signals[-3:] == [
        ev.Notice("a has left"),
        ev.Lost(Incarnation("a", 1), 1, (0,), initiated=True),
        ev.RoundOver(1, "a", "a has gone"),
    ]


def test_rejected_payloads_are_reported_with_connection_and_reason():
    network, _, b = pair()
    reported = []
    b.driver._rejected = lambda *report: reported.append(report)
    route = network.route("b", "a")
    b.handle(ev.Received(route, Offer(1, 0, 1, 0.5, payload=b"odd")))
    assert reported == [(route, "expected a chunk of 12 bytes, got 3: the peer trains another model")]


def test_steps_of_both_sides_travel_with_their_exchange():
    network, a, b = pair()
    a.driver.publish(step=7)
    b.driver.publish(step=9)
    network.due("a", 1)
    assert network.run(5, network.at_rest)
    assert (a.core.pace._others["b"][0], b.core.pace._others["a"][0]) == (9, 7)


def test_nobody_rests_for_neighbors_that_have_finished_after_fewer_steps():
    network = MemoryNetwork(3)
    for name in "abcd":
        network.add_agent(name, [0.0] * 3)
    network.meet()
    a = network.agents["a"]
    for name, step, state in (("a", 1000, "training"), ("b", 10, "settling"), ("c", 10, "settling"), ("d", 10, "left")):
        network.agents[name].driver.publish(step=step, state=state)
    assert network.run(5, lambda: a.core.members.get("c").report.step == a.core.members.get("b").report.step == 10)
    a.core.pace.own(1000, network.now)
    for round in range(1, 21):
        network.due("a", round)
        network.run(0.022)
        assert a.core.pace.ahead(network.now) == 0
    assert {done.peer for done in a.of(ev.Completed)} == {"b", "c"}


def test_agents_of_a_ring_exchange_with_their_neighbors_alone():
    network = MemoryNetwork(1)
    names = [f"agent-{i}" for i in range(6)]
    for name in names:
        network.add_agent(name, [0.0], topology="ring")
    network.meet()
    for round in range(1, 13):
        for name in names:
            network.due(name, round)
        assert network.run(10, network.at_rest)
    for i, name in enumerate(names):
        peers = {done.peer for done in network.agents[name].of(ev.Completed)}
        assert peers == {names[i - 1], names[(i + 1) % 6]}


def test_topology_heals_when_an_agent_is_gone():
    network = MemoryNetwork(1)
    for name in "abcd":
        network.add_agent(name, [0.0], topology="ring")
    network.meet()
    network.isolate("b")
    assert network.run(20, lambda: network.agents["a"].core.neighbors(1) == ["c", "d"])
    network.reunite("b")
    assert network.run(20, lambda: network.agents["a"].core.neighbors(1) == ["b", "d"])
    notices = [signal.text for signal in network.agents["a"].signals if isinstance(signal, ev.Notice)]
    assert any(text.startswith("b is silent") for text in notices) and notices[-1] == "b is back"
