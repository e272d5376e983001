"""Swarms of real cores and replicas on the virtual network, with weather and an account of what is under way.

A thin adapter of `agents.protocol.virtual`: `Weather` decides what becomes of a message (lost, doubled, delayed each
copy on its own, so reordered), every message passes through the wire's bytes, and `BookedVectors` keeps the account of
differences that the responder applied and the initiator did not yet, apart from the cores, so that conservation can be
checked at every moment and not only at rest.
"""

import math
import random
from dataclasses import dataclass, field, replace

import numpy as np

from agents.manifest import Manifest
from agents.mixing.blocks import Blocks
from agents.mixing.clipping import Radii
from agents.mixing.codec_names import choices
from agents.mixing.codecs import Codec, named
from agents.mixing.layout import Layout
from agents.mixing.replica import Replica
from agents.protocol import events as ev
from agents.protocol.core import GossipCore
from agents.protocol.incarnation import Incarnation
from agents.protocol.settings import CoreSettings
from agents.protocol.virtual import Clock, Network
from agents.vectors import ReplicaVectors
from tests.agents.protocol.conditions import for_all
from transport.messages import Address, Identity, Liveness, Member, Report
from transport.wire import decode, encode

TIMES = {"tick_s": 0.1, "ping_s": 0.5, "silent_s": 3.0, "first_s": 0.6, "floor_s": 0.3}


@dataclass
class Weather:
    """What becomes of a message: how likely it is lost or doubled, and the greatest delay of each copy.

    cut: pairs of agents between whom nothing arrives.
    """

    lost: float = 0.0
    doubled: float = 0.0
    delay_s: float = 0.01
    cut: frozenset[frozenset[str]] = frozenset()


class WatchedCore(GossipCore):
    """Remembers every effect that it asked for, in order."""

    def __init__(self, settings, me, signing=None):
        super().__init__(settings, me, signing)
        self.done: list[ev.Effect] = []

    def step(self, event, now):
        """As the core does."""
        effects = super().step(event, now)
        self.done += effects
        return effects


@dataclass
class Account:
    """Chunks by (initiator, exchange, chunk), those that the responder applied and those that the initiator did.

    outstanding: what the initiator has still to apply, as (the difference, the responder's weight times its rate, the
    responder). In a round of the exact finish vectors weigh otherwise than agents do: nothing of it is outstanding.
    """

    outstanding: dict[tuple[Incarnation, int, int], tuple[np.ndarray, float, Incarnation]] = field(default_factory=dict)
    by_responder: set[tuple[Incarnation, int, int]] = field(default_factory=set)
    by_initiator: set[tuple[Incarnation, int, int]] = field(default_factory=set)
    brought: list[tuple[int, np.ndarray]] = field(default_factory=list)
    """(chunk, weight times rate times difference) of what initiators applied and no responder did: a liar's answers."""


class BookedVectors:
    """A `driver.Vectors`: ReplicaVectors does the work; rate times difference is booked. me: whose vectors they are."""

    def __init__(self, inner: ReplicaVectors, core: GossipCore, account: Account) -> None:
        me = core.members.me
        self.inner = inner
        self.served: dict[int, list[bytes]] = {}
        self._me = Incarnation.of(me)
        self._ownership = core.ownership
        self._account = account
        self._offered: dict[tuple[int, int], tuple[bytes, Codec]] = {}
        self._weights: dict[int, float] = {}
        """Ours in each exchange that we began."""

    def offer(self, peer, offer):
        """Keep what was offered."""
        made = self.inner.offer(peer, offer)
        payload = bytes(made.payload)
        self._offered[offer.exchange, offer.chunk] = payload, self._codec_of(offer)
        assert self._weights.setdefault(offer.exchange, offer.weight) == offer.weight, "it changed within an exchange"
        return replace(made, payload=payload)

    def apply_offer(self, peer, offer, answer, rate):
        """Book what the initiator has still to apply."""
        made, squared = self.inner.apply_offer(peer, offer, answer, rate)
        made = replace(made, payload=bytes(made.payload))
        key = (peer, offer.exchange, offer.chunk)
        assert key not in self._account.by_responder, f"{key} was applied twice"
        self._account.by_responder.add(key)
        d = self._difference(offer.chunk, offer.payload, self._codec_of(offer), made.payload)
        if not offer.finish:
            self._account.outstanding[key] = d, self._weight(answer.weight, offer.chunk) * rate * made.scale, self._me
        return made, squared

    def apply_answer(self, peer, answer, rate):
        """Both sides must have applied the same bits, by rates that weigh the same."""
        squared = self.inner.apply_answer(peer, answer, rate)
        key = (self._me, answer.exchange, answer.chunk)
        assert key not in self._account.by_initiator, f"{key} was applied twice"
        self._account.by_initiator.add(key)
        weight = self._weight(self._weights[answer.exchange], answer.chunk)
        mine = self._difference(answer.chunk, *self._offered[answer.exchange, answer.chunk], answer.payload)
        if key not in self._account.by_responder:
            self._account.brought.append((answer.chunk, weight * rate * mine.astype(np.float64)))
        elif key in self._account.outstanding:
            d, theirs, _ = self._account.outstanding.pop(key)
            assert mine.tobytes() == d.tobytes(), "the two sides know different differences"
            moved = weight * rate * answer.scale
            assert math.isclose(moved, theirs, rel_tol=1e-12), "the two sides move different weights"
        return squared

    def piece(self, peer, pull, chunk):
        """Remember what was served."""
        piece = self.inner.piece(peer, pull, chunk)
        self.served.setdefault(chunk, []).append(bytes(piece.payload))
        return piece

    def keep(self, peer, piece):
        """As the inner ones do."""
        return self.inner.keep(peer, piece)

    def _weight(self, weight, chunk):
        return self._ownership.weight(weight, self._ownership.ours, chunk)

    def _codec_of(self, offer):
        return named(offer.codec).on(self.inner.replica.layout.matrices(self.inner.replica.span(offer.chunk)))

    def _difference(self, chunk, offered, codec, answered):
        size = self.inner.replica.size(chunk)
        return codec.difference(codec.unpack(offered, size), codec.unpack_answer(answered, size), size)


