"""What must hold during a schedule of chaos and after it: functions that raise AssertionError with the values."""

from collections.abc import Mapping, Sized
from dataclasses import fields, is_dataclass
from enum import Enum

import numpy as np

from agents.protocol.core import GossipCore
from agents.protocol.events import Lost
from agents.protocol.incarnation import Incarnation
from agents.protocol.session import WINDOW
from tests.agents.protocol.memory_network import Agent
from tests.chaos.swarm import Swarm
from transport.messages import MESSAGES, Member

TOLERANCE = 1e-6
"""Of the exact finish, relative to the largest coordinate: a few roundings of float32, 6e-8 each."""

DRIFT = 3e-6
"""Of the weighted mean, likewise: a thousand roundings, which add up as a random walk does."""

WAIT_S = 15.0
"""Training waits for one exchange at most so long, whatever happens to its peer."""

ROUNDS = 64
"""In which it is seen who exchanges with whom: several passes of any schedule of six agents, whose pairs take turns."""

ENTRIES = 64
"""In one table of a core, of which a liar may have filled as much as its messages named; members are counted apart."""


def scale(swarm: Swarm) -> float:
    """The largest coordinate of anybody's vector, at least 1."""
    thetas = [agent.theta for agent in swarm.agents.values()] + [loop.agent.theta for loop, _ in swarm.ended]
    return max(1.0, *(float(np.abs(theta).max()) for theta in thetas))


def mean_is_conserved(swarm: Swarm) -> None:
    """sum w (theta - trained), with what is outstanding and with who is over, stays zero (invariant 1)."""
    weight = sum(agent.weight for agent in swarm.agents.values()) + sum(loop.agent.weight for loop, _ in swarm.ended)
    drift = float(np.abs(swarm.total()).max()) / weight
    assert drift <= DRIFT * scale(swarm), f"the weighted mean moved by {drift:.2e}, of {scale(swarm):.2f}"


def halving_s(swarm: Swarm) -> float:
    """How long plain gossip takes to halve the weighted variance, at the slowest, with these weights and periods.

    An exchange of i and j takes 2 alpha (1 - alpha) 2 w_i w_j / (w_i + w_j) |theta_i - theta_j|^2 off
    sum_i w_i |theta_i - mean|^2 (DESIGN 1.2), and agent i begins one each period with one of its neighbors. So the
    sum shrinks by the rate lambda at least, the smallest eigenvalue but zero of that Laplacian against the weights.
    """
    names = list(swarm.agents)
    weights = np.array([agent.weight for agent in swarm.agents.values()])
    laplacian = np.zeros((len(names), len(names)))
    for one, name in enumerate(names):
        loop, core = swarm.loops[name], swarm.agents[name].core
        alpha, rounds = core.settings.alpha, range(loop.round, loop.round + ROUNDS)
        drawn = [(names.index(other), len(near)) for near in map(core.neighbors, rounds) for other in near]
        for other, among in drawn:
            both = 2 * weights[one] * weights[other] / (weights[one] + weights[other])
            taken = 2 * alpha * (1 - alpha) * both / loop.period_s / len(rounds) / among
            laplacian[[one, other], [one, other]] += taken
            laplacian[[one, other], [other, one]] -= taken
    scaled = laplacian / np.sqrt(np.outer(weights, weights))
    return float(np.log(2) / np.linalg.eigvalsh(scaled)[1])


def lost_is_in_flight(swarm: Swarm) -> None:
    """What an initiator never applied concerns incarnations that ended with something open, a window each at most.

    Who had the other side of it, and is there, counts it as lost: none is lost unnoticed.

    Where somebody lies, an agent that is silent may be taken for over too: without keys, a liar that says it has
    started again can't be told from one that has.
    """
    over = {loop.agent.incarnation: clean for loop, clean in swarm.ended}
    lost: dict[tuple, int] = {}
    counted = {agent.incarnation: counted_as_lost(agent) for agent in swarm.agents.values()}
    for (initiator, exchange, chunk), (_, _, responder) in swarm.account.outstanding.items():
        if initiator.agent == "liar":
            continue
        ended = {each: over[each] for each in (initiator, responder) if each in over}
        assert ended or not swarm.schedule.honest, f"{initiator} never applied what {responder} did, and both are there"
        assert not swarm.schedule.honest or not all(ended.values()), (
            f"{initiator} and {responder} had completed everything when they left"
        )
        for each in {initiator, responder} & counted.keys() if swarm.schedule.honest else ():
            assert (initiator, exchange, chunk) in counted[each], f"{each} doesn't count what {initiator} never applied"
        lost[initiator, exchange, responder] = lost.get((initiator, exchange, responder), 0) + 1
    assert max(lost.values(), default=0) <= WINDOW, f"more than a window was lost: {lost}"


