"""Gossip cores and real replicas joined in memory, under a virtual clock: the plainest reference for a swarm.

Everything a test may want to do to a network is done by `Weather`: packets are dropped, doubled, delayed each on
its own (so reordered, within a door as well as across), and agents are cut off for a while. Every message passes
through the wire's bytes. The ledger of `outstanding` differences, conceded and not yet closed, is kept apart from
the cores, so that conservation can be checked at every moment and not only at rest.
"""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
from agents.mixing.chunks import chunk_count, chunk_slice
from agents.protocol.gossip import GossipCore, Settings

from agents.mixing.codecs import CODECS
from agents.mixing.replica import Replica
from agents.protocol import events as ev
from transport.messages import Member, Piece
from transport.wire import decode, encode

PATIENT = {"tick_s": 0.1, "ping_s": 0.5, "silent_s": 3.0, "first_s": 0.6, "floor_s": 0.3}


@dataclass
class Weather:
    """What becomes of a packet: how likely it is lost or doubled, and the greatest delay of each copy."""

    lost: float = 0.0
    doubled: float = 0.0
    delay_s: float = 0.01


class Node:
    """One agent: its core, its replica, and what training has added to it so far, in float64."""

    def __init__(self, core: GossipCore, theta: np.ndarray) -> None:
        self.core = core
        self.name = core.members.me.agent
        self.weight = core.members.me.weight
        self.replica = Replica(theta)
        self.trained = np.zeros(theta.size)
        self.cut_off = False
        self.adopting = np.full(theta.size, np.nan, np.float32)
        self.adopted = False
        self.done: list[ev.Effect] = []

    @property
    def theta(self) -> np.ndarray:
        """What the agent stands at: published and all that came in since."""
        return np.concatenate([self.replica.read(k) for k in range(self.replica.chunks)])

    def of(self, kind: type) -> list:
        """The effects of this kind that the core asked for, in order."""
        return [effect for effect in self.done if isinstance(effect, kind)]