class Agent:
    """One agent: its node on the network, its replica, and what training has added to it so far, in float64."""

    def __init__(
        self, core: WatchedCore, theta: np.ndarray, account: Account, blocks: Blocks, clip: float = math.inf
    ) -> None:
        me, settings = core.members.me, core.settings
        self.core = core
        self.name = me.agent
        self.weight = me.report.weight
        self.radii = Radii(clip, settings.chunks)
        layout = Layout([("theta", (blocks.size,))], blocks.held(core.ownership.ours))
        self.replica = Replica(theta, layout=layout, moved=self.radii.moved)
        names, trains = choices(settings.codec), core.ownership.trains
        is_open = core.exchanges.is_open
        inner = ReplicaVectors(self.replica, named(names[0]), is_open, radii=self.radii, trains=trains, codecs=names)
        self.vectors = BookedVectors(inner, core, account)
        self.weights = np.zeros(theta.size)
        """What it weighs in each coordinate."""
        for chunk in range(self.replica.chunks):
            self.weights[self.replica.span(chunk)] = core.ownership.weight(self.weight, core.ownership.ours, chunk)
        self.own = self.replica.snapshot()
        """Training's own theta: as it was at the last boundary."""
        self.trained = self.own.astype(np.float64) * (me.state == "joining")
        self.adopted: np.ndarray | None = None
        self.signals: list[ev.Signal] = []
        self.driver = None

    @property
    def theta(self) -> np.ndarray:
        """Where the agent stands, (P,): published and all that came in since."""
        return self.replica.snapshot()

    def of(self, kind: type) -> list:
        """The effects of this kind that the core asked for, in order."""
        return [effect for effect in self.core.done if isinstance(effect, kind)]

    def handle(self, event: ev.Event) -> None:
        """One event, and all that follows from it here and now."""
        self.driver.handle(event)


