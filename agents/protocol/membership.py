"""Which agents are alive, as far as this one knows. Sans-IO: time is an argument.

Every agent publishes records about itself alone; others pass them on epidemically, and the record with the greater
(incarnation, heartbeat) is the fresher one. A record carries its age, so what is passed on doesn't look fresh. A member
whose freshest record is older than `silent_s` counts as gone until a fresher one comes. A member that published "left"
is gone at once.

An agent that was itself too busy to receive anything must not count the others as silent: if two sweeps lie further
apart than they should, all ages are reduced by that time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from transport.addresses import is_address
from transport.messages import Address, AgentId, Liveness, Member, Report

FINISHED = ("settling", "left")
"""The states in which an agent trains no more."""

ABSENT = ("joining", "left")
"""The states in which an agent holds no vector that others could mix with: it is nobody's neighbor."""

MAX_MEMBERS = 4095
"""Others that we remember: with ourselves, as many as one message may name."""

GOSSIP_BYTES = 900_000
"""What the records in one message may take: less than a header may (transport.wire.Limits)."""

_OF_REPORT = frozenset(item.name for item in fields(Report))


@dataclass
class Known:
    """The freshest record of a member, when it was published at the latest, and whether the member counts as alive."""

    member: Member
    received_s: float
    alive: bool

    @property
    def bytes(self) -> int:
        """At most what the record takes in a message: names and numbers, and its own texts."""
        m = self.member
        texts = (m.agent, m.address, m.state, m.report.shard, m.report.task)
        return 350 + sum(len(text.encode()) for text in texts)


class Membership:
    """The freshest record of each member known to this agent, and who counts as alive.

    me: this agent's own record. silent_s: age of a record at which a member is gone; sweep_s: how often we look.
    """

    def __init__(self, me: Member, *, silent_s: float, sweep_s: float) -> None:
        if silent_s <= 2 * sweep_s:
            raise ValueError(f"silent_s must exceed two sweeps: got {silent_s} and sweep_s {sweep_s}")
        self.me = me
        self._silent_s = silent_s
        self._sweep_s = sweep_s
        self._swept_s: float | None = None
        self._known: dict[AgentId, Known] = {}
        self._sent = 0

    def publish(self, **changes: Any) -> None:
        """Change our own record, by the names of its fields; each change is a heartbeat."""
        me = self.me
        of_report = {name: changes.pop(name) for name in list(changes) if name in _OF_REPORT}
        report = replace(me.report, **of_report) if of_report else me.report
        identity = replace(me.identity, address=changes.pop("address")) if "address" in changes else me.identity
        state = changes.pop("state", me.state)
        if changes:
            changing = ", ".join(["address", "state", *sorted(_OF_REPORT)])
            raise TypeError(f"of a record {changing} can change: got {', '.join(changes)}")
        self.me = Member(identity, Liveness(me.liveness.heartbeat + 1, state), report)

    def receive(self, members: Iterable[Member], now: float) -> tuple[list[AgentId], list[AgentId]]:
        """Take in records; returns (the agents that are new or back, those that left)."""
        came, left = [], []
        for member in members:
            known = self._known.get(member.agent)
            if member.agent in ("", self.me.agent):
                continue
            if not is_address(member.address):
                member = _with_address(member, Address(""))
            if known is not None and _freshness(member) <= _freshness(known.member):
                known.member = _addressed(known.member, member)
                continue
            if known is None and not self._make_room():
                continue
            if known is not None:
                member = _addressed(member, known.member)
            was_alive = known is not None and known.alive
            age_s = max(0.0, member.liveness.silent_s)
            alive = member.state != "left" and (was_alive or age_s <= self._silent_s)  # `sweep` finds who falls silent.
            self._known[member.agent] = Known(member, now - age_s, alive)
            if alive and not was_alive:
                came.append(member.agent)
            if was_alive and member.state == "left":
                left.append(member.agent)
        return came, left

    def sweep(self, now: float) -> list[AgentId]:
        """The agents whose silence has just become too long."""
        if self._swept_s is not None and (stall := now - self._swept_s - 2 * self._sweep_s) > 0:
            for known in self._known.values():
                known.received_s = min(now, known.received_s + stall)
        self._swept_s = now
        gone = [
            agent for agent, known in self._known.items() if known.alive and now - known.received_s > self._silent_s
        ]
        for agent in gone:
            self._known[agent].alive = False
        return gone

    def get(self, agent: AgentId) -> Member | None:
        """The freshest record of an agent, alive or not."""
        known = self._known.get(agent)
        return known.member if known else None

    def silent_s(self, agent: AgentId, now: float) -> float:
        """The age of an agent's freshest record; 0 for our own."""
        known = self._known.get(agent)
        return max(0.0, now - known.received_s) if known else 0.0

    def is_alive(self, agent: AgentId) -> bool:
        """Whether a fresh record of this agent was received lately."""
        known = self._known.get(agent)
        return known is not None and known.alive

    def others(self) -> list[Member]:
        """The others that are alive, by name."""
        return [known.member for _, known in sorted(self._known.items()) if known.alive]

    def gone(self) -> list[Member]:
        """The others that are silent or have left, by name."""
        return [known.member for _, known in sorted(self._known.items()) if not known.alive]

    def neighbors_among(self) -> list[AgentId]:
        """All that are alive and hold a vector, ourselves included, sorted: every agent lays its topology over this."""
        there = (agent for agent, known in self._known.items() if known.alive and known.member.state not in ABSENT)
        return sorted([self.me.agent, *there])

    def records(self, now: float) -> tuple[Member, ...]:
        """All we know, to pass on: the gone as well, so that a newcomer can name who is missing.

        Where that is more than one message holds, as much as it does, going on next time where this one ended.
        """
        known = list(self._known.values())
        start, room, chosen = self._sent % max(1, len(known)), GOSSIP_BYTES, [self.me]
        for each in known[start:] + known[:start]:
            room -= each.bytes
            if room < 0:
                break
            age_s = max(0.0, now - each.received_s)
            chosen.append(replace(each.member, liveness=replace(each.member.liveness, silent_s=age_s)))
        self._sent = start + len(chosen) - 1
        return tuple(chosen)

    def all_finished(self) -> bool:
        """Whether everyone else that is alive trains no more."""
        return all(known.member.state in FINISHED for known in self._known.values() if known.alive)

    def _make_room(self) -> bool:
        """Make room for one more record, if need be of the member gone for longest; False if all are alive."""
        if len(self._known) < MAX_MEMBERS:
            return True
        gone = [(known.received_s, agent) for agent, known in self._known.items() if not known.alive]
        if gone:
            del self._known[min(gone)[1]]
        return bool(gone)


def _addressed(member: Member, other: Member) -> Member:
    """The record, with the address from the other if it lacks one: loopback addresses aren't passed on everywhere."""
    same = not member.address and member.incarnation == other.incarnation
    return _with_address(member, other.address) if same and other.address else member


def _with_address(member: Member, address: Address) -> Member:
    return replace(member, identity=replace(member.identity, address=address))


def _freshness(member: Member) -> tuple[int, int]:
    return member.incarnation, member.liveness.heartbeat
