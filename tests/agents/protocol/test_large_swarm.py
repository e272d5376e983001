"""What an agent does at each tick takes no longer in a large swarm: it looks at all members less often there."""

import pytest

from agents.protocol import events as ev
from agents.protocol.core import LOOKED_AT, GossipCore
from agents.protocol.handshake import DIALED_S
from agents.protocol.incarnation import Incarnation
from agents.protocol.passing import AT_ONCE, PER_S
from agents.protocol.settings import CoreSettings
from agents.protocol.sketches import PER_S as PER_SKETCHES
from agents.protocol.sketches import SKETCH_BYTES
from transport.messages import Address, AgentId, Gossip, Hello, Identity, Liveness, Member, Report, Sketch

TICK_S, TICKS = 0.05, 200


class Counting(dict):
    """Counts how often somebody goes through all of it."""

    looks = 0

    def values(self):
        """All values, counted."""
        self.looks += 1
        return super().values()

    def items(self):
        """All items, counted."""
        self.looks += 1
        return super().items()


def record(name, **report):
    return Member(Identity(name, 1, Address(f"tcp://{name}.example:1")), Liveness(1, "training"), Report(**report))


def core_among(others):
    """A core that has met so many others, each of whom has opened a connection to it."""
    settings = CoreSettings("run", "ring", 0, 0.5, 1, 1, tick_s=TICK_S)
    core = GossipCore(settings, record("me"))
    for k in range(others):
        name = AgentId(f"agent-{k}")
        core.handshake.on_hello(
            f"route:{k}", Hello(core.handshake.ours.version, name, 1, "run", settings.manifest.hash), 0.0
        )
        core.members.receive([record(name)], 0.0)
        assert core.members.contact(Incarnation(name, 1, ""), 0.0) is False and core.members.is_met(name)
    return core


@pytest.mark.parametrize("times", [1, 5, 15])
def test_all_members_are_looked_at_less_often_the_more_there_are(times):
    core = core_among(others := LOOKED_AT * times)
    core.members._known = known = Counting(core.members._known)
    core.handshake._contacts = contacts = Counting(core.handshake._contacts)
    for tick in range(TICKS):
        for agent in core.members.others() if tick % 20 == 0 else ():  # Nobody is silent.
            core.members.contact(Incarnation(agent.agent, 1, ""), tick * TICK_S)
        core.step(ev.Tick(), tick * TICK_S)
    probes = TICKS * TICK_S / core.settings.ping_s
    assert known.looks <= 5 * TICKS / times + 8 * probes, f"{known.looks} looks at {others} members in {TICKS} ticks"
    assert contacts.looks <= 6 * probes


def test_where_no_connection_makes_room_nobody_looks_for_one_again_before_one_can():
    core = core_among(1)
    handshake, most = core.handshake, core.settings.dialed
    for k in range(most):
        assert handshake.dial(Address(f"tcp://host-{k}.example:1"), 0.0)
    handshake._contacts = contacts = Counting(handshake._contacts)
    for k in range(100):
        assert handshake.dial(Address(f"tcp://other-{k}.example:1"), k / 100) == []
    assert contacts.looks <= 2
    assert handshake.dial(Address("tcp://other-0.example:1"), DIALED_S) != []
    assert len(contacts) == most + 1


def messages(effects, kind):
    return [each for each in effects if isinstance(each, ev.Send) and isinstance(each.message, kind)]


def announced(effects):
    """To which connections a record goes by itself."""
    return [each.connection for each in messages(effects, Gossip) if len(each.message.members) == 1]


@pytest.mark.parametrize("others", [3, AT_ONCE, 3 * AT_ONCE])
def test_a_change_goes_to_many_at_once_and_to_the_others_at_a_bounded_rate(others):
    core = core_among(others)
    core.step(ev.Tick(), 0.0)
    core.step(ev.Sketched(1, False, bytes(SKETCH_BYTES)), 0.0)
    sent = announced(core.announce(state="settling"))
    assert len(sent) == min(others, AT_ONCE)
    tick = sketches = 0
    while core._passing.busy:
        tick += 1
        effects = core.step(ev.Tick(), tick * TICK_S)
        sketches += len(messages(effects, Sketch))
        sent += announced(effects)
        assert len(sent) <= AT_ONCE + PER_S * (tick + 1) * TICK_S
    assert sorted(sent) == sorted(f"route:{k}" for k in range(others))
    assert tick * TICK_S < max(0.0, others - AT_ONCE) / PER_S + 2 * TICK_S
    assert sketches <= PER_SKETCHES * tick * TICK_S / 4 + 2 and (others <= AT_ONCE or sketches > 2)


def test_who_waits_for_a_record_when_it_changes_again_comes_first():
    core = core_among(3 * AT_ONCE)
    everybody = [f"route:{k}" for k in range(3 * AT_ONCE)]
    reached = [announced(core.announce(state=state)) for state in ("joining", "training", "settling")]
    assert sorted(each for some in reached for each in some) == sorted(everybody)


def test_who_leaves_a_large_swarm_lets_everybody_know_at_once():
    core = core_among(3 * AT_ONCE)
    assert len(announced(core.announce(state="left"))) == 3 * AT_ONCE and not core._passing.busy


def test_half_of_a_large_swarm_that_has_finished_is_found_within_seconds():
    core = core_among(LOOKED_AT * 15)
    core.step(ev.Tick(), 0.0)
    assert core.finish.waited_s(1.0) == 0
    finished = [Member(m.identity, Liveness(2, "settling"), m.report) for m in core.members.others()]
    core.members.receive(finished, 1.0)
    for tick in range(40):
        core.step(ev.Tick(), 1.0 + tick * TICK_S)
    assert core.finish.waited_s(3.0) > 1.0
