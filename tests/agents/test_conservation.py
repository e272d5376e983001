"""Invariant 1 in the live system: over real sockets, with training off, the mean stays and all agree."""

import contextlib
import itertools

import numpy as np
import pytest

from agents.mixing.codecs import FLOAT32
from agents.mixing.consensus import consensus_distance
from agents.mixing.replica import Replica
from agents.network import Network
from agents.protocol.core import GossipCore
from agents.protocol.settings import CoreSettings
from agents.vectors import ReplicaVectors
from transport.link import Link
from transport.messages import Identity, Liveness, Member, Report

EXCHANGES = 1000


@pytest.fixture
def swarm():
    """Starts agents without a learner, each with a network thread and sockets of its own; stops them at the end."""
    with contextlib.ExitStack() as stack:

        def start(thetas, alpha, topology, weights):
            networks, replicas = [], []
            for index, theta in enumerate(thetas):
                join = (networks[0].view().me.address,) if networks else ()
                replicas.append(Replica(theta))
                settings = CoreSettings("conservation", topology, 0, alpha, theta.size, replicas[-1].chunks, join=join)
                link = Link("tcp://127.0.0.1:0")
                me = Member(
                    Identity(f"agent-{index}", 1, link.address),
                    Liveness(state="training"),
                    Report(weight=weights[index]),
                )
                core = GossipCore(settings, me)
                vectors = ReplicaVectors(replicas[-1], FLOAT32, core.exchanges.is_open)
                networks.append(Network(core, vectors, link))
                networks[-1].start()
                stack.callback(networks[-1].stop)
            for network in networks:
                assert network.wait_until(lambda view: len(view.others) == len(thetas) - 1, 30)
            return networks, replicas

        yield start


@pytest.mark.parametrize(
    ("parameters", "alpha", "topology", "weights"),
    [
        (1000, 0.5, "ring", [1, 1, 1, 1]),
        (300_000, 0.7, "complete", [1, 1, 1, 1]),
        (1000, 0.5, "complete", [1, 2, 3, 4]),
    ],
)
def test_mean_stays_through_a_thousand_exchanges_while_agents_agree(swarm, parameters, alpha, topology, weights):
    thetas = np.random.default_rng(0).normal(size=(4, parameters)).astype(np.float32)
    networks, replicas = swarm(thetas, alpha, topology, [float(weight) for weight in weights])
    for round in itertools.count(1):  # Offers that cross are mixed once, so some rounds are another's exchange.
        for network in networks:
            network.ask(round)
        for network in networks:
            assert network.wait(round, 30), "an exchange on loopback takes milliseconds"
        begun = sum(network.view().me.report.exchanges for network in networks) / 2  # counted on both sides
        if begun >= EXCHANGES:
            break
    after = np.stack([np.concatenate([replica.read(k) for k in range(replica.chunks)]) for replica in replicas])
    share = np.array(weights)[:, None] / np.sum(weights)
    before_mean, after_mean = ((share * x.astype(np.float64)).sum(axis=0) for x in (thetas, after))
    assert np.linalg.norm(after_mean - before_mean) < 1e-6 * np.linalg.norm(before_mean)
    assert consensus_distance(after.astype(np.float64)) < 1e-3 * consensus_distance(thetas.astype(np.float64))
