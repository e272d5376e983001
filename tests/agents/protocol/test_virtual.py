"""The virtual clock and network: in order, the same again, and under the test's control."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather

from agents.protocol import events as ev
from agents.protocol.core import GossipCore
from agents.protocol.settings import CoreSettings
from agents.protocol.virtual import Clock, Network
from transport.messages import Ack, Hello, Identity, Liveness, Member, Stranger


@given(st.lists(st.floats(0, 100), max_size=30))
def test_clock_does_everything_in_the_order_of_time_then_of_asking(moments):
    clock, done = Clock(), []
    for number, when in enumerate(moments):
        clock.at(when, lambda when=when, number=number: done.append((when, number, clock.now)))
    assert clock.next == min(moments, default=float("inf"))
    assert not clock.run(200.0)
    assert done == [(when, number, when) for when, number in sorted(zip(moments, range(30), strict=False))]
    assert clock.now == 200.0


def test_clock_stops_when_its_condition_holds():
    clock, done = Clock(5.0), []
    for second in range(6, 10):
        clock.at(second, lambda second=second: done.append(second))
    assert clock.run(100.0, lambda: len(done) == 2)
    assert (done, clock.now) == ([6, 7], 7)
    assert not clock.run(1.5, lambda: False)
    assert (done, clock.now) == ([6, 7, 8], 8.5)


class Silent:
    """Vectors for cores that exchange nothing."""


def core(name, join=(), listens=True):
    settings = CoreSettings("run", "complete", 0, 0.5, 3, 1, join=join, listening=listens)
    address = f"tcp://{name}.example:1" if listens else ""
    return GossipCore(settings, Member(Identity(name, 1, address), Liveness(state="training")))


def test_two_cores_meet_as_the_module_says():
    clock = Clock()
    network = Network(clock)
    network.add(core("a"), Silent())
    network.add(core("b", join=("tcp://a.example:1",)), Silent())
    assert network.addresses == ("tcp://a.example:1", "tcp://b.example:1")
    clock.run(10.0)
    assert all(node.core.members.neighbors_among() == ["a", "b"] for node in network.nodes.values())
    connection = network.nodes["b"].core._route("a")
    assert network.peer("b", connection) == "a"
    assert network.peer("b", "tcp://nobody.example:1") is None


def test_what_is_sent_where_nobody_listens_goes_nowhere():
    network = Network(Clock())
    link = network.add(core("a"), Silent()).link
    connection = link.dial("tcp://nobody.example:1")
    assert connection == "tcp://nobody.example:1"
    assert not link.send(connection, Stranger())
    link.hang_up(connection)


def test_closed_connection_carries_nothing_either_way():
    network = Network(Clock())
    a, b = network.add(core("a"), Silent()), network.add(core("b"), Silent())
    connection = b.link.dial("tcp://a.example:1")
    assert b.link.dial("tcp://a.example:1") == connection, "opened once"
    held = network.hold()
    assert b.link.send(connection, Stranger())
    (packet,) = held
    assert (packet.sender, packet.receiver, packet.message) == ("b", "a", Stranger())
    a.link.hang_up(packet.connection)
    assert not b.link.send(connection, Stranger()) and not a.link.send(packet.connection, Stranger())


def test_held_messages_arrive_by_delivery_alone_and_are_lost_on_release():
    network = Network(Clock())
    a, b = network.add(core("a"), Silent()), network.add(core("b", join=("tcp://a.example:1",)), Silent())
    held = network.hold()
    network.clock.run(1.0)
    assert {type(packet.message) for packet in held} == {Hello}
    assert a.core.handshake.connections() == []
    network.deliver(held[0])
    assert len(a.core.handshake.connections()) == 1
    network.release()
    before = len(held)
    network.clock.run(10.0)
    assert len(held) == before
    assert b.core.members.is_alive("a")


def test_isolated_agent_is_reached_by_nothing_that_is_on_its_way():
    network = Network(Clock(), carry=lambda sender, receiver, message: (1.0,))
    network.add(core("a"), Silent())
    b = network.add(core("b", join=("tcp://a.example:1",)), Silent())
    network.clock.run(20.0)
    assert b.core.members.is_alive("a")
    network.isolate("b")
    network.clock.run(20.0)
    assert not b.core.members.is_alive("a") and not network.nodes["a"].core.members.is_alive("b")
    network.reunite("b")
    network.clock.run(20.0)
    assert b.core.members.is_alive("a") and network.nodes["a"].core.members.is_alive("b")


def test_agent_that_is_not_online_neither_ticks_nor_receives():
    network = Network(Clock())
    network.add(core("a"), Silent())
    b = network.add(core("b", join=("tcp://a.example:1",)), Silent())
    b.online = lambda: network.clock.now >= 5.0
    network.clock.run(4.0)
    assert not network.nodes["a"].core.members.others()
    network.clock.run(4.0)
    assert network.nodes["a"].core.members.is_alive("b")


def test_later_incarnation_takes_the_place_of_an_earlier_one():
    network = Network(Clock())
    earlier = network.add(core("a"), Silent())
    earlier.driver.handle = lambda event: pytest.fail("the earlier one goes on")
    later = network.add(core("a"), Silent())
    network.clock.run(1.0)
    assert network.nodes == {"a": later}
    network.deliver(held_for("a"))


def held_for(name):
    """A packet from one who is there no longer."""
    network = Network(Clock())
    network.add(core(name), Silent())
    sender = network.add(core("b"), Silent())
    held = network.hold()
    sender.link.send(sender.link.dial(f"tcp://{name}.example:1"), Ack(1))
    return held[0]


def test_copies_arrive_each_with_its_delay():
    """carry: what becomes of each message; through: how it looks at the other end."""
    arrived = []
    network = Network(
        Clock(), carry=lambda sender, receiver, message: (0.5, 0.2) if message == Ack(2) else (),
        through=lambda message, payload: Ack(message.exchange + 1),
    )  # fmt: skip
    a, b = network.add(core("a"), Silent()), network.add(core("b"), Silent())
    a.driver.handle = lambda event: arrived.append((network.clock.now, event)) if event != ev.Tick() else None
    connection = b.link.dial("tcp://a.example:1")
    assert b.link.send(connection, Ack(1)) and b.link.send(connection, Ack(7))
    network.clock.run(1.0)
    assert [when for when, _ in arrived] == [0.2, 0.5]
    assert all(event.message == Ack(2) for _, event in arrived)


@pytest.mark.parametrize("seed", range(3))
def test_same_calls_give_the_same_history(seed):
    """Every message, every effect and every bit of every vector, in bad weather."""

    def history():
        network = MemoryNetwork(30, seed)
        start = np.random.default_rng(seed).normal(size=(3, 30))
        for i in range(3):
            network.add_agent(f"agent-{i}", start[i])
        network.meet()
        network.weather = Weather(0.2, 0.3, 0.5)
        for round in range(1, 6):
            for name in network.agents:
                network.due(name, round)
            network.run(1.3)
        sent = [(s, r, type(m).__name__, bytes(getattr(m, "payload", None) or b"")) for s, r, m in network.sent]
        signals = [agent.signals for agent in network.agents.values()]
        return sent, signals, [agent.theta.tobytes() for agent in network.agents.values()]

    once = history()
    assert len(once[0]) > 100 and any(once[1])
    assert history() == once
