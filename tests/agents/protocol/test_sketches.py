"""Sketches travel at a bounded rate, each from its own agent alone, and whoever looks gets what is known."""

import random
from dataclasses import fields, replace

import pytest

from agents.manifest import Manifest
from agents.protocol import events as ev
from agents.protocol.core import GossipCore
from agents.protocol.incarnation import Incarnation
from agents.protocol.settings import CoreSettings
from agents.protocol.sketches import KEPT, LOOK_S, MAX_HELD, PER_S, SIGNED_PER_S, SKETCH_BYTES, Sketches
from agents.protocol.virtual import Clock, Network
from transport.credentials import Credentials
from transport.keys import new_key
from transport.messages import (
    VERSION,
    Address,
    Hello,
    Identity,
    Links,
    Liveness,
    Look,
    Member,
    Report,
    Sketch,
    Unknown,
)
from transport.signing import Signer
from transport.wire import decode, encode

MANIFEST = Manifest().hash
PAYLOAD = bytes(SKETCH_BYTES)


def core_of(name, join=(), signing=None):
    key = f"#{signing.key}" if signing else ""
    me = Member(Identity(name, 1, Address(f"tcp://{name}.example:1{key}")), Liveness(state="training"), Report(step=7))
    return GossipCore(CoreSettings("run", "ring", 0, 0.5, 1, 1, join=join, dialed=512), me, signing)


class Swarm:
    """Real cores on a virtual network, whose sketch messages are counted as they pass through the wire."""

    def __init__(self, agents, keys=False, forget=()):
        self.clock, self.sent = Clock(), []
        self._forget = forget
        chance = random.Random(0)
        self.network = Network(self.clock, lambda sender, receiver, message: (0.01,), self._wire)
        first = None
        for number in range(agents):
            signing = Signer(Credentials(new_key()), MANIFEST) if keys else None
            core = core_of(f"agent-{number:02}", (first,) if first else (), signing)
            first = first or core.members.me.address
            self.network.add(core, None, first_tick_s=chance.uniform(0, 0.05))
        self.nodes = list(self.network.nodes.values())
        assert self.clock.run(60, lambda: all(len(each.core.members.met()) == agents - 1 for each in self.nodes))
        self.sent.clear()

    def _wire(self, message, payload):
        frames = [bytes(frame) for frame in encode(message, payload)]
        if isinstance(message, Sketch):
            self.sent.append((self.clock.now, message.agent, sum(map(len, frames))))
        return decode(frames)

    def sketch(self, step, still=False):
        for node in self.nodes:
            node.driver.handle(ev.Sketched(step, still, PAYLOAD))


@pytest.mark.parametrize(("agents", "keys"), [(8, False), (24, False), (8, True)])
def test_everybody_soon_has_everybody_elses_at_a_bounded_rate(agents, keys):
    swarm = Swarm(agents, keys)
    per_s = SIGNED_PER_S if keys else PER_S
    began_s = swarm.clock.now
    swarm.sketch(8)
    assert swarm.clock.run(10, lambda: all(len(n.core.sketches.by_agent) == agents for n in swarm.nodes))
    took_s = swarm.clock.now - began_s
    assert took_s <= (agents - 1) / per_s + 0.2
    for step in range(16, 160, 8):  # Made far more often than they can be sent.
        swarm.sketch(step)
        swarm.clock.run(0.25)
    elapsed_s = swarm.clock.now - began_s
    of_one = [size for _, agent, size in swarm.sent if agent == "agent-01"]
    assert len(of_one) <= per_s * elapsed_s + 2
    assert sum(of_one) / elapsed_s <= 10_000
    newest = [held[-1].step for node in swarm.nodes for held in node.core.sketches.by_agent.values()]
    assert min(newest) >= 152 - 8 * agents  # The rest goes on in turn: nobody is left out.


def alone():
    """A core that knows peer `a` on one connection and an observer on another."""
    made = core_of("me")
    for connection, name in (("route:01", "a"), ("route:02", "")):
        made.step(ev.Received(connection, Hello(VERSION, name, 1, "run", MANIFEST)), 0.0)
    return made


def sketch(step=8, agent="a", incarnation=1, still=False, payload=PAYLOAD, **fields):
    return Sketch(agent, incarnation, step, still, payload=payload, **fields)


def steps_of(made, agent="a"):
    return [each.step for each in made.sketches.by_agent.get(agent, ())]


@pytest.mark.parametrize(
    "bad",
    [sketch(agent="b"), sketch(incarnation=2), sketch(payload=PAYLOAD[:-1]), sketch(payload=None), sketch(agent="me")],
)
def test_only_ones_own_of_the_right_size_is_taken(bad):
    made = alone()
    made.step(ev.Received("route:01", bad), 1.0)
    made.step(ev.Received("route:02", sketch()), 1.0)  # An observer has no model.
    assert not made.sketches.by_agent


