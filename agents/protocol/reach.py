"""Which members an agent can't exchange with, though others reach them, as where both are behind NAT. Sans-IO.

They count in the exact finish as all members do, which then goes through others (`agents.protocol.finish_rounds`). Who
is known by rumors alone is none of them: a member is alive by what others' probes find, or it counts as gone.
"""

from collections.abc import Callable

from agents.protocol.events import Effect, Notice
from agents.protocol.exchanges import Exchanges
from agents.protocol.finish_plan import Plan, tag
from agents.protocol.incarnation import Incarnation
from agents.protocol.limits import MAX_FINISHING
from agents.protocol.membership import Membership
from transport.messages import AgentId, ConnectionId, Member

APART_S = 4.0
"""For so long no connection was ready: by then one would have been, or the member counts as gone."""

MUTE_S = 6.0
"""After so long without a message from the partner of a round, which others reach, it can't exchange with us."""


class Reach:
    """members: whom we know. exchanges: ours. route: finds a ready connection to a member."""

    def __init__(
        self, members: Membership, exchanges: Exchanges, route: Callable[[AgentId], ConnectionId | None]
    ) -> None:
        self._members, self._exchanges, self._route = members, exchanges, route
        self._since_s: dict[AgentId, float] = {}
        self._cut: set[AgentId] = set()

    @property
    def large(self) -> bool:
        """Whether so many are there that they don't finish exactly: whoever is known by rumors alone isn't counted."""
        return self._members.proven_count > MAX_FINISHING

    def look(self, now: float) -> None:
        """See whom we don't reach; in a swarm too large for the exact finish of those alone that can't be dialed."""
        large, listens = self.large, bool(self._members.me.identity.address)
        there = [] if large and listens else self._members.proven()
        without = [m for m in there if (not large or self._neither_listens(m)) and self._route(m.agent) is None]
        self._since_s = {member.agent: self._since_s.get(member.agent, now) for member in without}
        apart = {m.agent for m in without if now - self._since_s[m.agent] >= APART_S or self._neither_listens(m)}
        self._members.apart = frozenset(apart | {m.agent for m in there if m.agent in self._cut})

    def cut_off(self, plan: Plan, partner: AgentId | None, still_s: float, now: float) -> list[Effect]:
        """Exchange no more with members of a pass that can't with us, or of whom we see that they can't.

        partner: whom we meet in this round, None for nobody; still_s: for how long nothing of it has progressed.
        """
        effects: list[Effect] = []
        ours = tag(self._members.me.agent)
        for agent, *_ in plan.members:
            member = self._members.get(agent)
            if member is None or agent in self._members.apart:
                continue
            mute = agent == partner and still_s >= MUTE_S and self._is_mute(agent, now)
            if mute or ours in member.report.apart.split():
                self._cut.add(agent)
                self._members.apart |= {agent}
                text = f"nothing comes from {agent}, which others reach: the finish takes another way"
                effects += [Notice(text, "finish", agent=agent)] if mute else []
                effects += self._exchanges.forget(Incarnation.of(member), "it can't exchange with us")
        return effects

    def _is_mute(self, agent: AgentId, now: float) -> bool:
        """Whether nothing at all has come from a member for long, though it counts as alive."""
        alive = self._members.is_alive(agent) and not self._members.is_suspected(agent)
        return alive and self._members.contact_age_s(agent, now) >= MUTE_S

    def _neither_listens(self, member: Member) -> bool:
        """Whether neither of us can be dialed."""
        theirs, ours = member.identity, self._members.me.identity
        return not (theirs.address or theirs.hidden or ours.address)
