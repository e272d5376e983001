"""What each member does in one pass of the exact finish: with whom it exchanges in which round, at which rate."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agents.protocol.incarnation import Incarnation
from topology import base_graph
from transport.messages import AgentId, Member


@dataclass(frozen=True)
class Meeting:
    """One agent's part in one round: whom it exchanges with, whether it begins, and how far it moves in each block."""

    partner: Incarnation
    initiates: bool
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a list of members does in one pass. digest: of the list.

    members: (name, incarnation, what its vector weighs in each block, ...). meetings: ours by round, None for none.
    weights: what our vector weighs in each block before each round, and after the last. lacks: blocks in which nobody
    weighs anything, so that all keep what they hold.
    """

    members: tuple[tuple[Any, ...], ...]
    digest: str
    meetings: tuple[Meeting | None, ...]
    weights: tuple[tuple[float, ...], ...]
    lacks: tuple[int, ...] = ()


def by_weight(member: Member) -> tuple[float, ...]:
    """What a member's vector weighs where all train everything."""
    return (member.report.mass or member.report.weight,)


def plan_of(members: Iterable[Member], me: AgentId, masses: Callable[[Member], tuple[float, ...]] = by_weight) -> Plan:
    """The plan of agent `me` for these members, itself included, in whatever order. masses: of each, by block."""
    members = list(members)
    listed: tuple[tuple[Any, ...], ...] = tuple(sorted((m.agent, m.incarnation, *masses(m)) for m in members))
    digest = hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
    mine = [agent for agent, *_ in listed].index(me)
    weights = [list(masses(m)) for m in sorted(members, key=lambda m: (m.agent, m.incarnation))]
    blocks = range(len(weights[0]))
    peers = {member.agent: Incarnation.of(member) for member in members}
    meetings: list[Meeting | None] = []
    own = [tuple(weights[mine])]
    for arcs in _rounds(len(listed)):
        after = [list(each) for each in weights]
        for i, j, share in arcs:
            for b in blocks:
                after[i][b] += share * (weights[j][b] - weights[i][b])
        ours = [
            (j, tuple(share * weights[j][b] / after[mine][b] if after[mine][b] else 0.0 for b in blocks))
            for i, j, share in arcs
            if i == mine
        ]
        meetings.append(next((Meeting(peers[listed[j][0]], mine < j, rates) for j, rates in ours), None))
        weights = after
        own.append(tuple(after[mine]))
    lacks = tuple(b for b in blocks if not any(each[b + 2] for each in listed))
    return Plan(listed, digest, tuple(meetings), tuple(own), lacks)


@lru_cache(maxsize=4)
def _rounds(members: int) -> tuple[list[tuple[int, int, float]], ...]:
    """The arcs of each round of the Base-2 graph: (of whom, from whom, share). Every new list of members asks again."""
    schedule = base_graph(members)
    return tuple(
        list(zip(graph.sources.tolist(), graph.indices.tolist(), shares.tolist(), strict=True))
        for graph, shares in zip(schedule.graphs, schedule.weights, strict=True)
    )


def but(me: AgentId, plan: Plan) -> set[tuple[Any, ...]]:
    """The other members of a plan."""
    return {each for each in plan.members if each[0] != me}


def tag(agent: AgentId) -> str:
    """A digest of a name, of a fixed length, for lists of names in a record."""
    return hashlib.sha256(agent.encode()).hexdigest()[:12]
