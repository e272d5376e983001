"""Which agents are alive, as far as this one knows. Sans-IO: time is an argument.

Every agent publishes records about itself alone; others pass them on (`dissemination`). A record carries its age, so
what is passed on doesn't look fresh. Rumor informs, contact counts: what an agent itself sends on
its own connection precedes whatever others pass on about it, and only who has answered us directly is `met`.

A member is suspected when `probing` gets no answer from it, and gone when the suspicion has lasted long enough and
nothing fresh came from it meanwhile: that time shrinks from `silent_s` to a third of it as other agents report the same
suspicion independently (Lifeguard, Dadgar, Phillips and Currey, arXiv 1707.00788). Suspected is no state that a third
party can set: it takes a probe of our own that failed as well. A member that published "left" is gone at once.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from agents.protocol.dissemination import Dissemination
from agents.protocol.incarnation import Incarnation
from agents.protocol.known import Known, Suspicion
from agents.submodel import WHOLE, same_part
from transport.addresses import digest, is_address
from transport.messages import Address, AgentId, Liveness, Member, Report, Suspect

FINISHED = ("settling", "left")
"""The states in which an agent trains no more."""

ABSENT = ("joining", "left")
"""The states in which an agent holds no vector that others could mix with: it is nobody's neighbor."""

MAX_MEMBERS = 4095
"""Others that we remember."""

MAX_UNMET = 1024
"""Others that we remember though they never sent us anything: more are learned of when some have, or are gone."""

FORGOTTEN = 60
"""Of these one is gone, too, from whom nothing was received for so many times as long as a suspicion lasts."""

MAX_SUSPECTS = 16
"""Suspicions in one message, and those of other agents that we take in from one."""

HEARTBEAT_JUMP = 1 << 20
"""A record whose heartbeat is ahead of the last one by more than this is not believed from others."""

_OF_REPORT = frozenset(item.name for item in fields(Report))