class MemoryNetwork(Network):
    """Call `add` for each agent, then `run`. Seeded: the same calls give the same history."""

    def __init__(
        self, parameters: int, seed: int = 0, weather: Weather | None = None, blocks: Blocks | None = None, **settings
    ) -> None:
        super().__init__(Clock(), self._weather, lambda message, payload: decode(_copied(encode(message, payload))))
        self.parameters = parameters
        self.blocks = blocks or Blocks.whole(parameters)
        self.seed = seed
        self.weather = weather or Weather()
        self.settings = {**TIMES, **settings}
        self.agents: dict[str, Agent] = {}
        self.account = Account()
        self.sent: list = []
        self._random = random.Random(seed)

    def add_agent(
        self, name, theta, *, alpha=0.5, weight=1.0, nat=False, incarnation=1, topology="complete", state="training",
        may_fail=False, now=None, signing=None, shard="0/1", capacity=1.0, clip=math.inf, **changes,
    ):  # fmt: skip
        """One more agent, that joins through those that are there already. nat: it can't be dialed.

        may_fail: whether it may be refused by the swarm. now: the clock that it reads. signing: its key,
        in a swarm with keys. shard, capacity: as its record has them.
        """
        pinned = f"#{signing.key}" if signing else ""
        address = Address("" if nat else f"tcp://{name}.example:5710{pinned}")
        plan = {"run": "run", "topology": topology, "seed": self.seed, "alpha": alpha, "parameters": self.parameters,
                "chunks": len(self.blocks.of_chunks), "blocks": self.blocks.of_chunks, "join": self.addresses,
                "listening": not nat}  # fmt: skip
        if self.blocks.nested:
            held = self.blocks.held(self.blocks.of_agent(0, capacity))
            plan |= {"chunks": len(held.chunks()), "manifest": Manifest({"submodel": "nested"})}
        settings = CoreSettings(**{**plan, **self.settings, **changes})
        report = Report(weight=weight, shard=shard, capacity=capacity)
        me = Member(Identity(name, incarnation, address), Liveness(state=state), report)
        agent = self.agents[name] = Agent(
            WatchedCore(settings, me, signing), np.asarray(theta, np.float32), self.account, self.blocks, clip
        )

        def signal(effect):
            agent.signals.append(effect)
            assert may_fail or not isinstance(effect, ev.Fatal), effect.text

        first_s = self._random.uniform(0, 0.1)
        agent.driver = self.add(agent.core, agent.vectors, signal, first_s, now).driver
        return agent

    @property
    def now(self) -> float:
        """Virtual time, in seconds."""
        return self.clock.now

    def at(self, when: float, call) -> None:
        """Do something at a moment of the virtual clock."""
        self.clock.at(when, call)

    def run(self, for_s: float, until=lambda: False) -> bool:
        """Let time pass; True as soon as `until` holds, False if it never did."""
        return self.clock.run(for_s, until)

    def due(self, name: str, round: int) -> None:
        """Training reached the boundary of this round."""
        self.agents[name].handle(ev.Due(round))

    def train(self, name: str, delta) -> None:
        """Local steps, then a boundary: theta moves by delta, apart from what the network brought."""
        agent = self.agents[name]
        start = agent.own.astype(np.float64)
        theta = (start + delta).astype(np.float32)
        agent.trained += theta.astype(np.float64) - start
        merged = agent.replica.boundary([theta], lambda: [np.empty_like(theta)])
        agent.own = theta if merged is None else merged[0]

    def adopt(self, name: str) -> None:
        """Let a joiner take a peer's vector, and train from there."""
        agent = self.agents[name]

        def adopted():
            agent.own = agent.adopted = agent.replica.snapshot()
            agent.trained = agent.adopted.astype(np.float64)
            agent.driver.publish(state="training")

        agent.vectors.inner.adopted = adopted
        agent.vectors.inner.adopt()
        agent.handle(ev.Adopt())

    def route(self, name: str, peer: str) -> str | None:
        """What an agent calls its ready connection to another."""
        return self.agents[name].core._route(peer)

    def meet(self) -> None:
        """Run until everybody can reach everybody, in fair weather."""
        names = sorted(self.agents)
        assert self.run(30, for_all(self.agents.values(), lambda agent: living(agent) == names))
        pairs = [(a, b) for a in names for b in names if a != b]
        assert self.run(30, for_all(pairs, lambda pair: self.route(*pair))), "somebody has no connection to somebody"

    def at_rest(self) -> bool:
        """Whether no exchange is open anywhere."""
        return not any(agent.core.exchanges.open_peers for agent in self.agents.values())

    def total(self) -> np.ndarray:
        """sum_i w_i (theta_i - trained_i) and what is outstanding, (P,) float64: the conserved quantity.

        What a joiner starts from, and what it adopts, counts as trained: so whatever is mixed into it before shows.
        """
        total = np.zeros(self.blocks.size)
        for a in self.agents.values():
            total[: a.weights.size] += a.weights * (a.theta.astype(np.float64) - a.trained)
        chunks = self.blocks.scope.chunks()
        for (_, _, chunk), (d, weighted_rate, _) in self.account.outstanding.items():
            total[chunks[chunk]] += weighted_rate * d.astype(np.float64)
        return total

    def _weather(self, sender, receiver, message):
        self.sent.append((sender.name, receiver.name, message))
        w = self.weather
        if {sender.name, receiver.name} in w.cut:
            return
        for _ in range(1 + (self._random.random() < w.doubled)):
            if self._random.random() >= w.lost:
                yield self._random.uniform(0, w.delay_s)


def conserve(network: MemoryNetwork, due, train, rounding: float) -> None:
    """Let agents come to boundaries at these times, and then to rest: the total must stay where training puts it.

    due: (seconds from now, number of the agent, whether it has trained). train: by name. rounding: what is tolerated.
    """
    before, start, n = network.total(), network.now, len(network.agents)

    def boundary(name, round, trains):
        if trains:
            train(name)
        network.due(name, round)
        assert np.abs(network.total() - before).max() < rounding, "not even while exchanges are open"

    for round, (when, who, trains) in enumerate(sorted(due), 1):
        network.at(start + when, lambda name=f"agent-{who % n}", r=round, t=trains: boundary(name, r, t))
    network.run(20.0)
    network.weather = Weather()
    assert network.run(300.0, network.at_rest), "an exchange stays open for ever"
    network.run(2.0)
    assert np.abs(network.total() - before).max() < rounding


def living(agent: Agent) -> list[str]:
    """The names of all that an agent believes alive, itself included."""
    return sorted([agent.name, *(member.agent for member in agent.core.members.others())])


def _copied(frames):
    return [bytes(frame) for frame in frames]
