"""Real cores on a virtual network make the same exchanges as the statistics do, and more."""

import numpy as np
import pytest
from plain import run_blocks

from sim import simulate
from sim.checks import SimulationError
from sim.conditions import Conditions
from sim.sources.exchange import Exchange
from sim.sources.virtual import Virtual, VirtualError
from sim.tape import MIX
from topology import named

ROUNDS = 8.0


def vectors(agents):
    return list(np.random.default_rng(1).normal(size=(agents, 3)))


def exchanges_of(block):
    """(time, initiator, responder) of all: those who close began them."""
    tape = block.tape
    closes = (tape.kind == MIX) & (tape.coefficient > 0)
    return tape.time[closes], np.stack([tape.agent[closes], tape.peer[closes]], axis=1).tolist()


@pytest.mark.parametrize("delay", [0.0, 0.1])
@pytest.mark.parametrize(("topology", "agents"), [("ring", 7), ("torus", 12), ("complete", 6), ("regular:4", 30)])
@pytest.mark.parametrize("seed", [0, 5])
def test_on_a_lossless_network_both_sources_give_the_same_exchanges(topology, agents, seed, delay):
    settings = {"alpha": 0.7, "weights": np.arange(1.0, agents + 1)}
    conditions = Conditions(agents, seed, delay=delay)
    moments = np.array([0.0, 2, 5])
    graph = named(topology, agents, seed)
    drawn = list(Exchange(graph, conditions, **settings).blocks(ROUNDS, moments, ROUNDS))
    driven = list(Virtual(topology, conditions, **settings).blocks(ROUNDS, moments))
    (times, pairs), (expected_times, expected_pairs) = exchanges_of(driven[0]), exchanges_of(drawn[0])
    assert pairs == expected_pairs and len(pairs) > 4 * agents
    np.testing.assert_allclose(times, expected_times)
    for found, expected in zip(run_blocks(driven, vectors(agents)), run_blocks(drawn, vectors(agents)), strict=True):
        np.testing.assert_allclose(found[:agents], expected[:agents], rtol=1e-6)
    assert driven[0].exchanges.tolist() == drawn[0].exchanges.tolist()


def test_the_mean_stays_through_loss_and_churn():
    conditions = Conditions(10, 2, delay=(0.0, 0.6), drop=0.2, online=0.8, session=6.0)
    virtual = Virtual("ring", conditions, local_steps=0)
    (block,) = virtual.blocks(40.0, np.array([]))
    final, _, _ = run_blocks([block], vectors(10))
    assert len(virtual.exchanges) > 60
    answered = sum(block.tape.coefficient < 0)
    assert answered - len(virtual.exchanges) < 8  # Those are on their way: bounded, not accumulating.
    assert np.abs(final - final.mean(0)).max() < np.abs(vectors(10)).max()


def test_the_same_seed_gives_the_same_tape():
    made = [
        next(Virtual("torus", Conditions(9, 3, drop=0.3, delay=(0, 1))).blocks(10.0, np.array([5.0]))) for _ in range(2)
    ]
    for column in ("time", "agent", "peer", "cur", "a", "b", "snapshots"):
        np.testing.assert_array_equal(getattr(made[0].tape, column), getattr(made[1].tape, column))


def test_a_ring_closes_over_one_who_has_gone():
    """Neighbors of the one who is gone exchange with each other once they have noticed."""
    conditions = Conditions(5, 0, joins={2: 1000.0})
    virtual = Virtual("ring", conditions, local_steps=0)
    list(virtual.blocks(60.0, np.array([])))
    pairs = {frozenset(pair[1:]) for pair in virtual.exchanges}
    assert frozenset({1, 3}) in pairs and not any(2 in pair for pair in pairs)


def test_what_cannot_be_driven_is_refused():
    with pytest.raises(VirtualError, match="2 to 200 agents"):
        Virtual("ring", Conditions(1000))
    with pytest.raises(VirtualError, match="2 to 200 agents"):
        simulate("digits", agents=1000, virtual=True)
    with pytest.raises(SimulationError, match="use the protocol 'exchange': got 'push'"):
        simulate("digits", agents=4, virtual=True, protocol="push")


def test_simulate_drives_real_cores_where_asked():
    settings = {"agents": 6, "rounds": 10, "seed": 2, "progress": False, "topology": "ring"}
    drawn, driven = (simulate("digits", virtual=virtual, **settings) for virtual in (False, True))
    np.testing.assert_allclose(driven.theta, drawn.theta, atol=1e-5)
    assert driven.exchanges.tolist() == drawn.exchanges.tolist()
    with pytest.raises(ValueError, match="need a topology by name"):
        simulate("digits", virtual=True, **(settings | {"topology": named("ring", 6)}))
