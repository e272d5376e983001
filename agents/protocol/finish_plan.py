"""What each member does in one pass of the exact finish: with whom it exchanges in which round, at which rate."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from agents.protocol.incarnation import Incarnation
from topology import base_graph
from transport.messages import AgentId, Member


@dataclass(frozen=True)
class Meeting:
    """One agent's part in one round: whom it exchanges with, whether it begins, and at which rate it moves."""

    partner: Incarnation
    initiates: bool
    rate: float


@dataclass(frozen=True)
class Plan:
    """What a list of members does in one pass. digest: of the list.

    meetings: ours by round, None for none. weights: what our vector weighs before each round, and after the last.
    """

    members: tuple[tuple[AgentId, int, float], ...]
    digest: str
    meetings: tuple[Meeting | None, ...]
    weights: tuple[float, ...]


def plan_of(members: Iterable[Member], me: AgentId) -> Plan:
    """The plan of agent `me` for these members, itself included, in whatever order."""
    members = list(members)
    listed = tuple(sorted((m.agent, m.incarnation, m.report.mass or m.report.weight) for m in members))
    digest = hashlib.sha256(repr(listed).encode()).hexdigest()[:16]
    mine = [agent for agent, _, _ in listed].index(me)
    weights = [weight for _, _, weight in listed]
    peers = {member.agent: Incarnation.of(member) for member in members}
    meetings: list[Meeting | None] = []
    own = [weights[mine]]
    schedule = base_graph(len(listed))
    for graph, shares in zip(schedule.graphs, schedule.weights, strict=True):
        arcs = list(zip(graph.sources.tolist(), graph.indices.tolist(), shares.tolist(), strict=True))
        after = list(weights)
        for i, j, share in arcs:
            after[i] += share * (weights[j] - weights[i])
        ours = [(j, share * weights[j] / after[mine]) for i, j, share in arcs if i == mine]
        meetings.append(next((Meeting(peers[listed[j][0]], mine < j, rate) for j, rate in ours), None))
        weights = after
        own.append(after[mine])
    return Plan(listed, digest, tuple(meetings), tuple(own))


def but(me: AgentId, plan: Plan) -> set[tuple[AgentId, int, float]]:
    """The other members of a plan."""
    return {each for each in plan.members if each[0] != me}


def tag(agent: AgentId) -> str:
    """A digest of a name, of a fixed length, for lists of names in a record."""
    return hashlib.sha256(agent.encode()).hexdigest()[:12]
