"""The rule "accelerated": agreement in the square root of the rounds, and nothing of the mean is lost."""

import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.boost import boost_on
from agents.joining import shared
from agents.learning.rule_names import UnknownRule
from agents.learning.rules import accelerated, parameters
from agents.settings import Gossiping, Learning
from agents.values import Shard
from sim import simulate, sweep
from sim.checks import SimulationError
from topology import metropolis_hastings, named, ring_rho

RING = 64


def first_below(history, factor: float) -> int:
    """The first moment at which so much of the squared distance is left."""
    left = (history.consensus_distance / history.consensus_distance[0]) ** 2
    return int(np.argmax(left < factor)) if left.min() < factor else len(left)


def agreed(topology: str, agents: int, rounds: int, **how):
    return simulate(
        "digits", agents=agents, topology=topology, rounds=rounds, local_steps=0, eval_every=1, progress=False, **how
    )


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
def test_a_ring_of_64_agrees_in_a_third_of_the_exchanges(protocol: str) -> None:
    plain = agreed("ring", RING, 560, protocol=protocol)
    faster = agreed("ring", RING, 150, protocol=protocol, rule="accelerated")
    slow, fast = first_below(plain, 1e-3), first_below(faster, 1e-3)
    assert faster.exchanges[fast] <= 0.35 * plain.exchanges[slow]
    assert faster.consensus_distance[-1] < 0.02 * faster.consensus_distance[0]
    assert faster.mean_drift[-1] < 0.1


@pytest.mark.parametrize("trouble", [{"drop": 0.2}, {"delay": 0.5}, {"online": 0.8}, {"clock": "poisson"}], ids=str)
def test_what_is_lost_or_late_does_not_drive_agents_apart(trouble) -> None:
    history = agreed("torus", 36, 150, rule="accelerated", **trouble)
    assert history.consensus_distance[-1] < 1e-4 * history.consensus_distance[0]


@given(
    boosts=st.floats(1, 20),
    weights=st.lists(st.floats(0.1, 10), min_size=2, max_size=6),
    moves=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.floats(-1, 1)), max_size=20),
)
def test_no_exchange_moves_the_mean_of_theta_with_half_its_momentum(boosts, weights, moves) -> None:
    rule, n = accelerated(boosts), len(weights)
    optimizer = rule.around(optax.with_extra_args_support(optax.sgd(0.1)))
    theta = [np.float32(i) for i in range(n)]
    states = [optimizer.init(value) for value in theta]

    def total() -> float:
        return sum(
            w * (2 * float(x) + float(s.momentum)) for w, x, s in zip(weights, theta, states, strict=True)
        )  # The sum over agents.

    before, size = total(), 1.0
    for i, j, d in moves:
        i, j = i % n, j % n
        for k, by in ((i, d / weights[i]), (j, -d / weights[j])) if i != j else ():
            states[k], theta[k] = rule.exchanged(states[k], theta[k], np.float32(theta[k] + by))
            size += abs(by) * weights[k] * boosts
    assert total() == pytest.approx(before, abs=1e-5 * (size + sum(w * n for w in weights)))


def test_with_a_boost_of_one_it_is_the_rule_of_parameters() -> None:
    one, other = (
        simulate("digits", agents=4, rounds=6, eval_every=3, progress=False, rule=rule)
        for rule in (accelerated(1.0), parameters)
    )
    assert np.array_equal(one.theta, other.theta)


def test_it_is_the_iteration_of_two_registers_that_it_says() -> None:
    """A second way to write it, slowly: z = theta + u, and both flow into each other."""
    W, c, rounds = metropolis_hastings(named("ring", 8), dense=True), 2.5, 12
    init = np.random.default_rng(0).normal(size=(8, 4810)).astype(np.float32)
    history = agreed("ring", 8, rounds, protocol="synchronous", rule=accelerated(c), init=init)
    w = (1 - np.exp(-1 / (2 * c))) / 2
    x = init.astype(float)
    z = x.copy()
    for _ in range(rounds):
        if _:
            flow = w * (z - x)
            x, z = x + flow, z - flow
        d = W @ x - x
        x, z = x + d, z + c * d
    assert np.allclose(history.theta, x, atol=1e-5)


def test_the_boost_follows_from_the_graph_and_all_agents_share_it() -> None:
    graph = named("ring", RING)
    assert boost_on([graph], 0.5, "float32", "none") == pytest.approx(0.85 / np.sqrt(1 - np.cos(2 * np.pi / RING)))
    synchronous = boost_on([graph], 0.5, "float32", "none", synchronous=True)
    assert synchronous == pytest.approx(0.85 / np.sqrt(1 - ring_rho(RING)))
    assert boost_on([named("complete", 8)], 0.5, "float32", "none") == 1.0
    learning, gossiping = Learning(seed=3), Gossiping(rule="accelerated", topology="regular:4")
    found = shared(learning, gossiping, Shard(0, 16))["rule"]
    assert found == f"accelerated:{boost_on([named('regular:4', 16, 3)], 0.5, 'float32', 'none'):.4g}"


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"topology": "base:2"}, "needs an undirected topology that is the same in each round"),
        ({"topology": "exponential"}, "needs an undirected topology that is the same in each round"),
        ({"codec": "lattice:4"}, "needs the codec float32: with 'lattice:4' agents would diverge"),
        ({"submodel": "width:2"}, "leave out submodel 'width:2'"),
    ],
)
def test_where_it_would_drive_agents_apart_it_is_refused_before_anything_starts(how, text) -> None:
    for rule in ("accelerated", "accelerated:2"):
        with pytest.raises(UnknownRule, match=text):
            shared(Learning(), Gossiping(rule=rule, **how), Shard(0, 8))
        with pytest.raises(UnknownRule, match=text):
            simulate("digits", agents=8, rounds=1, rule=rule, progress=False, **how)
    with pytest.raises(SimulationError, match="for the protocols 'exchange' and 'synchronous': got 'push'"):
        simulate("digits", agents=8, rounds=1, rule="accelerated", protocol="push", progress=False)


def test_each_seed_of_a_sweep_has_the_boost_of_its_own_graph() -> None:
    settings = {"agents": 12, "rounds": 4, "topology": "regular:3", "local_steps": 0, "rule": "accelerated"}
    found = sweep("digits", seeds=[2, 0, 1], progress=False, **settings)
    assert list(found) == [(2,), (0,), (1,)]
    assert len({boost_on([named("regular:3", 12, seed)], 0.5, "float32", "none") for seed in range(3)}) > 1
    for (seed,), history in found.items():
        alone = simulate("digits", seed=seed, progress=False, **settings)
        np.testing.assert_allclose(history.theta, alone.theta, atol=1e-5)
