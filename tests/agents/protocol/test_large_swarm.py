"""What an agent does at each tick takes no longer in a large swarm: it looks at all members less often there."""

import pytest

from agents.protocol import events as ev
from agents.protocol.core import LOOKED_AT, GossipCore
from agents.protocol.handshake import DIALED_S
from agents.protocol.incarnation import Incarnation
from agents.protocol.settings import CoreSettings
from transport.messages import Address, AgentId, Hello, Identity, Liveness, Member, Report

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


def test_half_of_a_large_swarm_that_has_finished_is_found_within_seconds():
    core = core_among(LOOKED_AT * 15)
    core.step(ev.Tick(), 0.0)
    assert core.finish.waited_s(1.0) == 0
    finished = [Member(m.identity, Liveness(2, "settling"), m.report) for m in core.members.others()]
    core.members.receive(finished, 1.0)
    for tick in range(40):
        core.step(ev.Tick(), 1.0 + tick * TICK_S)
    assert core.finish.waited_s(3.0) > 1.0
