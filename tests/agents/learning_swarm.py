"""Agents that really train, on the virtual network: learners, replicas and cores as they are, time as it is told.

`Liar` says what one of them does otherwise. It is trusted, and takes part in everything: nobody but its neighbors'
arithmetic keeps it from ruining their models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import jax
import numpy as np

from agents.learning.data import batch_rows, load_rows, samples, shard_rows
from agents.learning.learner import Learner, make_learner
from agents.learning.step import TrainState
from agents.learning.task import Task
from agents.mixing.clipping import Radii
from agents.mixing.codecs import FLOAT32
from agents.mixing.consensus import consensus_distance
from agents.mixing.layout import Layout
from agents.mixing.replica import Replica
from agents.prepare import task_of
from agents.protocol import events as ev
from agents.protocol.core import GossipCore
from agents.protocol.settings import CoreSettings
from agents.protocol.virtual import Clock, Network, Node
from agents.settings import CLIP, Learning
from agents.vectors import ReplicaVectors
from transport.messages import Address, AgentId, Identity, Liveness, Member, Report
from transport.wire import decode, encode

PERIOD_S = 0.2
"""Of virtual time, between two boundaries."""

Lie = Callable[[np.ndarray], np.ndarray]
"""theta (n,) -> what the liar sends in its place."""


@dataclass(frozen=True)
class Liar:
    """What a trusted agent does otherwise. lie: what it sends. labels: those it trains on, given the true ones.

    faster: how many exchanges it begins while others begin one. weight: that it declares, None for the true one.
    """

    lie: Lie = np.positive
    labels: Callable[[np.ndarray], np.ndarray] = np.positive
    faster: int = 1
    weight: float | None = None


@cache
def learned(steps: int) -> tuple[Task, Learner, dict[str, np.ndarray]]:
    """The digits, their learner and the training data. All agents share them, so that it compiles once."""
    learning = Learning(task="digits", steps=steps)
    task = task_of(learning)
    return task, make_learner(task, total_steps=steps), load_rows(task.train_data, np.arange(samples(task.train_data)))


class LyingVectors(ReplicaVectors):
    """Sends lies in place of its vector, and applies what comes of that as if it had not."""

    lie: Lie

    def offer(self, peer, offer):
        """Of what it isn't."""
        made = super().offer(peer, offer)
        return replace(made, radius=0.0, payload=self.lie(self.replica.read(offer.chunk)).astype("<f4").tobytes())

    def apply_offer(self, peer, offer, answer, rate):
        """With the difference to what it isn't."""
        theta = self.lie(self.replica.read(offer.chunk)).astype("<f4")
        offered = np.frombuffer(offer.payload, "<f4")
        with np.errstate(all="ignore"):
            d = theta - offered
            norm = float(np.linalg.norm(d))
        scale = min(1.0, offer.radius / norm) if offer.radius and math.isfinite(norm) and norm else 1.0
        return replace(answer, scale=scale, payload=d.tobytes()), 0.0

    def apply_answer(self, peer, answer, rate):
        """Takes nothing in."""
        return 0.0


class LearningAgent:
    """One agent: its training state, its replica and its node on the network."""

    def __init__(self, swarm: "LearningSwarm", number: int, liar: Liar | None) -> None:
        self.swarm, self.number, self.liar = swarm, number, liar
        self.name = AgentId(f"{number:02}")
        self.task, self.learner, data = learned(swarm.steps)
        self.rows = shard_rows(swarm.partition, data["y"], swarm.size, number, swarm.seed)
        self.data = jax.device_put(data if liar is None else data | {"y": liar.labels(data["y"])})
        learner = self.learner
        self.state: TrainState = learner.init(0)
        theta = np.array(learner.flatten(self.state.params))
        layout = Layout.flat(theta.size)
        weight = float(len(self.rows)) if liar is None or liar.weight is None else liar.weight
        address = Address(f"tcp://{self.name}.example:5710")
        settings = CoreSettings(
            run="run", topology=swarm.topology, seed=0, alpha=0.5, parameters=theta.size, chunks=len(layout.chunks),
            join=swarm.network.addresses[:1],
        )  # fmt: skip
        me = Member(Identity(self.name, 1, address), Liveness(state="training"), Report(weight=weight))
        core = GossipCore(settings, me)
        self.radii = Radii(swarm.clip if liar is None else math.inf, len(layout.chunks))
        self.replica = Replica(theta, layout=layout, moved=self.radii.moved)
        kind = ReplicaVectors if liar is None or liar.lie is np.positive else LyingVectors
        vectors = kind(self.replica, FLOAT32, core.exchanges.is_open, radii=self.radii)
        if isinstance(vectors, LyingVectors):
            vectors.lie = liar.lie
        self.signals: list[ev.Signal] = []
        self.node: Node = swarm.network.add(core, vectors, self.signals.append, 0.01 * number)
        self.step = self.round = 0

    @property
    def theta(self) -> np.ndarray:
        """Where it stands, (P,)."""
        return self.replica.snapshot()

    def train(self, steps: int) -> None:
        """Local steps, and a boundary."""
        learner = self.learner
        if steps:
            batches = batch_rows(0, self.number, self.step, steps, self.task.batch_size, len(self.rows))
            rows = self.rows[batches].astype(np.int32)
            self.state, _ = learner.train(self.state, self.data, rows, *map(np.int32, (self.number, self.step)))
            self.step += steps
        theta = np.array(learner.flatten(self.state.params))
        merged = self.replica.boundary([theta], lambda: [np.empty_like(theta)])
        if merged is not None:
            self.state = learner.replace(self.state, merged[0])

    def offer(self) -> None:
        """Begin an exchange."""
        self.round += 1
        self.node.driver.handle(ev.Due(self.round))