def counted_as_lost(agent: Agent) -> set[tuple[Incarnation, int, int]]:
    """The chunks, by (initiator, exchange, chunk), that this agent counts as lost, where nothing is open otherwise.

    But for a liar that has published no record, on a connection that it opened itself: nobody asks whether it is there,
    and that never closes. One that we opened is opened anew once it is silent for long, and leads to nobody then.
    """
    core, exchanges = agent.core, agent.core.exchanges
    unknown = [peer for peer in exchanges.occupied if peer.agent == "liar" and core.members.get("liar") is None]
    hidden = [peer for peer in unknown if core.handshake.route(peer) is not None]
    lost = [signal for signal in agent.signals if isinstance(signal, Lost)]
    lost += [each for peer in exchanges.occupied - set(hidden) for each in exchanges.open_with(peer)]
    chunks = [
        (agent.incarnation if each.initiated else each.peer, each.exchange, c) for each in lost for c in each.chunks
    ]
    assert len(chunks) == len(set(chunks)) == core.lost, f"{agent.name} counts {core.lost} for {chunks}"
    return set(chunks)


def nobody_waits(swarm: Swarm) -> None:
    """Training was held up by no exchange for long."""
    for loop in swarm.loops.values():
        loop._note_over()
        assert loop.longest_s <= WAIT_S + 4 * loop.period_s + loop.slept_s, f"{loop.name} waited {loop.longest_s:.1f} s"
        assert loop.asked_s is None or swarm.now - loop.asked_s < WAIT_S, f"{loop.name} still waits"


def views_agree(swarm: Swarm) -> bool:
    """Whether everybody counts exactly those as alive that are, in the incarnation that they are."""
    there = {name: agent.core.members.me.incarnation for name, agent in swarm.agents.items()}
    for name, agent in swarm.agents.items():
        seen = {m.agent: m.incarnation for m in agent.core.members.others()}
        met = {m.agent for m in agent.core.members.present()}
        if {**seen, name: there[name]} != there or met != set(there) - {name}:
            return False
    return True


def views(swarm: Swarm) -> str:
    """Who sees whom, for the message of a failure."""
    lines = []
    for name, agent in swarm.agents.items():
        members = agent.core.members
        met = {m.agent for m in members.met()}
        seen = [f"{m.agent}@{m.incarnation}{'' if m.agent in met else ' unmet'}" for m in members.others()]
        lines.append(f"{name}@{members.me.incarnation} {members.me.state} sees {', '.join(seen) or 'nobody'}")
    return "\n".join(lines)


def nothing_is_open(swarm: Swarm) -> bool:
    """Whether no exchange is open between agents that are there."""
    there = {agent.incarnation for agent in swarm.agents.values()}
    return not any(agent.core.exchanges.occupied & there for agent in swarm.agents.values())


def tables_are_small(swarm: Swarm) -> None:
    """No table of a core grows with the number of messages."""
    starts = len(swarm.ended) + len(swarm.agents)
    for name, agent in swarm.agents.items():
        for where, size in tables(agent.core):
            assert size <= ENTRIES + 8 * starts, f"{name}: {where} holds {size} entries"


def tables(core: GossipCore) -> list[tuple[str, int]]:
    """(where, how many entries) of every container within a core, messages and records apart."""
    found: list[tuple[str, int]] = []
    _walk(core, "core", set(), found)
    return found


def _walk(thing: object, where: str, seen: set[int], found: list[tuple[str, int]]) -> None:
    if id(thing) in seen or isinstance(thing, (str, bytes, memoryview, np.ndarray, Enum, type, Member, *MESSAGES)):
        return
    seen.add(id(thing))
    if isinstance(thing, Sized) and where != "core.done":
        found.append((where, len(thing)))
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            _walk(value, f"{where}[{key!r:.40}]", seen, found)
    elif isinstance(thing, (list, tuple)) and where != "core.done":
        for number, value in enumerate(thing):
            _walk(value, f"{where}[{number}]", seen, found)
    elif type(thing).__module__.startswith(("agents.", "tests.", "transport.")):
        names = [f.name for f in fields(thing)] if is_dataclass(thing) else list(vars(thing))
        for name in names:
            _walk(getattr(thing, name), f"{where}.{name}", seen, found)
