"""Who keeps the others from completing the exact finish, and is left out of it. Sans-IO.

A member that is there and answers probes may still not take part: it publishes another list than the others for ever,
or again and again, or another weight, answers no exchange of the pass, never publishes that it is done, or goes and
comes back again and again. Whoever sees one of these for long accuses that member in its own record, and goes on
without it. The others do so at once if two accuse it, and after a while if one does. Two that accuse each other, of
which only they know who is right, are both left out: so a liar takes at most one with it, and who accuses several
soon has as many against it. Two that lie together take two. While somebody is suspected whom the pass waits for, as
in an outage, nobody is accused: that it is gone is found by probes (`membership`).
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable

from agents.protocol.events import Effect, Notice
from agents.protocol.exchanges import Exchanges
from agents.protocol.finish_plan import Plan, published, tag
from agents.protocol.incarnation import Incarnation
from agents.protocol.ledger import ACCUSERS
from agents.protocol.membership import Membership
from transport.messages import AgentId, Member

SILENT_S = 10.0
"""For so long a member may publish no list, or another, and a round of the pass may show no progress."""

ROUND_S = 1.0
"""So much longer in each further round, as who waits may wait for somebody who waits."""

CHUNK_S = 4.0
"""So long a round may take for each chunk, whatever comes: 256 KiB/s is the least."""

PROOF_S = 5.0
"""After so long one accuser is enough: by then another would have come, or the accused have answered."""

CHANGES, RETURNS = 4, 4
"""So often a member may come to weigh otherwise, or take back the list that it shares with us, besides once for each
that is lost or comes back; and come back."""

WHY = "keeps others from completing it"
"""Of a member that others accuse, or that publishes no list."""


class Blockers:
    """excluded: who is left out. accused: by ourselves, and why. members, exchanges: ours."""

    def __init__(self, members: Membership, exchanges: Exchanges) -> None:
        self._members, self._exchanges, self._me = members, exchanges, members.me.agent
        self.excluded: set[AgentId] = set()
        self.accused: dict[AgentId, str] = {}
        self._seen_s: dict[tuple[AgentId, AgentId], float] = {}
        self._changes: Counter[AgentId] = Counter()
        self._lost: Counter[AgentId] = Counter()
        self._returns: Counter[AgentId] = Counter()
        self._withdrawn: Counter[AgentId] = Counter()
        self._with_us: set[AgentId] = set()
        """Those that published our list when we last looked."""
        self._reached_s = self._since_s = self._looked_s = -math.inf
        self._agreed = False
        """When we came to our round; since when all, or not all, have published our list; our last look."""
        self._paused_s = 0.0
        """For how long somebody was suspected for whom this pass waits, as long as a suspicion lasts at most."""

    @property
    def record(self) -> str:
        """Digests of the names of those whom we accuse, as our record publishes them."""
        return " ".join(map(tag, self.accused))

    def replanned(self, before: Plan | None, after: Plan, now: float) -> None:
        """There is a list, or another one: see who has come to weigh otherwise, who was lost, and who came back."""
        self._reached_s = self._since_s = self._looked_s = now
        self._agreed, self._paused_s = False, 0.0
        self._with_us = set()
        if before is not None:
            old, new = ({each[0]: each for each in plan.members if each[0] != self._me} for plan in (before, after))
            self._lost.update(old.keys() - new.keys())
            self._returns.update((new.keys() - old.keys()) & self._lost.keys())
            self._changes.update(name for name in old.keys() & new.keys() if old[name] != new[name])

    def advanced(self, now: float) -> None:
        """We are at the next round."""
        self._reached_s = self._since_s = now

    def still_s(self, partner: AgentId | None, now: float) -> float:
        """For how long nothing of the pass has progressed. partner: whom we meet in this round."""
        return now - max(self._since_s, self._exchanges.moved_s(partner) if partner else -math.inf)

    def look(
        self, plan: Plan, round: int, partner: AgentId | None, agreed: bool, done: Collection[AgentId], now: float
    ) -> list[Effect]:
        """See who is left out from now on; what is open with them is given up.

        round: ours, in which we meet `partner`; None if we are done. agreed: whether all have published the list. done:
        those who say that they are.
        """
        self._excuse(self._members.stall_s, now)
        if agreed != self._agreed:
            self._since_s = now
        self._agreed = agreed
        there = {a: m for a, *_ in plan.members if a != self._me and (m := self._members.get(a)) is not None}
        with_us = {agent for agent, member in there.items() if published(member)[0] == plan.digest}
        self._withdrawn.update(self._with_us - with_us)
        self._with_us = with_us
        waits = [agent for agent in there if agent not in done]
        if any(self._members.is_suspected(agent) for agent in waits):
            self._paused_s = min(self._paused_s + now - self._looked_s, self._members.silent_after_s)
        self._looked_s = now
        for agent, why in self._blocking(plan, there, round, partner, waits, now):
            self.accused.setdefault(agent, why)
        found = self._condemned([member for agent, member in there.items() if agent not in self.excluded], now)
        if not agreed and now - self._since_s >= SILENT_S + self._paused_s:
            found |= {agent for agent, member in there.items() if not member.report.finish}
        effects: list[Effect] = []
        for agent in sorted(found - self.excluded - {self._me}):
            why = self.accused.get(agent, WHY)
            self._exchanges.ledger.raise_alarm(agent, f"is left out of the finish: it {why}", now)
            effects.append(Notice(f"the finish goes on without {agent}: it {why}", "finish", agent=agent))
            effects += self._exchanges.forget(Incarnation.of(there[agent]), "it is left out of the finish")
            self.excluded.add(agent)
        return effects

    def _excuse(self, stall_s: float, now: float) -> None:
        """We could look at nothing for so long, as an agent whose process was stopped: nobody is accused of that."""
        if stall_s:
            self._reached_s, self._since_s = min(now, self._reached_s + stall_s), min(now, self._since_s + stall_s)
            self._seen_s = {each: min(now, seen_s + stall_s) for each, seen_s in self._seen_s.items()}

    def _blocking(
        self,
        plan: Plan,
        there: dict[AgentId, Member],
        round: int,
        partner: AgentId | None,
        waits: list[AgentId],
        now: float,
    ) -> Iterable[tuple[AgentId, str]]:
        """Whom we accuse by what we see ourselves, and why."""
        excused = self._lost.total() + self._returns.total()
        for agent in there:
            if self._changes[agent] > CHANGES + excused:
                yield agent, f"has changed its weight {self._changes[agent]} times"
            if self._withdrawn[agent] > CHANGES + excused:
                yield agent, f"has published our list of members and taken it back {self._withdrawn[agent]} times"
            if self._returns[agent] > RETURNS:
                yield agent, f"has gone and come back {self._returns[agent]} times"
        timeout_s = SILENT_S + self._paused_s + ROUND_S * round
        if partner is None and len(waits) == 1 and now - self._reached_s >= timeout_s:
            yield waits[0], "does not publish that it is done"
        if not self._agreed:
            same = self._with_us
            names = {tag(agent) for agent in (self._me, *there)}
            accuse = {a: names & {*there[a].report.without.split()} - {tag(a)} for a in there.keys() - same}
            explained = {agent for agent, accused in accuse.items() if accused}
            if now - self._since_s >= SILENT_S + self._paused_s and 2 * (1 + len(same)) > len(plan.members) - len(
                explained
            ):
                others = [agent for agent in there.keys() - same - explained if there[agent].report.finish]
                yield from ((agent, "publishes another list of members than most") for agent in sorted(others))
        elif partner is not None:
            slow = now - self._since_s >= timeout_s + CHUNK_S * self._exchanges.chunks
            if slow or self.still_s(partner, now) >= timeout_s:
                yield partner, "does not complete its exchange with us"

    def _condemned(self, members: list[Member], now: float) -> set[AgentId]:
        """Those of these members, and of us, whom enough accuse. Who accuses us is accused by us, and not believed.

        Accusations by members that were left out before count against their own accusers still, so that two liars that
        work together can have at most two honest members left out.
        """
        names = {tag(agent): agent for agent in (self._me, *(member.agent for member in members))}
        without = {m.agent: m.report.without.split() for m in members}
        accusers: dict[AgentId, set[AgentId]] = {agent: {self._me} for agent in self.accused.keys() & without.keys()}
        for member in members:
            if tag(self._me) in without[member.agent]:
                self.accused.setdefault(member.agent, "accuses us")
                accusers.setdefault(member.agent, set()).add(self._me)
                continue
            for agent in {names[name] for name in without[member.agent] if name in names} - {member.agent}:
                accusers.setdefault(agent, set()).add(member.agent)
                self._seen_s.setdefault((member.agent, agent), now)
        before = [m for agent in self.excluded if (m := self._members.get(agent)) is not None]
        for agent, by in accusers.items():
            by |= {m.agent for m in before if tag(agent) in m.report.without.split() and tag(m.agent) in without[agent]}
        found = {agent for agent, by in accusers.items() if self._me in by or len(by) >= ACCUSERS}
        for agent in accusers.keys() - found:
            (accuser,) = accusers[agent]
            if accuser not in found and now - self._seen_s[accuser, agent] >= PROOF_S:
                found |= {agent, accuser} if agent in accusers.get(accuser, ()) else {agent}
        return found