class Membership:
    """The freshest record of each member known to this agent, and who counts as alive.

    me: this agent's own record. silent_s: how long a suspicion lasts that nobody shares; sweep_s: how often we look.
    submodel: how the model is divided.
    """

    def __init__(self, me: Member, *, silent_s: float, sweep_s: float, submodel: str = WHOLE) -> None:
        if silent_s <= 2 * sweep_s:
            raise ValueError(f"silent_s must exceed two sweeps: got {silent_s} and sweep_s {sweep_s}")
        self.me = me
        self.silent_after_s = silent_s
        self._sweep_s = sweep_s
        self._submodel = submodel
        self._swept_s: float | None = None
        self.stall_s = 0.0
        """For how long before the last sweep we could look at nothing, as one whose process was stopped."""
        self.apart: frozenset[AgentId] = frozenset()
        """Those with whom we can't exchange, though others reach them (`agents.protocol.reach`)."""
        self._known: dict[AgentId, Known] = {}
        self._contacts: dict[Incarnation, float] = {}
        self._suspects: set[AgentId] = set()
        self._unmet: dict[AgentId, None] = {}
        self._outgoing = Dissemination(self._known)

    # Our own record.

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

    # What comes in.

    def receive(
        self, members: Iterable[Member], now: float, sender: Incarnation | None = None, verdicts: bool = False
    ) -> tuple[list[AgentId], list[AgentId]]:
        """Take in records; returns (the agents that are new or back, those that left).

        sender: who sent them: its own record precedes what others pass on about it. verdicts: take over from the sender
        who is gone, as an observer does, which probes nobody.
        """
        came, left = [], []
        for member in members:
            if member.agent in ("", self.me.agent):
                self._refute(member)
                continue
            known = self._known.get(member.agent)
            was_alive = known is not None and known.alive
            known = self._take(member, known, now, Incarnation.of(member) == sender)
            if known is None:
                continue
            if verdicts and member.liveness.gone and freshness(member) >= freshness(known.member):
                known.alive = False
            if known.alive and not was_alive:
                came.append(member.agent)
            if was_alive and not known.alive and known.member.state == "left":
                left.append(member.agent)
        return came, left

    def contact(self, peer: Incarnation, now: float) -> bool:
        """This incarnation sent something to us just now. True if the agent is back by it."""
        known = self._known.get(peer.agent)
        if known is None or Incarnation.of(known.member) != peer:
            if len(self._contacts) >= MAX_MEMBERS:
                self._contacts.clear()
            self._contacts[peer] = now
            return False
        self._meet(known, now)
        known.alive_s = now
        self._clear(known)
        back = not known.alive and known.member.state != "left"
        if back:
            self._revive(known)
        return back

    def vouched(self, agent: AgentId, now: float) -> None:
        """Another agent got an answer from this one for us."""
        known = self._known.get(agent)
        if known is not None:
            known.alive_s, known.vouched = now, True
            if not known.member.address:  # Behind NAT as we may be: there is no closer contact.
                self._meet(known, now)
            self._clear(known)

    def suspect(self, agent: AgentId, now: float, by: AgentId | None = None) -> bool:
        """A probe of ours got no answer, or another agent reports that its own got none. True if that is news."""
        known = self._known.get(agent)
        if known is None or not known.alive:
            return False
        if by is not None and now - known.contact_s < self.silent_after_s / 10:
            return False  # It sent us something just now.
        news = known.suspicion is None
        suspicion = known.suspicion = known.suspicion or Suspicion(now)
        self._suspects.add(agent)
        if by is None:
            news, suspicion.failed = not suspicion.failed, True
        else:
            suspicion.confirm(by)
        return news

    def forget(self, agent: AgentId) -> None:
        """Know nothing of this agent any longer."""
        if self._known.pop(agent, None) is not None:
            self._outgoing.remove(agent)
            self._unmet.pop(agent, None)
            self._suspects.discard(agent)

    # What time brings.

    def sweep(self, now: float) -> list[AgentId]:
        """The agents whose suspicion has just lasted too long.

        An agent that was itself too busy to receive anything must not count the others as silent: if two sweeps lie
        further apart than they should, all times are moved by that much.
        """
        stall = self.stall_s = 0.0 if self._swept_s is None else max(0.0, now - self._swept_s - 2 * self._sweep_s)
        if stall:
            for known in self._known.values():
                known.alive_s = min(now, known.alive_s + stall)
                if known.suspicion is not None:
                    known.suspicion.since_s = min(now, known.suspicion.since_s + stall)
        self._swept_s = now
        gone = []
        for agent in sorted(self._suspects):
            known, suspicion = self._known[agent], self._known[agent].suspicion
            if suspicion is None or not suspicion.failed:
                continue
            if now - suspicion.since_s >= suspicion.lasts_s(self.silent_after_s, self._could_confirm()):
                known.alive, known.gone_s = False, now
                self._clear(known)
                self._outgoing.changed(agent)
                gone.append(agent)
        return gone

    # What is known.

    def get(self, agent: AgentId) -> Member | None:
        """The freshest record of an agent, alive or not."""
        known = self._known.get(agent)
        return known.member if known else None

    def silent_s(self, agent: AgentId, now: float) -> float:
        """How long ago an agent was certainly alive, as far as we know; 0 for our own."""
        known = self._known.get(agent)
        return max(0.0, now - known.alive_s) if known else 0.0

    def contact_age_s(self, agent: AgentId, now: float) -> float:
        """How long ago an agent itself last sent something to us; infinity for never."""
        known = self._known.get(agent)
        return now - known.contact_s if known else math.inf

    def is_alive(self, agent: AgentId) -> bool:
        """Whether this agent counts as alive, whether or not we met it."""
        known = self._known.get(agent)
        return known is not None and known.alive

    def is_met(self, agent: AgentId) -> bool:
        """Whether this agent counts as alive and has ever sent something to us."""
        known = self._known.get(agent)
        return known is not None and known.alive and known.met

    def is_suspected(self, agent: AgentId) -> bool:
        """Whether a probe of ours or of another agent got no answer from this one lately."""
        known = self._known.get(agent)
        return known is not None and known.suspicion is not None

    @property
    def count(self) -> int:
        """How many others we know, alive or not."""
        return len(self._known)

    def others(self) -> list[Member]:
        """The others that count as alive, by name, those we only know from others included."""
        return [known.member for _, known in sorted(self._known.items()) if known.alive]

    def met(self) -> list[Member]:
        """The others that are alive and have answered us in this incarnation, by name: who counts for anything."""
        return [known.member for _, known in sorted(self._known.items()) if known.alive and known.met]

    def present(self) -> list[Member]:
        """Those met, and those that only others reach."""
        return [k.member for agent, k in sorted(self._known.items()) if k.alive and (k.met or agent in self.apart)]

    def proven(self) -> list[Member]:
        """Those met, and those that answered another for us, by name: who is there, whether or not we reach it.

        Of two that both can't be dialed each takes the other's record for that, as others alone pass it on: that an
        answer comes through others takes long where there are many.
        """
        return [known.member for _, known in sorted(self._known.items()) if self._is_proven(known)]

    @property
    def proven_count(self) -> int:
        """How many those are."""
        return sum(map(self._is_proven, self._known.values()))

    def unsorted(self) -> list[Member]:
        """As `met`, in no order: of all members, so it asks for no property of each."""
        return [known.member for known in self._known.values() if known.alive and known.contact_s > -math.inf]

    def unmet(self) -> Iterator[AgentId]:
        """Those that count as alive and never sent us anything."""
        return (agent for agent in self._unmet if self._known[agent].alive)

    def gone(self) -> list[Member]:
        """The others that are silent or have left, by name."""
        return [known.member for _, known in sorted(self._known.items()) if not known.alive]

    def neighbors_among(self) -> list[AgentId]:
        """All that are alive, met and hold a vector of ours, and ourselves, sorted: topologies are laid over this.

        Without those with whom we can't exchange: a ring, for one, closes over them.
        """
        there = (member for member in self.met() if member.state not in ABSENT and self.holds_ours(member))
        return sorted([self.me.agent, *(member.agent for member in there if member.agent not in self.apart)])

    def holds_ours(self, member: Member) -> bool:
        """Whether this agent trains what we do: the whole model, or the same subnetwork of it."""
        return same_part(self._submodel, self.me.report, member.report)

    @property
    def share(self) -> float:
        """Our weight, as a share of that of all that are alive, ourselves included."""
        others = (max(0.0, known.member.report.weight) for known in self._known.values() if known.alive)
        return self.me.report.weight / (self.me.report.weight + sum(others))

    def all_finished(self) -> bool:
        """Whether everyone else that is alive trains no more, of those that we met or that only others reach."""
        there = (k for agent, k in self._known.items() if k.alive and (k.met or agent in self.apart))
        return all(known.member.state in FINISHED for known in there)

    def suspects(self) -> tuple[Suspect, ...]:
        """The members that a probe of ours got no answer from lately, the last ones where there are many."""
        failed = [
            Suspect(agent, known.member.incarnation)
            for agent in self._suspects
            if (known := self._known[agent]).suspicion is not None and known.suspicion.failed
        ]
        return tuple(failed[-MAX_SUSPECTS:])

    def records(self, now: float) -> tuple[Member, ...]:
        """All that we pass on, our own record first."""
        return self._outgoing.everything(self.me, now)

    def pages(self, now: float) -> Iterator[tuple[Member, ...]]:
        """`records`, in as many messages as it takes."""
        return self._outgoing.pages(self.me, now)

    def deltas(self, now: float) -> tuple[Member, ...]:
        """Our own record and some others, for any one message: those that changed lately, and the rest in turn."""
        return self._outgoing.deltas(self.me, now)

    # How it is done.

    def _is_proven(self, known: Known) -> bool:
        theirs = known.member.identity
        dialed = self.me.identity.address or theirs.address or theirs.hidden
        return known.alive and (known.met or known.vouched or not dialed)

    def _could_confirm(self) -> int:
        """How many others could share a suspicion."""
        return sum(known.alive and known.met for known in self._known.values()) - 1

    def _take(self, member: Member, known: Known | None, now: float, direct: bool) -> Known | None:
        """The member's entry with this record taken in; None if we have and want none."""
        if member.address and not is_address(member.address):
            member = _with_address(member, Address(""))
        if known is not None and known.member.identity.key != member.identity.key:
            self.forget(member.agent)
            known = None
        if known is None:
            return self._add(member, now, direct)
        old = known.member
        if direct:
            if member.incarnation == old.incarnation and member.liveness.heartbeat <= known.direct:
                return known
            known.direct = member.liveness.heartbeat
        elif not self._believes(member, known, now):
            known.member = _addressed(old, member)
            return known
        age_s = max(0.0, member.liveness.silent_s)
        gone, changed = member.liveness.gone, (member.incarnation, member.state) != (old.incarnation, old.state)
        member = _addressed(replace(member, liveness=replace(member.liveness, gone=False)), old)
        if Incarnation.of(member) != Incarnation.of(old):
            known.contact_s = self._contacts.pop(Incarnation.of(member), -math.inf)
            known.direct, known.alive_s = member.liveness.heartbeat if direct else -1, -math.inf
            if not known.met:
                self._unmet[member.agent] = None
            self._clear(known)
        known.member = member
        known.alive_s = max(known.alive_s, now - age_s, known.contact_s)
        if known.suspicion is not None and known.alive_s > known.suspicion.since_s:
            self._clear(known)
        if member.state == "left":
            known.alive = False
            self._clear(known)
        elif not known.alive and (direct or (not gone and now - age_s > known.gone_s)):
            self._revive(known)
        if changed:
            self._outgoing.changed(member.agent)
        return known

    def _refute(self, member: Member) -> None:
        """A record that somebody made up in our name looks fresher than ours: publish one that precedes it."""
        ahead = member.liveness.heartbeat - self.me.liveness.heartbeat
        same = (member.agent, member.incarnation) == (self.me.agent, self.me.incarnation)
        if same and 0 < ahead < HEARTBEAT_JUMP:
            self.me = replace(self.me, liveness=replace(self.me.liveness, heartbeat=member.liveness.heartbeat))
            self.publish()

    def _believes(self, member: Member, known: Known, now: float) -> bool:
        """Whether what others pass on about an agent takes the place of what we know: if it signed it, yes.

        Of one in contact they may report that it is alive, and its progress: another state it sends us itself. Of one
        that only others reach they may report all: it sends us nothing, though others get answers from it for us.
        """
        if freshness(member) <= freshness(known.member):
            return False
        if member.signature:
            return True
        if now - known.contact_s >= self.silent_after_s or known.member.agent in self.apart:
            return True
        ahead = member.liveness.heartbeat - known.member.liveness.heartbeat
        same = member.state == known.member.state or (known.direct < 0 and member.state != "left")
        return member.incarnation == known.member.incarnation and same and ahead <= HEARTBEAT_JUMP

    def _add(self, member: Member, now: float, direct: bool) -> Known | None:
        contact_s = self._contacts.pop(Incarnation.of(member), -math.inf)
        met = contact_s > -math.inf
        alive = member.state != "left" and not member.liveness.gone
        if not self._make_room(met, alive, now):
            return None
        alive_s = max(now - max(0.0, member.liveness.silent_s), contact_s)
        plain = replace(member, liveness=replace(member.liveness, gone=False))
        number = member.liveness.heartbeat if direct else -1
        known = self._known[member.agent] = Known(plain, alive_s, alive, contact_s, number)
        if not met:
            self._unmet[member.agent] = None
        self._outgoing.add(member.agent)
        return known

    def _meet(self, known: Known, now: float) -> None:
        if not known.met:
            self._outgoing.changed(known.member.agent)
            self._unmet.pop(known.member.agent, None)
        known.contact_s = now

    def _clear(self, known: Known) -> None:
        known.suspicion = None
        self._suspects.discard(known.member.agent)

    def _revive(self, known: Known) -> None:
        known.alive = True
        self._outgoing.changed(known.member.agent)

    def _make_room(self, met: bool, alive: bool, now: float) -> bool:
        """Whether one more can be remembered; whom we met takes the place of who is gone for longest, or unmet.

        Of those that we never met one that is alive takes the place of one that is gone.
        """
        if len(self._known) < MAX_MEMBERS and (met or len(self._unmet) < MAX_UNMET):
            return True
        if met:
            gone = [(known.alive_s, agent) for agent, known in self._known.items() if not known.alive]
            agent = min(gone)[1] if gone else next(iter(self._unmet), None)
        else:
            agent = next((each for each in self._unmet if alive and self._is_over(self._known[each], now)), None)
        if agent is None:
            return False
        self.forget(agent)
        return True

    def _is_over(self, known: Known, now: float) -> bool:
        return not known.alive or now - known.alive_s > FORGOTTEN * self.silent_after_s


def _addressed(member: Member, other: Member) -> Member:
    """The record, with the address from the other if it lacks one: loopback addresses aren't passed on everywhere.

    In one that is signed it must be the address that was left out.
    """
    same = not member.address and member.incarnation == other.incarnation
    fits = not member.signature or member.identity.hidden == digest(other.address)
    return _with_address(member, other.address) if same and fits and other.address else member


def _with_address(member: Member, address: Address) -> Member:
    return replace(member, identity=replace(member.identity, address=address, hidden=""))


def freshness(member: Member) -> tuple[int, int]:
    """Of two records of an agent the greater is the later one: (incarnation, heartbeat)."""
    return member.incarnation, member.liveness.heartbeat
