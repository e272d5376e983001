"""What each member does in one pass of the exact finish: with whom it exchanges in which round, at which rate."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, groupby
from typing import Any, NamedTuple

from agents.protocol.finish_rounds import KEPT, Pairs, component, rounds
from agents.protocol.incarnation import Incarnation
from transport.messages import AgentId, Member

AGAIN = "+"
"""Behind the digest that a member publishes, before how often it has begun anew over a list that it had before."""


@dataclass(frozen=True)
class Meeting:
    """One agent's part in one round: whom it exchanges with, whether it begins, and how far it moves in each block.

    blocks: the first and the last that are exchanged, None for all.
    """

    partner: Incarnation
    initiates: bool
    rates: tuple[float, ...]
    blocks: tuple[int, int] | None = None


class Handed(NamedTuple):
    """What a vector weighed in each block before its agent handed that over, and what of it was kept.

    digest: of the list in whose pass that was. taker: who has it.
    """

    digest: str
    taker: Incarnation
    had: tuple[float, ...]
    kept: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a list of members does in one pass. digest: of the list.

    members: (name, incarnation, what its vector weighs in each block, ..., how often it began anew if it did).
    meetings: ours by round, None for none. weights: what our vector weighs in each block before each round, and after
    the last. lacks: blocks in which nobody weighs anything, so that all keep what they hold. apart: pairs of members
    that can't exchange with each other, by name. parted: levels of which not all holders reach one another through
    holders alone: who isn't in the largest part keeps its own.
    """

    members: tuple[tuple[Any, ...], ...]
    digest: str
    meetings: tuple[Meeting | None, ...]
    weights: tuple[tuple[float, ...], ...]
    lacks: tuple[int, ...] = ()
    apart: frozenset[tuple[AgentId, AgentId]] = frozenset()
    parted: bool = False

    def handed(self, round: int) -> Handed | None:
        """To whom we had handed nearly all that our vector weighed when we came to this round; None if to nobody.

        Nobody has moved it since: who hands over what it weighs doesn't move.
        """
        met = [(k, meeting) for k, meeting in enumerate(self.meetings[:round]) if meeting is not None]
        if not met:
            return None
        last, meeting = met[-1]
        had, kept = self.weights[last : last + 2]
        is_handed = all(after <= 2 * KEPT * before for before, after in zip(had, kept, strict=True))
        return Handed(self.digest, meeting.partner, had, kept) if is_handed else None

    @property
    def inexact(self) -> tuple[str, ...]:
        """Why its members don't all hold the mean of all after it, whatever they do."""
        lacks = (f"no agent that is left trains block {block}" for block in self.lacks[:1])
        return (*lacks, *["not all that hold the same levels can exchange through such agents"][: self.parted])


def by_weight(member: Member) -> tuple[float, ...]:
    """What a member's vector weighs where all train everything."""
    return (member.report.mass or member.report.weight,)


def plan_of(
    members: Iterable[Member],
    me: AgentId,
    masses: Callable[[Member], tuple[float, ...]] = by_weight,
    nested: bool = False,
) -> Plan:
    """The plan of agent `me` for these members, itself included, in whatever order. masses: of each, by block.

    nested: whether blocks are levels of a nested model. Who doesn't hold a level can't carry it from one to another, so
    each has rounds of its own, among those who do.
    """
    members = list(members)
    listed: tuple[tuple[Any, ...], ...] = tuple(
        sorted((m.agent, m.incarnation, *masses(m), *filter(None, [published(m)[1]])) for m in members)
    )
    names = [agent for agent, *_ in listed]
    apart = apart_of(members)
    digest = hashlib.sha256(repr((listed, sorted(apart)) if apart else listed).encode()).hexdigest()[:16]
    mine, parted = names.index(me), False
    weights = [list(masses(m)) for m in sorted(members, key=lambda m: (m.agent, m.incarnation))]
    blocks = range(len(weights[0]))
    peers = {member.agent: Incarnation.of(member) for member in members}
    meetings: list[Meeting | None] = []
    own = [tuple(weights[mine])]
    for holders, some in _passes(weights) if nested else [(tuple(range(len(listed))), blocks)]:
        some_hold, (holders, between) = len(holders), _together(holders, names, apart)
        parted = parted or len(holders) < some_hold
        for arcs in rounds(len(holders), between):
            after = [list(each) for each in weights]
            met = [(holders[i], holders[j], share) for i, j, share in arcs]
            back = {(j, i): share for i, j, share in met}
            for i, j, share in met:
                for b in some:
                    after[i][b] += share * weights[j][b] - back[i, j] * weights[i][b]
            ours = [
                (j, tuple(share * weights[j][b] / after[i][b] if b in some and after[i][b] else 0.0 for b in blocks))
                for i, j, share in met
                if i == mine
            ]
            only = (some[0], some[-1]) if nested else None
            meetings.append(next((Meeting(peers[listed[j][0]], mine < j, rates, only) for j, rates in ours), None))
            weights = after
            own.append(tuple(after[mine]))
    lacks = () if nested else tuple(b for b in blocks if not any(each[b + 2] for each in listed))
    return Plan(listed, digest, tuple(meetings), tuple(own), lacks, apart, parted)


