"""Makes a tape from real gossip cores on a virtual clock and network: the cores that live agents run, up to a hundred.

Where `scenarios` draws what happens from statistics, here it follows from the protocol itself: greetings, membership,
credit, retries, crossed offers, healing of the topology when somebody is gone. A payload is a reference to a version. A
round lasts `ROUND_S` virtual seconds, which is what the protocol's own timers are measured against.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from agents.protocol.gossip import GossipCore, Settings

from agents.protocol.events import (
    Answered,
    Close,
    Concede,
    Dial,
    Due,
    Effect,
    Event,
    Fatal,
    HangUp,
    Propose,
    Received,
    RoundOver,
    Send,
    Tick,
)
from sim.conditions import FIRST_DELAY, SECOND_DELAY, Conditions
from sim.scenarios import Block, Floats, Protocol, names
from sim.tape import MIX, TRAIN, Tape
from topology.errors import GossamerError
from transport.messages import Answer, Member, Message, Offer

ROUND_S = 1.0
TIMERS = {"tick_s": 0.2, "ping_s": 1.0, "silent_s": 4.0, "first_s": 3.0, "floor_s": 1.0}
MEETING_S = 60.0
"""How long a swarm may take to meet, before round 0, on a network without delay or loss."""

MAX_AGENTS = 200


class VirtualError(GossamerError, ValueError):
    """A swarm that can't be driven. One line: what was expected and what came."""


class _Node:
    """One agent: its core, and where it stands."""

    def __init__(self, number: int, core: GossipCore) -> None:
        self.number, self.core = number, core
        self.version = number
        self.turn = 0
        self.next_turn: float | None = None
        self.steps = 0
        self.turns: dict[int, int] = {}  # exchange -> the turn at which it was begun


