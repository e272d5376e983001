"""Runs the protocol cores of live agents on a virtual clock and network, as an event source for up to 200 agents.

Where `Exchange` draws what happens from statistics, here it follows from the protocol itself: handshakes, membership,
credit, retries, crossed offers, healing of the topology when somebody is gone. A payload is a reference to a version. A
round lasts `ROUND_S` virtual seconds, which is what the protocol's own timers are measured against.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from agents.protocol.core import GossipCore
from agents.protocol.events import Due, Fatal, KeepPiece, RoundOver, Signal
from agents.protocol.incarnation import Incarnation
from agents.protocol.settings import CoreSettings
from agents.protocol.virtual import Clock, Network, Node
from sim.conditions import FIRST_DELAY, SECOND_DELAY, Conditions
from sim.sources.neighbors import names
from sim.sources.source import Block, Floats
from sim.tape import ADOPT, MIX, TRAIN, Tape, versions_at
from topology.choices import UNIFORM
from topology.errors import GossamerError
from transport.messages import (
    Address,
    AgentId,
    Answer,
    Decline,
    Identity,
    Liveness,
    Member,
    Message,
    Offer,
    Piece,
    Pull,
    Report,
)

ROUND_S = 1.0
TIMERS: dict[str, Any] = {"tick_s": 0.2, "ping_s": 1.0, "silent_s": 4.0, "first_s": 3.0, "floor_s": 1.0}
MEETING_S = 60.0
"""How long a swarm may take to meet, before round 0, on a network without delay or loss."""

MAX_AGENTS = 200


class VirtualError(GossamerError, ValueError):
    """A swarm that can't be run on the virtual network. One line: what was expected and what came."""

    code = "G605"


def check_agents(agents: int) -> None:
    """Raise VirtualError unless so many agents can be driven."""
    if not 2 <= agents <= MAX_AGENTS:
        raise VirtualError(f"2 to {MAX_AGENTS} agents can be driven one by one: got {agents}")


class _Events:
    """The events so far, a row each."""

    def __init__(self, agents: int) -> None:
        self.agents = agents
        self.rows: list[tuple[int, float, int, int, int, int, int, int, float]] = []

    def add(
        self, kind: int, time: float, agent: int, peer: int, step: int, cur: int, a: int, b: int, coefficient: float
    ) -> int:
        """The version that the event writes."""
        self.rows.append((kind, time, agent, peer, step, cur, a, b, coefficient))
        return self.agents + len(self.rows) - 1


class _Versions:
    """One agent's model as a version; a `driver.Vectors` that writes events in place of mixing."""

    def __init__(self, number: int, source: "Virtual") -> None:
        self.number, self._source = number, source
        self.current = number
        self.turn = self.steps = 0
        self.next_turn: float | None = None
        self.begun: dict[int, int] = {}
        """exchange -> the turn at which it was begun; -1 - turn once an offer of it was lost."""

    def offer(self, peer: Incarnation, offer: Offer) -> Offer:
        """The version that is offered."""
        self.begun.setdefault(offer.exchange, self.turn - 1)
        return replace(offer, payload=self.current)

    def apply_offer(self, peer: Incarnation, offer: Offer, answer: Answer, rate: float) -> tuple[Answer, float]:
        """Move away from the offer by the difference; the two versions that make the difference."""
        offered, before = offer.payload, self.current
        self._mix(peer, offered, before, -rate)
        return replace(answer, payload=(offered, before)), 0.0

    def apply_answer(self, peer: Incarnation, answer: Answer, rate: float) -> float:
        """Move by the difference that the answer names."""
        offered, before = answer.payload
        self._mix(peer, offered, before, rate)
        self._source.exchanges.append((self._source.now, self.number, self._source.number_of(peer.agent)))
        return 0.0

    def piece(self, peer: Incarnation, pull: Pull, chunk: int) -> Piece:
        """Our version, for a peer that adopts it."""
        return Piece(pull.request, chunk, 1, self.current)

    def keep(self, peer: Incarnation, piece: KeepPiece) -> None:
        """Adopt a peer's version."""
        self._mix(peer, self.current, piece.payload, 1.0, ADOPT)

    def _mix(self, peer: Incarnation, a: int, b: int, coefficient: float, kind: int = MIX) -> None:
        source = self._source
        self.current = source.events.add(
            kind, source.now, self.number, source.number_of(peer.agent), 0, self.current, a, b, coefficient
        )