class LearningSwarm:
    """Train `steps` local steps each, an exchange every `every`. liars: by number."""

    def __init__(
        self, agents=8, *, partition="iid", steps=200, every=1, topology="ring", clip=CLIP, liars=None, seed=0
    ):
        self.clock = Clock()
        self.cut: set[AgentId] = set()
        """Agents that are cut off from all that aren't in it."""
        self.network = Network(self.clock, self._carry, _through)
        self.partition, self.size, self.steps, self.every = partition, agents, steps, every
        self.topology, self.clip, self.seed = topology, clip, seed
        liars = liars or {}
        self.agents = [LearningAgent(self, number, liars.get(number)) for number in range(agents)]
        self.honest = [agent for agent in self.agents if agent.liar is None]
        self.clock.run(5.0)

    def _carry(self, sender, receiver, message):
        return () if (sender.name in self.cut) != (receiver.name in self.cut) else (0.001,)

    def distance(self) -> float:
        """The consensus distance of the honest."""
        return float(consensus_distance(np.stack([agent.theta for agent in self.honest])))

    def train(self) -> None:
        """All take all their steps, side by side."""
        began_s = self.clock.now
        for period in range(self.steps // self.every):
            for agent in self.agents:
                at = began_s + PERIOD_S * (period + (agent.number + 0.5) / (self.size + 1))
                self.clock.at(at, partial(self._boundary, agent))
                if agent.liar is not None:
                    for k in range(1, agent.liar.faster):
                        self.clock.at(at + PERIOD_S * k / agent.liar.faster, agent.offer)
        self.clock.run(PERIOD_S * (self.steps // self.every + 1))

    def finish(self, for_s: float = 10.0) -> bool:
        """The exact finish; whether it was complete."""
        for agent in self.agents:
            agent.train(0)
            agent.node.driver.publish(state="settling")
            agent.node.driver.handle(ev.FinishExactly())
        return self.clock.run(for_s, lambda: all(a.node.core.finish.complete for a in self.honest))

    def leave_out(self, number: int) -> None:
        """An agent is gone before training begins."""
        agent = self.agents.pop(number)
        self.honest.remove(agent)
        self.network.isolate(agent.name)
        assert self.clock.run(30, lambda: all(a.node.core.members.gone() for a in self.agents))

    def _boundary(self, agent: LearningAgent) -> None:
        agent.train(self.every)
        agent.offer()

    def merged(self) -> np.ndarray:
        """The weighted mean of the honest, (P,)."""
        weights = [len(agent.rows) for agent in self.honest]
        return np.average([agent.theta for agent in self.honest], axis=0, weights=weights).astype(np.float32)

    def accuracy(self, theta: np.ndarray | None = None) -> float:
        """Of the merged model, or of another, on the test data."""
        task, learner, _ = learned(self.steps)
        theta = self.merged() if theta is None else theta
        test = {name: np.asarray(rows[:]) for name, rows in task.test_data.items()}
        return learner.evaluate(learner.unflatten(theta), test)["accuracy"]


def _through(message, payload):
    return decode([bytes(frame) for frame in encode(message, payload)])
