"""What comes late: of an earlier start of an agent, of an exchange or an incarnation that is over."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from memory_network import MemoryNetwork

from agents.protocol import events as ev
from agents.protocol.exchanges import Exchanges
from agents.protocol.incarnation import Incarnation
from agents.protocol.membership import HEARTBEAT_JUMP
from agents.protocol.settings import ExchangeSettings
from transport.messages import VERSION, Ack, Answer, Decline, Gossip, Hello, Offer, Refuse, Welcome


def pair(parameters=3):
    network = MemoryNetwork(parameters)
    start = np.random.default_rng(0).normal(size=(2, parameters))
    a, b = (network.add_agent(name, start[i]) for i, name in enumerate("ab"))
    network.meet()
    return network, a, b


def of(held, kind):
    return [packet.message for packet in held if isinstance(packet.message, kind)]


def test_a_lost_ack_holds_the_responder_only_until_it_asks():
    network, a, b = pair()
    held = network.hold()
    network.due("a", 1)
    network.deliver(held[0])
    network.deliver(held[1])
    assert of(held, Ack) and a.core.exchanges.idle and not b.core.exchanges.idle
    network.release()
    after = a.theta
    assert network.run(5.0, lambda: b.core.exchanges.idle)
    np.testing.assert_array_equal(a.theta, after)


def test_an_answer_that_was_lost_comes_again_without_another_offer():
    network, a, b = pair()
    held = network.hold()
    network.due("a", 1)
    network.deliver(held[0])
    network.release()
    a.core.exchanges._outgoing[1].repeat = lambda now, timeout_s: []
    assert network.run(5.0, network.at_rest)
    np.testing.assert_allclose(a.theta, b.theta, atol=1e-6)


@pytest.mark.parametrize("changes", [{"to": 7}, {"by": 7}])
def test_an_offer_of_or_for_another_start_is_void(changes):
    network, _, b = pair()
    held = network.hold()
    network.due("a", 1)
    (packet,) = held
    before = b.theta
    network.deliver(replace(packet, message=replace(packet.message, **changes)))
    np.testing.assert_array_equal(b.theta, before)
    assert not of(held, Answer) and not of(held, Decline)
    assert isinstance(packet.message, Offer) and (packet.message.by, packet.message.to) == (1, 1)


def test_a_later_start_uses_no_number_of_an_earlier_one_again():
    settings = ExchangeSettings(0.5, 1.0, 1, "float32", first_s=1, floor_s=1)
    numbers = [Exchanges("a", settings, incarnation).number for incarnation in (1, 2, 3, 1 << 30)]
    assert numbers == sorted(numbers) and all(later - one >= 1 << 32 for one, later in pairwise(numbers))


def test_an_incarnation_taken_for_over_that_offers_again_is_applied_once():
    network, _, b = pair()
    held = network.hold()
    network.due("a", 1)
    network.deliver(held[0])
    after = b.theta
    b.core.exchanges.forget(Incarnation("a", 1))
    network.deliver(held[0])
    np.testing.assert_array_equal(b.theta, after)
    assert "over" in of(held, Decline)[0].why


def test_a_connection_that_we_opened_to_an_incarnation_that_is_over_asks_who_is_there():
    network, _, b = pair()
    (dialed,) = [name for name in b.core.handshake.connections() if not name.startswith("route:")]
    b.core.handshake.forget(Incarnation("a", 1))
    assert b.core.handshake.peer(dialed) is None
    network.run(1.0)
    assert b.core.handshake.peer(dialed) == Incarnation("a", 1)


def test_a_late_welcome_of_a_start_that_is_over_keeps_nobody_apart_from_the_next_start():
    """Who is behind NAT is reached by what it opened alone; its record of the other is of a start before both."""
    network = MemoryNetwork(3)
    network.add_agent("a", np.zeros(3), incarnation=3)
    b = network.add_agent("b", np.zeros(3), nat=True)
    network.meet()
    network.remove("a")
    network.add_agent("a", np.zeros(3), incarnation=2)
    held = network.hold()
    assert network.run(30.0, lambda: any(isinstance(packet.message, Hello) for packet in held))
    network.deliver(next(packet for packet in held if isinstance(packet.message, Hello)))
    late = next(packet for packet in held if isinstance(packet.message, Welcome))
    network.remove("a")
    network.add_agent("a", np.zeros(3), incarnation=1)
    network.deliver(late)
    assert b.core.handshake.identify(late.connection) == Incarnation("a", 2)
    network.release()
    assert network.run(10.0, lambda: network.route("a", "b") and network.route("b", "a"))
    assert b.core.members.get("a").incarnation == 1


@pytest.mark.parametrize(("state", "number"), [("training", 1), ("left", 2)])
def test_a_start_that_welcomes_us_late_is_sent_our_record_and_in_the_end_its_connection_is_opened_anew(state, number):
    """state, number: of the record that we have, which is of another start, or of this one and that it has left."""
    network, a, b = pair()
    (dialed,) = [name for name in b.core.handshake.connections() if not name.startswith("route:")]
    record = replace(a.core.members.me, identity=replace(a.core.members.me.identity, incarnation=number))
    record = replace(record, liveness=replace(record.liveness, state=state))
    network.isolate("a")
    assert network.run(30.0, lambda: not b.core.members.is_alive("a"))
    b.core.members.receive((record,), network.now, Incarnation("a", number))
    b.core.handshake.forget(Incarnation("a", 1))
    b.handle(ev.Received(dialed, Welcome(VERSION, "a", 2, "run", b.core.handshake.ours.manifest, {}, {}, 3)))
    b.core.done.clear()
    network.run(5.0)
    sent = [each.message for each in b.core.done if isinstance(each, ev.Send) and each.connection == dialed]
    assert 1 < len(sent) <= 10 and {(type(message), message.reply) for message in sent} == {(Gossip, True)}
    network.run(6.0)
    assert b.core.done.index(ev.HangUp(dialed)) + 1 == b.core.done.index(ev.Dial(dialed))
    assert b.core.handshake.peer(dialed) is None


def test_what_is_on_its_way_from_an_agent_that_has_ended_does_not_hold_its_name():
    network, a, b = pair()
    route = network.route("a", "b")
    network.isolate("b")
    hello = Hello(VERSION, "b", 2, "run", a.core.handshake.ours.manifest)
    said = []
    for _ in range(20):
        before = len(a.core.done)
        a.handle(ev.Received("route:ff", hello))
        said += [e.message for e in a.core.done[before:] if isinstance(e, ev.Send) and e.connection == "route:ff"]
        network.run(0.1)
        if not said:
            a.handle(ev.Received(route, Gossip((b.core.members.me,))))
    assert isinstance(said[0], Welcome) and not any(isinstance(message, Refuse) for message in said)


def test_what_an_agent_answered_to_one_that_claims_its_name_refuses_no_other_after_its_end():
    network, a, _ = pair()
    hello = Hello(VERSION, "b", 2, "run", a.core.handshake.ours.manifest)
    a.handle(ev.Received("route:fe", hello))
    network.run(0.2)
    network.isolate("b")
    before = len(a.core.done)
    for _ in range(20):
        a.handle(ev.Received("route:ff", replace(hello, incarnation=3)))
        network.run(0.1)
    sent = [e.message for e in a.core.done[before:] if isinstance(e, ev.Send) and e.connection == "route:ff"]
    assert isinstance(sent[0], Welcome) and not any(isinstance(message, Refuse) for message in sent)


def test_who_claims_to_be_us_is_nobodys_peer():
    a = pair()[1]
    a.handle(ev.Received("route:ff", Hello(VERSION, "a", 1, "run", a.core.handshake.ours.manifest)))
    assert isinstance(a.core.done[-1].message, Welcome)
    assert a.core.handshake.peer("route:ff") is None


@pytest.mark.parametrize(("ahead", "refuted"), [(1, True), (1000, True), (HEARTBEAT_JUMP, False), (1 << 62, False)])
def test_a_record_made_up_in_our_name_is_refuted_within_bounds(ahead, refuted):
    a = pair()[1]
    me = a.core.members.me
    lie = replace(me, liveness=replace(me.liveness, heartbeat=me.liveness.heartbeat + ahead, state="left"))
    a.handle(ev.Received(next(iter(a.core.handshake.connections())), Gossip((lie,))))
    mine = a.core.members.me
    assert mine.state == me.state and mine.address == me.address
    assert (mine.liveness.heartbeat > lie.liveness.heartbeat) == refuted


def test_who_restarts_while_its_only_join_address_is_gone_is_in_as_soon_as_another_reaches_it():
    network = MemoryNetwork(3)
    for name in "abc":
        network.add_agent(name, np.zeros(3))
    network.meet()
    for name in "ac":
        network.isolate(name)
    network.remove("c")
    later = network.add_agent("c", np.zeros(3), incarnation=2, state="joining", join=("tcp://a.example:5710",))
    network.reunite("c")
    assert network.run(20.0, lambda: later.core.handshake.welcomed and later.core.members.is_met("b"))