def apart_of(members: Iterable[Member]) -> frozenset[tuple[AgentId, AgentId]]:
    """The pairs of these members of which at least one publishes that it can't exchange with the other, by name."""
    return _apart(tuple((member.agent, member.report.apart) for member in members))


def reached(me: Member, others: Iterable[Member]) -> list[Member]:
    """Those of these others with whom an agent can exchange, directly or through others of them."""
    others = list(others)
    found = _reached(tuple((member.agent, member.report.apart) for member in (me, *others)))
    return [member for member in others if member.agent in found]


@lru_cache(maxsize=4)
def _apart(published: tuple[tuple[AgentId, str], ...]) -> frozenset[tuple[AgentId, AgentId]]:
    """published: of each member, its name and with whom it can't exchange. It is asked for in each tick."""
    if not any(apart for _, apart in published):
        return frozenset()
    by_tag = {tag(agent): agent for agent, _ in published}
    pairs = ((agent, by_tag[each]) for agent, apart in published for each in apart.split() if each in by_tag)
    return frozenset((min(pair), max(pair)) for pair in pairs if pair[0] != pair[1])


@lru_cache(maxsize=4)
def _reached(published: tuple[tuple[AgentId, str], ...]) -> frozenset[AgentId]:
    """Whom the first of these members can exchange with, directly or through others, itself included."""
    place = {agent: k for k, (agent, _) in enumerate(published)}
    apart = {(min(place[a], place[b]), max(place[a], place[b])) for a, b in _apart(published)}
    return frozenset(published[k][0] for k in component(0, len(published), apart))


def _together(
    members: tuple[int, ...], names: Sequence[AgentId], apart: Collection[tuple[AgentId, AgentId]]
) -> tuple[tuple[int, ...], Pairs]:
    """The largest part of these members that reach one another, and its pairs that don't directly, by their place."""

    def pairs(some: Sequence[int]) -> Pairs:
        places = combinations(range(len(some)), 2) if apart else ()
        return frozenset((i, j) for i, j in places if (names[some[i]], names[some[j]]) in apart)

    between = pairs(members)
    if not between:
        return members, between
    part = max((component(k, len(members), between) for k in range(len(members))), key=len)
    together = tuple(members[k] for k in part)
    return together, pairs(together)


def _passes(weights: Sequence[Sequence[float]]) -> list[tuple[tuple[int, ...], range]]:
    """Who holds which levels: (numbers of members, blocks), those with the same holders together."""
    holders = [tuple(k for k, each in enumerate(weights) if each[b]) for b in range(len(weights[0]))]
    found, start = list[tuple[tuple[int, ...], range]](), 0
    for some, group in groupby(holders):
        stop = start + len(list(group))
        found += [(some, range(start, stop))] if some else []
        start = stop
    return found


class Passes:
    """The passes in which one agent has taken part: no other may have the digest of one of them.

    A member that was gone for a while comes back to the same list, and to the round that it was at; the others begin
    this list anew. So who has exchanged something in a pass counts how often it has come back to such a list, and its
    count is in the list from then on.
    """

    def __init__(self) -> None:
        self._digests: set[str] = set()
        self._again = 0
        self._last: tuple[Any, Plan] | None = None

    def plan(
        self, me: Member, others: Iterable[Member], masses: Callable[[Member], tuple[float, ...]], nested: bool
    ) -> Plan:
        """Of ourselves and these others, as `plan_of`; another pass than those in which we have exchanged something."""
        others = list(others)
        while True:
            us = replace(me, report=replace(me.report, finish=self.text("")))
            records = [(m.agent, m.incarnation, masses(m), published(m)[1], m.report.apart) for m in (us, *others)]
            if self._last is None or self._last[0] != records:  # It is asked for in each tick.
                self._last = records, plan_of([us, *others], me.agent, masses, nested)
            plan = self._last[1]
            if plan.digest not in self._digests:
                return plan
            self._again += 1

    def exchanges(self, plan: Plan) -> None:
        """Something is exchanged in this pass."""
        self._digests.add(plan.digest)

    def text(self, digest: str) -> str:
        """What our record publishes of our list: its digest, and how often it was begun anew."""
        return f"{digest}{AGAIN}{self._again}" if self._again else digest


def published(member: Member) -> tuple[str, str]:
    """The digest of the list over which a member is ready, and how often it has begun anew; "" where it hasn't."""
    digest, _, again = member.report.finish.partition(AGAIN)
    return digest, again


def but(me: AgentId, plan: Plan) -> tuple[set[tuple[Any, ...]], frozenset[tuple[AgentId, AgentId]]]:
    """The other members of a plan, and who can't exchange with whom."""
    return {each for each in plan.members if each[0] != me}, plan.apart


def in_time(plan: Plan, others: list[Member], most: int) -> list[Member]:
    """Those of these others that take part: who came after all had agreed on a plan doesn't where they are too many."""
    listed = {agent for agent, *_ in plan.members}
    return others if 1 + len(others) <= most else [member for member in others if member.agent in listed]


def tag(agent: AgentId) -> str:
    """A digest of a name, of a fixed length, for lists of names in a record."""
    return hashlib.sha256(agent.encode()).hexdigest()[:12]
