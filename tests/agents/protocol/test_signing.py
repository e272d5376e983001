"""Signed records: nobody speaks for another, and a key has one name, on the virtual network with real keys."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_network import MemoryNetwork, living
from message_strategies import instances

from agents.manifest import Manifest
from agents.protocol import events as ev
from agents.protocol.incarnation import Incarnation
from transport.credentials import Credentials
from transport.keys import Key
from transport.messages import (
    VERSION,
    Ack,
    Address,
    ConnectionId,
    Gossip,
    Hello,
    Identity,
    Liveness,
    Member,
    Offer,
    Refuse,
    Report,
)
from transport.signing import Signer
from transport.wire import decode, encode

MANIFEST = Manifest().hash
RUN = "run"


def signer(number, trusted=lambda key: True):
    """The agent with this key. trusted: which other keys may take part."""

    class Of(Signer):
        def may_join(self, key):
            return key == self.key or trusted(key)

        def admits(self, member):
            return self.may_join(member.identity.key)

    return Of(Credentials(Key(bytes([number] * 32))), MANIFEST)


def swarm(names="abc", **more):
    """Agents with keys, in the order of their names, that have met."""
    net = MemoryNetwork(8, seed=3)
    keys = {name: more.get(name) or signer(number) for number, name in enumerate(names, 1)}
    for name in names:
        net.add_agent(name, np.ones(8), signing=keys[name])
    net.meet()
    return net, keys


def sent(net, sender, receiver, message):
    """What a liar sends on its own connection; what was counted against it."""
    before = len(net.agents[receiver].of(ev.Malformed))
    connection = net.route(receiver, sender)
    net.agents[receiver].handle(ev.Received(connection, decode(encode(message))))
    return [effect.why for effect in net.agents[receiver].of(ev.Malformed)[before:]]


def known(net, at, agent):
    return net.agents[at].core.members.get(agent)


def test_records_are_signed_wherever_they_come_from_and_exchanges_conserve_the_mean():
    net, keys = swarm("abcd")
    before = net.total()
    for round in range(1, 20):
        for name in net.agents:
            net.due(name, round)
        net.run(0.3)
    assert net.run(30, net.at_rest)
    assert np.abs(net.total() - before).max() < 1e-5 and all(agent.of(ev.Completed) for agent in net.agents.values())
    for at in net.agents:
        for agent, key in keys.items():
            assert agent == at or keys[at].is_signed(known(net, at, agent), RUN)
            assert agent == at or known(net, at, agent).identity.key == key.key


def of(name, key, **changes):
    """A record of this agent, signed with this key, a far heartbeat in it."""
    identity = Identity(name, changes.pop("incarnation", 1), Address(changes.pop("address", "")), key.key)
    run = changes.pop("run", RUN)
    return key.signed(Member(identity, Liveness(1 << 30, changes.pop("state", "training")), Report(**changes)), run)


FORGED = {
    "changed on its way": lambda keys: replace(of("b", keys["b"]), report=Report(step=7)),
    "signed by another": lambda keys: replace(of("b", keys["b"]), signature=of("b", keys["c"]).signature),
    "not signed": lambda keys: replace(of("b", keys["b"]), signature=""),
    "of another run": lambda keys: of("b", keys["b"], run="another"),
    "of another model": lambda keys: Signer(Credentials(Key(bytes([2] * 32))), "another").signed(
        replace(of("b", keys["b"]), signature=""), RUN
    ),
    "an address of another's": lambda keys: of("b", keys["b"], address=f"tcp://c.example:5710#{keys['c'].key}"),
    "an address of nobody's": lambda keys: of("b", keys["b"], address="tcp://c.example:5710"),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_record_that_its_owner_did_not_sign_is_dropped_and_counted_against_who_passed_it_on(forged):
    net, keys = swarm()
    before = known(net, "a", "b")
    good = of("d", signer(9))
    assert len(sent(net, "c", "a", Gossip((FORGED[forged](keys), good)))) == 1
    assert known(net, "a", "b") == before
    assert known(net, "a", "d") is None, "what follows in that message isn't read"


def test_what_its_owner_signed_is_believed_from_anybody():
    net, keys = swarm()
    assert sent(net, "c", "a", Gossip((of("b", keys["b"], state="left"),))) == []
    assert living(net.agents["a"]) == ["a", "c"], "an incarnation ends by its own signed record, whoever brings it"


def test_age_and_verdict_are_what_others_add_and_end_nobody():
    net, keys = swarm()
    record = of("b", keys["b"])
    aged = replace(record, liveness=replace(record.liveness, silent_s=100.0, gone=True))
    assert sent(net, "c", "a", Gossip((aged,))) == []
    assert "b" in living(net.agents["a"])
    net.run(5)
    assert living(net.agents["a"]) == ["a", "b", "c"]


def test_a_name_stays_with_its_key_and_a_key_has_one_name():
    net, keys = swarm()
    squatter, before = signer(9), known(net, "a", "b")
    assert sent(net, "c", "a", Gossip((of("b", squatter), of("many-1", keys["c"]), of("new", squatter)))) == []
    assert known(net, "a", "b") == before
    assert known(net, "a", "many-1") is None and known(net, "a", "new") is not None
    sent(net, "b", "a", Gossip((of("b", keys["b"], state="left"),)))
    sent(net, "c", "a", Gossip((of("b", signer(10), step=3),)))
    assert known(net, "a", "b").report.step == 3, "it is free once its owner has left"


def test_an_untrusted_key_is_nobody_even_in_the_records_of_those_we_trust():
    stranger = signer(9)
    net, _ = swarm(a=signer(1, lambda key: key != stranger.key))
    assert sent(net, "c", "a", Gossip((of("x", stranger, address=f"tcp://x.example:5710#{stranger.key}"),))) == []
    net.run(2)
    assert known(net, "a", "x") is None
    assert not [dial for dial in net.agents["a"].of(ev.Dial) if "x.example" in dial.address]


def test_who_is_vouched_for_is_let_in_by_its_own_signature_alone():
    net, _ = swarm("ab")
    signing, asked = net.agents["a"].core._screening._signing, []
    signing.may_join = lambda key: key not in (signer(9).key, signer(10).key)
    signing.admits = lambda member: asked.append(member.agent) or True
    stranger, vouched = of("y", signer(10)), of("x", signer(9))
    vouched = signer(9).signed(replace(vouched, identity=replace(vouched.identity, vouch="who.vouch")), RUN)
    assert len(sent(net, "b", "a", Gossip((replace(vouched, signature=""),)))) == 1
    assert asked == [] and known(net, "a", "x") is None
    assert sent(net, "b", "a", Gossip((replace(stranger, signature=""), vouched))) == [], "nobody speaks for a stranger"
    assert asked == ["x"] and known(net, "a", "x") is not None and known(net, "a", "y") is None


def test_a_second_agent_under_a_name_in_use_is_refused_at_once():
    net, keys = swarm()
    a, other = net.agents["a"], f"route:ff#{signer(9).key}"
    a.handle(ev.Received(other, Hello(3, "b", 7, RUN, MANIFEST)))
    (refuse,) = [e.message for e in a.core.done if isinstance(e, ev.Send) and isinstance(e.message, Refuse)]
    assert refuse.name == "name" and a.core.handshake.peer(other) is None
    mine = f"route:ee#{keys['b'].key}"
    a.handle(ev.Received(mine, Hello(3, "alias", 7, RUN, MANIFEST)))
    net.run(0.5)
    a.handle(ev.Received(mine, Hello(3, "alias", 7, RUN, MANIFEST)))
    refuse = [e.message for e in a.core.done if isinstance(e, ev.Send) and isinstance(e.message, Refuse)][-1]
    assert refuse.name == "key" and a.core.handshake.peer(mine) is None
    ours = f"route:dd#{keys['a'].key}"
    a.handle(ev.Received(ours, Hello(3, "alias", 7, RUN, MANIFEST)))
    refuse = [e.message for e in a.core.done if isinstance(e, ev.Send) and isinstance(e.message, Refuse)][-1]
    assert refuse.got == "that of a" and a.core.handshake.peer(ours) is None


def test_offers_and_acks_in_anothers_name_change_nothing_of_its_exchanges():
    """A number that mutes it, and an Ack for answers that it lacks: of a trusted key, which greets as that agent."""
    net, _ = swarm("ab")
    a = net.agents["a"]
    net.train("b", np.arange(8.0))
    before = net.total()
    held = net.hold()
    net.due("b", 1)
    for packet in [each for each in held if isinstance(each.message, Offer)]:
        net.deliver(packet)
    number = net.agents["b"].core.exchanges.number
    liar = ConnectionId(f"route:ff#{signer(9).key}")
    chunks = a.core.settings.chunks
    forged = (Hello(VERSION, "b", 1, RUN, MANIFEST), Ack(number), Offer(2**62, 0, chunks, 0.5, by=1, to=1))
    for message in forged:
        a.handle(ev.Received(liar, message))
    assert a.core.exchanges.occupied == {Incarnation("b", 1, a.core.members.get("b").identity.key)}
    net.release()
    assert net.run(30, net.at_rest)
    for round in range(2, 6):
        net.due("b", round)
        assert net.run(30, net.at_rest)
    assert len(net.agents["b"].of(ev.Completed)) == 5 and np.abs(net.total() - before).max() < 1e-5


def test_an_agent_whose_key_is_removed_is_out_and_what_was_open_with_it_is_aborted():
    trusted = {signer(number).key for number in (1, 2, 3)}
    net, keys = swarm(a=signer(1, trusted.__contains__))
    net.hold()
    a = net.agents["a"]
    net.due("a", 1)
    assert a.core.exchanges.open_peers
    (peer,) = {each.agent for each in a.core.exchanges.open_peers}
    trusted.discard(keys[peer].key)
    a.handle(ev.Expelled((keys[peer].key,)))
    assert not a.core.exchanges.open_peers and net.route("a", peer) is None
    net.release()
    net.run(3)
    assert peer not in living(a), "others go on passing its record on"
    assert any(f"{peer} is out" in notice.text for notice in a.signals if isinstance(notice, ev.Notice))


def test_a_loopback_address_that_is_signed_stays_on_its_machine_and_its_record_is_passed_on():
    net, keys = swarm()
    a = net.agents["a"]
    local = of("d", signer(9), address=f"tcp://127.0.0.1:9#{signer(9).key}")
    a.core.members.receive([local], net.now)
    a.core.members.contact(Incarnation.of(local), net.now)
    a.core.publish(address=Address(f"tcp://127.0.0.1:8#{keys['a'].key}"))
    (page,) = [effect.message.members for effect in a.core._passing.all(net.route("a", "b"), net.now + 60)]
    assert {member.agent for member in page} == {"a", "b", "c", "d"}
    assert all(keys["b"].is_signed(member, RUN) and "127.0.0.1" not in member.address for member in page)
    a.core.members.receive([page[-1]], net.now)
    assert known(net, "a", "d").address == local.address, "who knows it already keeps it"


FLOATS = st.integers(-9, 9) | st.floats(-1e9, 1e9)
VALUES = {int: st.integers(0, 2**62), float: FLOATS, str: st.text("aé1", max_size=5), bool: st.booleans()}


@given(instances(Member, VALUES, st.just({}), st.none()))
def test_a_signature_survives_the_wire(member):
    key = signer(1)
    signed = key.signed(replace(member, identity=replace(member.identity, key=key.key)), RUN)
    (back,) = decode(encode(Gossip((signed,)))).members
    assert key.is_signed(back, RUN)
    assert not key.is_signed(replace(back, liveness=replace(back.liveness, heartbeat=back.liveness.heartbeat + 1)), RUN)
