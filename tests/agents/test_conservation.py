"""Invariant 1 in the live system: over real sockets, with training off, the mean stays and all agree."""

import itertools
from contextlib import ExitStack

import numpy as np
import pytest
from live_swarm import LiveSwarm

from agents.mixing.consensus import consensus_distance

EXCHANGES = 1000


@pytest.mark.parametrize(
    ("parameters", "alpha", "topology", "weights"),
    [
        (1000, 0.5, "ring", [1, 1, 1, 1]),
        (300_000, 0.7, "complete", [1, 1, 1, 1]),
        (1000, 0.5, "complete", [1, 2, 3, 4]),
    ],
)
def test_mean_stays_through_a_thousand_exchanges_while_agents_agree(parameters, alpha, topology, weights):
    thetas = np.random.default_rng(0).normal(size=(4, parameters)).astype(np.float32)
    with ExitStack() as stack:
        swarm = LiveSwarm(stack, thetas, weights, alpha, topology)
        before = swarm.mean
        for round in itertools.count(1):
            swarm.ask(round)
            assert swarm.wait(round, 30), "an exchange on loopback takes milliseconds"
            if swarm.exchanges >= EXCHANGES:
                break
        assert np.linalg.norm(swarm.mean - before) < 1e-6 * np.linalg.norm(before)
        assert consensus_distance(swarm.thetas) < 1e-3 * consensus_distance(thetas.astype(np.float64))