class Virtual:
    """An event source with the interface of `Exchange`. topology: a name, laid over the agents that are alive.

    Raises VirtualError for too few or too many agents.
    """

    def __init__(
        self,
        topology: str,
        conditions: Conditions,
        *,
        alpha: float = 0.5,
        weights: Floats | None = None,
        local_steps: int = 1,
        message_bytes: int = 0,
        choose: str = UNIFORM,
    ) -> None:
        check_agents(conditions.agents)
        self.conditions, self.agents, self.local_steps = conditions, conditions.agents, local_steps
        self.events = _Events(self.agents)
        self.exchanges: list[tuple[float, int, int]] = []
        """(time, initiator, responder) of each that was completed."""
        self._bytes = message_bytes
        self._sent: list[float] = []
        self._clock = Clock()
        self._began_s: float | None = None
        """When round 0 began; None while the agents still meet."""
        self._network = Network(self._clock, self._carry)
        self._numbers: dict[AgentId, int] = {}
        self._versions: list[_Versions] = []
        self._nodes: list[Node] = []
        addresses = [Address(f"tcp://{name}.example:5710") for name in names(self.agents)]
        for number, (name, address) in enumerate(zip(names(self.agents), addresses, strict=True)):
            settings = CoreSettings(
                run="virtual",
                topology=topology,
                seed=conditions.seed,
                alpha=alpha,
                parameters=1,
                chunks=1,
                choose=choose,
                join=tuple(addresses[:1]) if number else (),
                **TIMERS,
            )
            weight = 1.0 if weights is None else float(weights[number])
            me = Member(Identity(AgentId(name), 1, address), Liveness(state="ready"), Report(weight=weight))
            self._add(number, GossipCore(settings, me))

    def _add(self, number: int, core: GossipCore) -> None:
        self._numbers[core.members.me.agent] = number
        versions = _Versions(number, self)
        self._versions.append(versions)
        node = self._network.add(core, versions, lambda signal: self._on_signal(number, signal), 0.001 * number)
        node.online = lambda: self._is_online(number)
        self._nodes.append(node)

    @property
    def now(self) -> float:
        """The time in rounds."""
        return (self._clock.now - (self._began_s or 0.0)) / ROUND_S

    def number_of(self, agent: AgentId) -> int:
        """An agent's number."""
        return self._numbers[agent]

    def blocks(self, rounds: float, moments: Floats, window: float = 0.0) -> Iterator[Block]:
        """One tape for all rounds."""
        self._meet()
        for number, time in enumerate(np.maximum(self.conditions.first_turns(), self.conditions.join_times)):
            self._at(float(time), number)
        end_s = self._clock.now + rounds * ROUND_S
        while self._clock.next < end_s:
            self._clock.step()
        yield self._block(rounds, moments)

    def _meet(self) -> None:
        """Run handshakes until every agent has a connection to its neighbors; round 0 begins then."""
        if not self._clock.run(MEETING_S, lambda: all(map(self._has_met, self._nodes))):
            raise VirtualError(f"the swarm of {self.agents} did not meet within {MEETING_S:.0f} virtual seconds")
        self._began_s = self._clock.now

    def _has_met(self, node: Node) -> bool:
        core = node.core
        if len(core.members.neighbors_among()) < self.agents:
            return False
        others = (agent for agent in core.neighbors(0) if agent != node.name)
        return all(core.handshake.route(Incarnation(agent, 1)) is not None for agent in others)

    # The network.

    def _is_online(self, number: int) -> bool:
        if self._began_s is None:
            return True
        return bool(self.conditions.is_online(np.array([number]), np.array([self.now]))[0])

    def _carry(self, sender: Node, receiver: Node, message: Message) -> Iterable[float]:
        """After how many seconds a message arrives; nothing if it doesn't."""
        if self._began_s is None:
            return (0.0,)
        one, other = self._numbers[sender.name], self._numbers[receiver.name]
        if not self.conditions.reach(np.array([one]), np.array([other]), np.array([self.now]))[0]:
            return ()
        if not isinstance(message, Offer | Answer | Decline):
            return (0.0,)
        initiator, way = (one, FIRST_DELAY) if isinstance(message, Offer) else (other, SECOND_DELAY)
        begun = self._versions[initiator].begun
        turn = begun[message.exchange]
        who = np.array([initiator]), np.array([turn if turn >= 0 else -1 - turn])
        if not isinstance(message, Decline):
            self._sent.append(self.now)
        if isinstance(message, Offer) and turn >= 0 and self.conditions.lost(*who)[0]:
            begun[message.exchange] = -1 - turn  # Repeated, it gets through.
            return ()
        return (float(self.conditions.delays(*who, self._bytes, way)[0]) * ROUND_S,)

    # What an agent does.

    def _at(self, time: float, number: int) -> None:
        """A turn of this agent, at a time in rounds."""
        assert self._began_s is not None
        self._clock.at(self._began_s + time * ROUND_S, lambda: self._turn(number, time))

    def _turn(self, number: int, time: float) -> None:
        versions = self._versions[number]
        turn, versions.turn = versions.turn, versions.turn + 1
        versions.next_turn = time + float(self.conditions.interval(np.array([number]), np.array([turn + 1]))[0])
        if not self._is_online(number):
            self._end_of_round(versions)
            return
        if self.local_steps:
            cur = versions.current
            versions.current = self.events.add(TRAIN, time, number, -1, versions.steps, cur, cur, cur, 0.0)
            versions.steps += self.local_steps
        self._nodes[number].driver.handle(Due(turn + 1))

    def _on_signal(self, number: int, signal: Signal) -> None:
        match signal:
            case RoundOver():
                self._end_of_round(self._versions[number])
            case Fatal(text):
                raise VirtualError(text)

    def _end_of_round(self, versions: _Versions) -> None:
        """The next turn comes when it is due, and no earlier than the exchange begun at this one is over."""
        if versions.next_turn is not None:
            self._at(max(versions.next_turn, self.now), versions.number)
            versions.next_turn = None

    # The tape.

    def _block(self, rounds: float, moments: Floats) -> Block:
        columns: list[Any] = list(zip(*self.events.rows, strict=True)) or [()] * 9
        kind, time, agent, peer, step, cur, a, b, coefficient = columns
        times, who = np.array(time, float), np.array(agent, np.int32)
        written = self.agents + np.arange(len(who), dtype=np.int32)
        tape = Tape(
            agents=self.agents,
            entering=self.agents,
            kind=np.array(kind, np.int8),
            time=times,
            agent=who,
            peer=np.array(peer, np.int32),
            step=np.array(step, np.int32),
            cur=np.array(cur, np.int32),
            a=np.array(a, np.int32),
            b=np.array(b, np.int32),
            coefficient=np.array(coefficient, np.float32),
            leaving=np.array([versions.current for versions in self._versions], np.int32),
            snapshots=versions_at(moments, self.agents, times, who, written),
        )
        done, sent = np.sort([when for when, _, _ in self.exchanges]), np.sort(self._sent)
        done_until, sent_until = (np.searchsorted(each, moments, side="right") for each in (done, sent))
        return Block(tape, rounds, moments, done_until, sent_until)