class Virtual:
    """The same face as `scenarios.Asynchronous`. topology: a name, laid over those who are alive, as agents lay it.

    Raises VirtualError for another protocol than "exchange", or for too many agents.
    """

    def __init__(self, topology: str, protocol: Protocol, conditions: Conditions, message_bytes: int = 0) -> None:
        if protocol.name != "exchange":
            raise VirtualError(f"real cores speak the protocol 'exchange': got {protocol.name!r}")
        if not 2 <= conditions.agents <= MAX_AGENTS:
            raise VirtualError(f"2 to {MAX_AGENTS} agents can be driven one by one: got {conditions.agents}")
        self.protocol, self.conditions, self.agents = protocol, conditions, conditions.agents
        self._bytes = message_bytes
        self._order = count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._now = -MEETING_S / ROUND_S
        self._meeting = True
        self._elapsed_s = MEETING_S
        self._ends: dict[tuple[int, str], tuple[int, str]] = {}
        self._columns: list[tuple[int, float, int, int, int, int, int, int, float]] = []
        self.exchanges: list[tuple[float, int, int]] = []
        """(time, initiator, responder) of each that was completed."""
        self._told: list[float] = []
        who = names(self.agents)
        addresses = [f"tcp://{name}.example:5710" for name in who]
        self._listening = {address: number for number, address in enumerate(addresses)}
        self._nodes = []
        for number, name in enumerate(who):
            weight = 1.0 if protocol.weights is None else float(protocol.weights[number])
            settings = Settings(
                run="virtual",
                topology=topology,
                seed=conditions.seed,
                alpha=protocol.alpha,
                parameters=1,
                model="",
                chunks=1,
                join=tuple(addresses[:1]) if number else (),
                **TIMERS,
            )
            me = Member(name, 1, address=addresses[number], state="training", weight=weight)
            self._nodes.append(_Node(number, GossipCore(settings, me)))

    def blocks(self, rounds: float, snapshot_rounds: Floats, window: float = 0.0) -> Iterator[Block]:
        """One tape for all rounds."""
        self._meet()
        for node, time in zip(self._nodes, self.conditions.first_turns(), strict=True):
            self._at(float(max(time, self.conditions.join_times[node.number])), self._turn, node)
        while self._queue and self._queue[0][0] < rounds:
            self._now, _, call = heapq.heappop(self._queue)
            call()
        yield self._block(snapshot_rounds)

    # The clock and the network.

    def _at(self, time: float, call: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._queue, (time, next(self._order), lambda: call(*arguments)))

    def _meet(self) -> None:
        """Greet until everybody can reach all neighbors; then the clock is set to round 0."""
        for node in self._nodes:
            self._at(self._now + 0.001 * node.number, self._tick, node)
        while not all(self._has_met(node) for node in self._nodes):
            if self._now > 0:
                raise VirtualError(f"the swarm of {self.agents} did not meet within {MEETING_S:.0f} virtual seconds")
            self._now, _, call = heapq.heappop(self._queue)
            call()
        later = -self._now
        self._queue = [(max(time + later, 0.0), order, call) for time, order, call in self._queue]
        heapq.heapify(self._queue)
        self._elapsed_s, self._now, self._meeting = self._elapsed_s - later * ROUND_S, 0.0, False

    def _has_met(self, node: _Node) -> bool:
        core = node.core
        return len(core.members.ids()) == self.agents and all(
            core.greeting.ready(agent, 1) for agent in core.neighbors(0) if agent != core.members.me.agent
        )

    def _clock_s(self) -> float:
        """What a core is told: seconds from the beginning of the meeting, and on."""
        return self._now * ROUND_S + self._elapsed_s

    def _is_online(self, node: _Node) -> bool:
        if self._meeting:
            return True
        return bool(self.conditions.is_online(np.array([node.number]), np.array([self._now]))[0])

    def _tick(self, node: _Node) -> None:
        if self._is_online(node):
            self._step(node, Tick())
        self._at(self._now + TIMERS["tick_s"] / ROUND_S, self._tick, node)

    def _send(self, node: _Node, door: str, message: Message) -> None:
        end = self._ends.get((node.number, door))
        if end is None or not self._is_online(node):
            return
        peer, theirs = self._nodes[end[0]], end[1]
        if not self._meeting:
            pair = np.array([node.number]), np.array([peer.number]), np.array([self._now])
            if not self.conditions.reach(*pair)[0]:
                return
        delay = 0.0
        if isinstance(message, Offer | Answer):
            begun, way = (node, FIRST_DELAY) if isinstance(message, Offer) else (peer, SECOND_DELAY)
            turn = begun.turns[message.exchange]
            who = np.array([begun.number]), np.array([abs(turn)])
            delay = float(self.conditions.delays(*who, self._bytes, way)[0])
            self._told.append(self._now)
            if isinstance(message, Offer) and turn >= 0 and self.conditions.lost(*who)[0]:
                begun.turns[message.exchange] = -turn if turn else -(1 << 30)  # Repeated, it gets through.
                return
        self._at(self._now + delay, self._arrive, peer, theirs, message)

    def _arrive(self, node: _Node, door: str, message: Message) -> None:
        if self._is_online(node):
            self._step(node, Received(door, message))

    # What an agent does.

    def _turn(self, node: _Node) -> None:
        turn, node.turn = node.turn, node.turn + 1
        then = self._now + float(self.conditions.interval(np.array([node.number]), np.array([turn + 1]))[0])
        node.next_turn = then
        if not self._is_online(node):
            self._end_of_round(node)
            return
        if self.protocol.local_steps:
            cur = node.version
            node.version = self._event(TRAIN, node, -1, node.steps, cur, cur, cur, 0.0)
            node.steps += self.protocol.local_steps
        self._step(node, Due(turn + 1))

    def _end_of_round(self, node: _Node) -> None:
        """The next turn comes when it is due, and no earlier than the exchange begun at this one is over."""
        if node.next_turn is not None:
            self._at(max(node.next_turn, self._now), self._turn, node)
            node.next_turn = None

    def _step(self, node: _Node, event: Event) -> None:
        todo: deque[Effect] = deque(node.core.step(event, self._clock_s()))
        while todo:
            follows = self._carry_out(node, todo.popleft())
            if follows is not None:
                todo.extend(node.core.step(follows, self._clock_s()))

    def _carry_out(self, node: _Node, effect: Effect) -> Event | None:
        match effect:
            case Dial(address) if address in self._listening:
                if (node.number, address) not in self._ends:
                    peer, route = self._listening[address], f"route:{next(self._order):08x}"
                    self._ends[node.number, address] = peer, route
                    self._ends[peer, route] = node.number, address
            case HangUp(door):
                other = self._ends.pop((node.number, door), None)
                if other is not None:
                    self._ends.pop(other, None)
            case Send(door, message):
                self._send(node, door, message)
            case Propose(door, offer):
                node.turns.setdefault(offer.exchange, node.turn - 1)
                self._send(node, door, replace(offer, payload=node.version))
            case Concede(door, offer, share, answer):
                before, peer = node.version, self._ends[node.number, door][0]
                beta = (1 - offer.alpha) * share
                node.version = self._event(MIX, node, peer, 0, before, offer.payload, before, -beta)
                payload = offer.payload, before
                self._send(node, door, replace(answer, payload=payload))
                return Answered(door, offer, payload)
            case Close(door, answer, alpha, share):
                offered, before = answer.payload
                peer, beta = self._ends[node.number, door][0], (1 - alpha) * share
                node.version = self._event(MIX, node, peer, 0, node.version, offered, before, beta)
                self.exchanges.append((self._now, node.number, peer))
            case RoundOver():
                self._end_of_round(node)
            case Fatal(text):
                raise VirtualError(text)
        return None

    # The tape.

    def _event(self, kind: int, node: _Node, peer: int, step: int, cur: int, a: int, b: int, coefficient: float) -> int:
        self._columns.append((kind, self._now, node.number, peer, step, cur, a, b, coefficient))
        return self.agents + len(self._columns) - 1

    def _block(self, moments: Floats) -> Block:
        columns = list(zip(*self._columns, strict=True)) or [()] * 9
        kind, time, agent, peer, step, cur, a, b, coefficient = columns
        times, who = np.array(time, float), np.array(agent, np.int32)
        current = np.arange(self.agents, dtype=np.int32)
        taken = np.empty((len(moments), self.agents), np.int32)
        begin = 0
        for k, end in enumerate(np.searchsorted(times, moments, side="right")):
            current[who[begin:end]] = np.arange(begin, end) + self.agents
            taken[k], begin = current, end
        tape = Tape(
            self.agents,
            self.agents,
            np.array(kind, np.int8),
            times,
            who,
            *(np.array(column, np.int32) for column in (peer, step, cur, a, b)),
            np.array(coefficient, np.float32),
            np.array([node.version for node in self._nodes], np.int32),
            taken,
        )
        done = np.sort([when for when, _, _ in self.exchanges])
        told = np.sort(self._told)
        return Block(tape, moments, *(np.searchsorted(each, moments, side="right") for each in (done, told)))