@dataclass
class MemoryNetwork:
    """Call `add` for each agent, then `run`. Seeded: the same calls give the same history."""

    parameters: int
    seed: int = 0
    weather: Weather = field(default_factory=Weather)
    settings: dict = field(default_factory=lambda: dict(PATIENT))

    def __post_init__(self) -> None:
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.sent: list = []
        self.outstanding: dict[tuple[str, int, int], np.ndarray] = {}
        self.conceded: set[tuple[str, int, int]] = set()
        self.closed: set[tuple[str, int, int]] = set()
        self._random = random.Random(self.seed)
        self._queue: list = []
        self._order = count()
        self._listening: dict[str, str] = {}  # address -> agent
        self._ends: dict[tuple[str, str], tuple[str, str]] = {}  # (agent, door) <-> (agent, door)

    def add(self, name, theta, *, alpha=0.5, weight=1.0, nat=False, incarnation=1, topology="complete", **changes):
        """One more agent. nat: it can't be dialed. It joins through the agents that are there already."""
        address = "" if nat else f"tcp://{name}.example:5710"
        settings = Settings(
            run="run", topology=topology, seed=self.seed, alpha=alpha, parameters=self.parameters, model="model",
            chunks=chunk_count(self.parameters), join=tuple(self._listening), listening=not nat,
            **{**self.settings, **changes},
        )  # fmt: skip
        me = Member(name, incarnation, address=address, state="training", weight=weight)
        node = self.nodes[name] = Node(GossipCore(settings, me), np.asarray(theta, np.float32))
        if address:
            self._listening[address] = name
        self.at(self.now + self._random.uniform(0, 0.1), lambda: self._tick(node))
        return node

    def at(self, when: float, call) -> None:
        """Do something at a moment of the virtual clock."""
        heapq.heappush(self._queue, (when, next(self._order), call))

    def run(self, for_s: float, until=lambda: False) -> bool:
        """Let time pass; True as soon as `until` holds, False if it never did."""
        end = self.now + for_s
        while self._queue and self._queue[0][0] <= end:
            if until():
                return True
            self.now, _, call = heapq.heappop(self._queue)
            call()
        self.now = end
        return until()

    def due(self, name: str, round: int) -> None:
        """Training reached the boundary of this round."""
        node = self.nodes[name]
        self.step(node, ev.Due(round))

    def train(self, name: str, delta) -> None:
        """Local steps, then a boundary: theta moves by delta, apart from what the network brought."""
        node = self.nodes[name]
        start = node.replica.published.astype(np.float64)
        theta = (start + delta).astype(np.float32)
        node.trained += theta.astype(np.float64) - start
        node.replica.boundary(theta)

    def meet(self) -> None:
        """Run until everybody can reach everybody, in fair weather."""
        names = set(self.nodes)
        assert self.run(30, lambda: all(set(n.core.members.ids()) == names for n in self.nodes.values()))
        assert self.run(30, lambda: all(n.core._door_to(m) for n in self.nodes.values() for m in names - {n.name})), (
            "somebody has no door to somebody"
        )

    def at_rest(self) -> bool:
        """Whether no exchange is open anywhere."""
        return not any(node.core.exchanges.open_peers for node in self.nodes.values())

    def total(self) -> np.ndarray:
        """sum_i w_i (theta_i - trained_i) and what is outstanding, in float64: the conserved quantity."""
        total = sum(n.weight * (n.theta.astype(np.float64) - n.trained) for n in self.nodes.values())
        for (_, _, chunk), moved in self.outstanding.items():
            total[chunk_slice(chunk, self.parameters)] += moved
        return total

    # What the runtime does.

    def step(self, node: Node, event: ev.Event) -> None:
        """One event, and all that follows from it here and now."""
        todo = deque(node.core.step(event, self.now))
        while todo:
            effect = todo.popleft()
            node.done.append(effect)
            follows = self._carry_out(node, effect)
            if follows is not None:
                todo.extend(node.core.step(follows, self.now))

    def _tick(self, node: Node) -> None:
        if self.nodes.get(node.name) is not node:
            return  # A later life took its place.
        self.step(node, ev.Tick())
        self.at(self.now + node.core.settings.tick_s, lambda: self._tick(node))

    def send(self, sender: Node, door: str, message, payload=None) -> None:
        """Give a message to the weather."""
        self.sent.append((sender.name, door, message))
        end = self._ends.get((sender.name, door))
        if end is None:
            return
        frames = [bytes(frame) for frame in encode(message, payload)]
        w = self.weather
        for _ in range(1 + (self._random.random() < w.doubled)):
            if self._random.random() >= w.lost:
                later = self.now + self._random.uniform(0, w.delay_s)
                self.at(later, lambda: self._arrive(sender.name, *end, frames))

    def _arrive(self, sender: str, name: str, door: str, frames) -> None:
        node = self.nodes.get(name)
        if node is not None and not node.cut_off and not self.nodes[sender].cut_off:
            self.step(node, ev.Received(door, decode(frames)))

    def _carry_out(self, node: Node, effect: ev.Effect):
        match effect:
            case ev.Dial(address) if address in self._listening:
                peer, route = self._listening[address], f"route:{next(self._order):08x}"
                self._ends[node.name, address] = (peer, route)
                self._ends[peer, route] = (node.name, address)
            case ev.HangUp(door):
                other = self._ends.pop((node.name, door), None)
                self._ends.pop(other, None)
            case ev.Send(door, message):
                self.send(node, door, message)
            case ev.Propose(door, offer):
                self.send(node, door, offer, CODECS["float32"].encode(node.replica.read(offer.chunk)))
            case ev.Concede():
                return self._concede(node, effect)
            case ev.Close():
                return self._close(node, effect)
            case ev.Serve(door, pull, chunk):
                self.send(node, door, Piece(pull.request, chunk, self.parameters), node.replica.read(chunk).data)
            case ev.Keep(_, chunk, payload, last):
                span = chunk_slice(chunk, self.parameters)
                node.adopting[span] = CODECS["float32"].decode(payload, span.stop - span.start)
                node.adopted = node.adopted or last
            case ev.Fatal(text):
                raise AssertionError(text)
        return None

    def _concede(self, node: Node, effect: ev.Concede):
        offer, initiator = effect.offer, self._ends[node.name, effect.door][0]
        try:
            offered = CODECS["float32"].decode(offer.payload, node.replica.size(offer.chunk))
            d, _ = node.replica.answer(offer.chunk, offered, offer.alpha, effect.share)
        except ValueError as error:
            return ev.Unusable(effect.door, offer.exchange, str(error))
        key = (initiator, offer.exchange, offer.chunk)
        assert key not in self.conceded, f"{key} was mixed in twice"
        self.conceded.add(key)
        self.outstanding[key] = node.weight * (1 - offer.alpha) * effect.share * d.astype(np.float64)
        payload = bytes(CODECS["float32"].encode(d))
        self.send(node, effect.door, replace(effect.answer, payload=payload))
        return ev.Answered(effect.door, offer, payload)

    def _close(self, node: Node, effect: ev.Close):
        answer = effect.answer
        try:
            d = CODECS["float32"].decode(answer.payload, node.replica.size(answer.chunk))
            node.replica.close(answer.chunk, d, effect.alpha, effect.share)
        except ValueError as error:
            return ev.Unusable(effect.door, answer.exchange, str(error))
        key = (node.name, answer.exchange, answer.chunk)
        assert key not in self.closed, f"{key} was closed twice"
        self.closed.add(key)
        self.outstanding.pop(key, None)
        return None
