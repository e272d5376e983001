"""What each member does in one pass of the exact finish: with whom it exchanges in which round, at which rate."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any

from agents.protocol.incarnation import Incarnation
from topology import base_graph
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


@dataclass(frozen=True)
class Plan:
    """What a list of members does in one pass. digest: of the list.

    members: (name, incarnation, what its vector weighs in each block, ..., how often it began anew if it did).
    meetings: ours by round, None for none. weights: what our vector weighs in each block before each round, and after
    the last. lacks: blocks in which nobody weighs anything, so that all keep what they hold.
    """

    members: tuple[tuple[Any, ...], ...]
    digest: str
    meetings: tuple[Meeting | None, ...]
    weights: tuple[tuple[float, ...], ...]
    lacks: tuple[int, ...] = ()


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
    digest = hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
    mine = [agent for agent, *_ in listed].index(me)
    weights = [list(masses(m)) for m in sorted(members, key=lambda m: (m.agent, m.incarnation))]
    blocks = range(len(weights[0]))
    peers = {member.agent: Incarnation.of(member) for member in members}
    meetings: list[Meeting | None] = []
    own = [tuple(weights[mine])]
    for holders, some in _passes(weights) if nested else [(tuple(range(len(listed))), blocks)]:
        for arcs in _rounds(len(holders)):
            after = [list(each) for each in weights]
            met = [(holders[i], holders[j], share) for i, j, share in arcs]
            for i, j, share in met:
                for b in some:
                    after[i][b] += share * (weights[j][b] - weights[i][b])
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
    return Plan(listed, digest, tuple(meetings), tuple(own), lacks)


def _passes(weights: Sequence[Sequence[float]]) -> list[tuple[tuple[int, ...], range]]:
    """Who holds which levels: (numbers of members, blocks), those with the same holders together."""
    holders = [tuple(k for k, each in enumerate(weights) if each[b]) for b in range(len(weights[0]))]
    found, start = list[tuple[tuple[int, ...], range]](), 0
    for some, group in groupby(holders):
        stop = start + len(list(group))
        found += [(some, range(start, stop))] if some else []
        start = stop
    return found


@lru_cache(maxsize=4)
def _rounds(members: int) -> tuple[list[tuple[int, int, float]], ...]:
    """The arcs of each round of the Base-2 graph: (of whom, from whom, share). Every new list of members asks again."""
    schedule = base_graph(members)
    return tuple(
        list(zip(graph.sources.tolist(), graph.indices.tolist(), shares.tolist(), strict=True))
        for graph, shares in zip(schedule.graphs, schedule.weights, strict=True)
    )


class Passes:
    """The passes in which one agent has taken part: no other may have the digest of one of them.

    A member that was gone for a while comes back to the same list, and to the round that it was at; the others begin
    this list anew. So who has exchanged something in a pass counts how often it has come back to such a list, and its
    count is in the list from then on.
    """

    def __init__(self) -> None:
        self._digests: set[str] = set()
        self._again = 0

    def plan(
        self, me: Member, others: Iterable[Member], masses: Callable[[Member], tuple[float, ...]], nested: bool
    ) -> Plan:
        """Of ourselves and these others, as `plan_of`; another pass than those in which we have exchanged something."""
        others = list(others)
        while True:
            us = replace(me, report=replace(me.report, finish=self.text("")))
            plan = plan_of([us, *others], me.agent, masses, nested)
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


def but(me: AgentId, plan: Plan) -> set[tuple[Any, ...]]:
    """The other members of a plan."""
    return {each for each in plan.members if each[0] != me}


def in_time(plan: Plan, others: list[Member], most: int) -> list[Member]:
    """Those of these others that take part: who came after all had agreed on a plan doesn't where they are too many."""
    listed = {agent for agent, *_ in plan.members}
    return others if 1 + len(others) <= most else [member for member in others if member.agent in listed]


def tag(agent: AgentId) -> str:
    """A digest of a name, of a fixed length, for lists of names in a record."""
    return hashlib.sha256(agent.encode()).hexdigest()[:12]