def test_the_last_few_are_kept_and_one_that_stands_still_alone():
    made = alone()
    for step in (8, 16, 24, 24, 16, 32, 40):
        made.step(ev.Received("route:01", sketch(step)), 1.0)
    assert steps_of(made) == [8, 16, 32, 40]  # Who goes back has nothing ahead of it any more.
    made.step(ev.Received("route:01", sketch(48)), 1.0)
    made.step(ev.Received("route:01", sketch(56)), 1.0)
    assert len(steps_of(made)) == KEPT
    made.step(ev.Received("route:01", sketch(56, still=True)), 1.0)
    assert steps_of(made) == [56]
    made.step(ev.Received("route:01", sketch(64)), 1.0)
    assert steps_of(made) == [64]


def look(made, now, everyone=False, connection="route:02"):
    effects = made.step(ev.Received(connection, Look(everyone)), now)
    return [each.message for each in effects if isinstance(each, ev.Send)]


def test_who_looks_gets_ours_or_all_and_links_at_the_end_and_not_at_any_rate():
    made = alone()
    made.members.receive([Member(Identity("a", 1), Liveness(1, "training"))], 0.0, Incarnation("a", 1))
    made.step(ev.Sketched(8, False, PAYLOAD), 1.0)
    made.step(ev.Received("route:01", sketch(16)), 2.0)
    *sketches, links = look(made, 3.0)
    assert [(each.agent, each.step, each.age_s) for each in sketches] == [("me", 8, 2.0)]
    assert isinstance(links, Links) and links.counts["started"] == 0
    assert look(made, 3.0 + LOOK_S / 2) == []
    *sketches, links = look(made, 4.0, everyone=True)
    assert [(each.agent, each.step, each.age_s) for each in sketches] == [("me", 8, 3.0), ("a", 16, 2.0)]


def test_nobody_stays_for_who_only_watches():
    made = alone()
    assert made.handshake.observed(1.0, made.sketches.watchers)
    look(made, 1.0)
    assert not made.handshake.observed(1.0, made.sketches.watchers)


def test_a_peer_of_an_older_version_is_sent_none():
    made = alone()
    made.members.receive([Member(Identity("a", 1), Liveness(1, "training"))], 0.0, Incarnation("a", 1))

    def sent(now):
        made.step(ev.Sketched(int(now), False, PAYLOAD), now)
        effects = made.step(ev.Tick(), now)
        return [each for each in effects if isinstance(each, ev.Send) and isinstance(each.message, Sketch)]

    assert len(sent(1.0)) == 1
    made.step(ev.Received("route:01", Unknown("Serenade")), 1.5)
    assert len(sent(2.0)) == 1
    made.step(ev.Received("route:01", Unknown("Sketch")), 2.5)
    assert sent(3.0) == []


def test_in_a_large_swarm_each_holds_a_bounded_sample():
    made = alone()
    others = [Member(Identity(f"other-{number}", 1), Liveness(1, "training")) for number in range(3 * MAX_HELD)]
    for each in others:
        made.members.receive([each], 0.0, Incarnation.of(each))
        made.members.contact(Incarnation.of(each), 0.0)
        made.sketches.receive(Incarnation.of(each), sketch(agent=each.agent), 0.0)
    assert len(made.sketches.by_agent) == MAX_HELD
    reached = made.sketches._receivers()
    assert len(reached) == MAX_HELD == len(set(reached))
    made.sketches.forget(Incarnation("other-0", 1))
    assert "other-0" not in made.sketches.by_agent


def test_a_signature_binds_a_sketch_to_its_agent_its_run_and_its_values():
    signing = Signer(Credentials(new_key()), MANIFEST)
    made = signing.sketched(sketch(), "run")
    assert signing.is_sketched(replace(made, age_s=5.0), signing.key, "run")
    others = {"agent": "b", "incarnation": 9, "step": 9, "still": True, "part": 1, "payload": b"\1" * SKETCH_BYTES}
    assert {*others, "age_s", "signature"} == {field.name for field in fields(Sketch)}
    for name, value in others.items():
        assert not signing.is_sketched(replace(made, **{name: value}), signing.key, "run"), name
    assert not signing.is_sketched(made, signing.key, "another run")
    assert not signing.is_sketched(made, new_key().public, "run")


def test_an_empty_store_sends_nothing():
    made = core_of("me")
    assert isinstance(made.sketches, Sketches)
    assert made.sketches.tick(1.0) == []
