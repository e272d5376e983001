"""Forecasts against closed forms, published values, brute force and sampled runs."""

from math import inf, log

import numpy as np
import pytest

from topology import (
    TopologyError,
    contraction_per_exchange,
    erdos_renyi,
    exponential,
    from_edges,
    metropolis_hastings,
    named,
    one_peer_exponential,
    random_regular,
    ring,
    rounds_to,
    star,
    torus,
)
from topology.forecasting import Forecast, forecast


def pair(n, i, j, alpha):
    W = np.eye(n)
    W[[i, j], [i, j]] = alpha
    W[[i, j], [j, i]] = 1 - alpha
    return W


def by_brute_force(network, alpha, rounds):
    """tr E[W C W'] exchange by exchange, all pairs written out: (rounds + 1,)."""
    n = network.n
    C = (np.eye(n) - 1 / n) / (n - 1)
    left = [1.0]
    for r in range(rounds):
        neighbors_of = [network.neighbors(i, r) for i in range(n)]
        chances = [(pair(n, i, j, alpha), 1 / (n * len(neighbors_of[i]))) for i in range(n) for j in neighbors_of[i]]
        chances.append((np.eye(n), sum(len(each) == 0 for each in neighbors_of) / n))
        for _ in range(n):
            C = sum(chance * W @ C @ W.T for W, chance in chances)
        left.append(np.trace(C))
    return np.array(left)


NETWORKS = [
    ring(7),
    ring(8),
    torus(3, 3),
    star(6),
    exponential(6),
    random_regular(10, 3),
    erdos_renyi(9, 0.4, seed=3),
    one_peer_exponential(6),
    named("base:3", 9),
    named("complete", 5),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: f"{type(network).__name__}{network.n}")
@pytest.mark.parametrize("alpha", [0.5, 0.8])
def test_exchanges_are_forecast_exactly(network, alpha):
    found = forecast(network, network.n, alpha)
    np.testing.assert_allclose(found.squared_distance(np.arange(6)), by_brute_force(network, alpha, 5), rtol=1e-7)
    assert not found.bound


@pytest.mark.parametrize("network", [torus(4, 4), ring(9), exponential(7), named("matching", 8), named("base:3", 7)])
def test_synchronous_rounds_are_forecast_exactly(network):
    """From independent vectors: ||W_r ... W_1 - J||_F^2 / (n - 1)."""
    n, product, left = network.n, np.eye(network.n), [1.0]
    for r in range(8):
        W = network[r] if hasattr(network, "graphs") else metropolis_hastings(network)
        product = W @ product
        left.append(((product - 1 / n) ** 2).sum() / (n - 1))
    found = forecast(network, n, protocol="synchronous").squared_distance(np.arange(9))
    np.testing.assert_allclose(found, left, rtol=1e-9, atol=1e-24)


@pytest.mark.parametrize("network", [torus(4, 4), star(9), exponential(8)])
def test_the_mean_of_sampled_runs_follows_the_forecast(network):
    rng = np.random.default_rng(0)
    n, copies = network.n, 1500
    X = rng.standard_normal((copies, n, 4))
    at, rounds = np.arange(copies), 3
    neighbors_of = [network.neighbors(i) for i in range(n)]
    start = X.var(axis=1).sum()
    for _ in range(rounds * n):
        i = rng.integers(n, size=copies)
        j = np.array([rng.choice(neighbors_of[k]) for k in i])
        X[at, i] = X[at, j] = (X[at, i] + X[at, j]) / 2
    assert X.var(axis=1).sum() / start == pytest.approx(forecast(network, n).squared_distance(rounds), rel=0.06)


@pytest.mark.parametrize("n", [2, 5, 16, 600])
def test_complete_graph_has_its_closed_form(n):
    """docs/theory.md 5: 1 - 4 a (1 - a) / (n - 1) an exchange; exact, so no bound."""
    found = forecast("complete", n, 0.3)
    assert found.per_exchange == pytest.approx(1 - 4 * 0.3 * 0.7 / (n - 1), abs=1e-9)
    assert found.squared_distance(3) == pytest.approx(found.per_exchange ** (3 * n), rel=1e-5)
    assert not found.bound


@pytest.mark.parametrize("network", [ring(5), torus(4, 4), random_regular(12, 3), ring(700)])
@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_per_exchange_is_the_contraction_on_regular_graphs(network, alpha):
    found = forecast(network, network.n, alpha)
    assert 1 - found.per_exchange == pytest.approx(1 - contraction_per_exchange(network, alpha), rel=1e-4, abs=1e-12)
    assert found.factor <= found.per_exchange**network.n * (1 + 1e-9), "the bound holds for the rate of many"


@pytest.mark.parametrize("network", [star(6), exponential(6), erdos_renyi(9, 0.4, seed=3)])
def test_per_exchange_is_the_slowest_direction_on_any_graph(network):
    n, alpha = network.n, 0.7
    mean = sum(
        np.linalg.matrix_power(pair(n, i, j, alpha), 2) / (n * len(network.neighbors(i)))
        for i in range(n)
        for j in network.neighbors(i)
    )
    slowest = np.linalg.eigvalsh(mean - 1 / n)[-1]
    assert forecast(network, n, alpha).per_exchange == pytest.approx(slowest, abs=1e-12)


@pytest.mark.parametrize(("name", "value"), [("ring", 0.94925), ("torus", 0.60), ("exponential", 0.60)])
def test_synchronous_rho_is_the_published_one(name, value):
    """docs/theory.md 1, n = 16; in the long run every round leaves rho^2."""
    found = forecast(name, 16, protocol="synchronous")
    assert found.rho == pytest.approx(value, abs=6e-6)
    late = found.squared_distance([30, 31])
    assert late[1] / late[0] == pytest.approx(found.rho**2, rel=0.02)
    assert found.rounds <= np.ceil(rounds_to(1e-3, found.rho)), "the slowest direction alone takes longest"


@pytest.mark.parametrize(
    ("name", "n", "rounds"),
    [
        *[("one-peer-exponential", 2**k, k) for k in (1, 3, 4, 6, 10)],
        *[("base:2", n, rounds) for n, rounds in [(5, 5), (6, 4), (10, 6), (16, 4), (64, 6)]],
        *[("base:5", n, rounds) for n, rounds in [(5, 1), (6, 2), (10, 2), (64, 3)]],
        ("complete", 16, 1),
        ("complete", 600, 1),
        ("base:2", 1000, 16),
    ],
)
def test_finite_time_consensus_is_seen(name, n, rounds):
    """docs/theory.md 3."""
    found = forecast(name, n, protocol="synchronous", epsilon=1e-9)
    assert found.exact == found.rounds == rounds
    np.testing.assert_array_equal(found.squared_distance([rounds, rounds + 1, 1000]), 0)
    assert f"all equal after {rounds}" in str(found)


@pytest.mark.parametrize(("name", "n"), [("one-peer-exponential", 10), ("matching", 16), ("torus", 16), ("ring", 4)])
def test_what_only_gets_close_is_not_called_exact(name, n):
    found = forecast(name, n, protocol="synchronous")
    assert found.exact is None
    assert 0 < found.factor < 1


def test_a_schedule_goes_on_at_its_own_rate():
    """One-peer exponential with n = 10: per period the second eigenvalue of the product, squared."""
    schedule = one_peer_exponential(10)
    product = np.eye(10)
    for W in schedule:
        product = W @ product
    second = np.sort(np.abs(np.linalg.eigvals(product)))[-2]
    found = forecast(schedule, 10, protocol="synchronous")
    assert found.factor ** len(schedule) == pytest.approx(second**2, rel=0.01)


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
@pytest.mark.parametrize("name", ["ring", "torus", "star", "one-peer-exponential"])
def test_rounds_are_the_first_that_reach_epsilon(name, protocol):
    found = forecast(name, 12, protocol=protocol)
    assert found.squared_distance(found.rounds) <= found.epsilon < found.squared_distance(found.rounds - 1)


def test_large_graphs_have_a_bound():
    found = forecast("torus", 900, protocol="synchronous")
    assert found.bound and str(found).startswith("torus, 900 agents, synchronous: at most")
    assert found.rounds == pytest.approx(rounds_to(1e-3, found.rho), abs=1)
    exact, bound = forecast("torus", 484), forecast("torus", 529)
    assert bound.bound and not exact.bound
    assert bound.squared_distance(20) > exact.squared_distance(20)


def test_far_beyond_its_curve_it_goes_on_falling():
    found = forecast("ring", 200, protocol="synchronous")
    assert found.rounds < len(found.curve) < 20_000
    late = found.squared_distance([19_000, 20_000])
    assert log(late[1] / late[0]) == pytest.approx(2000 * log(found.rho), rel=1e-6)


def test_a_forecast_reads_well():
    found = forecast("torus", 16)
    assert isinstance(found, Forecast)
    assert str(found) == (
        "torus, 16 agents, exchange, alpha 0.5: 8 rounds (128 exchanges) "
        "to bring the squared consensus distance to 0.001 of what it was"
    )
    assert found.exchanges == 128
    assert str(forecast("torus", 16, protocol="synchronous")).endswith("spectral gap 0.4")
    assert found.squared_distance(np.ones((2, 3))).shape == (2, 3)


UNEVEN = np.array([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.2, 0.2, 0.6]])


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
def test_it_takes_the_topologies_and_the_numbers_that_simulate_takes(protocol):
    graph = torus(3, 4)
    for topology in (graph, graph.to_networkx(), metropolis_hastings(graph), metropolis_hastings(graph, dense=True)):
        for agents, alpha in ((12, 0.25), (np.int64(12), np.float32(0.25))):
            found = forecast(topology, agents, alpha, protocol=protocol)
            np.testing.assert_allclose(
                found.curve[:20], forecast("torus", 12, 0.25, protocol=protocol).curve[:20], 1e-6
            )
            assert (type(found.agents), type(found.alpha), found.agents) == (int, float, 12)
    assert forecast(UNEVEN, 3, protocol="synchronous").rho == pytest.approx(0.4)


def test_without_mixing_nobody_agrees():
    for alpha in (0, 1):
        for topology in ("ring", "one-peer-exponential"):
            found = forecast(topology, 8, alpha)
            assert found.rounds == inf and "never agree" in str(found)
            np.testing.assert_allclose(found.squared_distance([1, 50]), 1)


def test_one_agent_agrees_with_itself():
    found = forecast("ring", 1)
    assert (found.rounds, found.exact, found.squared_distance(5)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: forecast("rnig", 8), TopologyError, "unknown topology 'rnig'"),
        (lambda: forecast("hypercube", 12), TopologyError, "got n=12"),
        (lambda: forecast(ring(8), 9), TopologyError, "the topology's nodes, 8: got 9"),
        (lambda: forecast(from_edges(4, [(0, 1), (2, 3)]), 4), TopologyError, "graph falls into 2 parts"),
        (lambda: forecast("ring", 8, 1.5), ValueError, "alpha lies in 0 .. 1: got 1.5"),
        (lambda: forecast("ring", 8, epsilon=0), ValueError, "0 excluded: got 0"),
        (lambda: forecast("ring", 8, protocol="push"), ValueError, "exchange or synchronous: got 'push'"),
        (lambda: forecast("base:2", 501), ValueError, "goes up to 500 agents: got 501"),
        (lambda: forecast("ring", 8, "half"), TopologyError, "alpha lies in 0 .. 1: got 'half'"),
        (lambda: forecast("ring", 8, epsilon=None), TopologyError, "0 excluded: got None"),
        (lambda: forecast("ring", 8.0), TopologyError, "a whole number agents >= 1: got agents=8.0"),
        (lambda: forecast(["ring"], 8), TopologyError, "a topology is a name .*: got list"),
        (lambda: forecast(np.eye(4) / 2 + np.roll(np.eye(4), 1, 0) / 2, 4, 1.5), TopologyError, "alpha lies in 0 .. 1"),
        (lambda: forecast(UNEVEN, 3), TopologyError, "each neighbor in a row of W is equally likely"),
    ],
)
def test_bad_arguments_say_what_was_expected_and_what_came(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


@pytest.mark.parametrize(("n", "alpha"), [(8, 0.5), (7, 0.5), (8, 0.3)])
def test_of_two_that_a_schedule_pairs_one_begins_and_that_is_the_round(n, alpha):
    """All exchanges of two periods, one after the other, each pair once, on unit vectors."""
    schedule = named("base:2", n)
    X, left = np.eye(n) - 1 / n, [1.0]
    for r in range(2 * len(schedule)):
        for i in range(n):
            for j in schedule.begins_with(i, r):
                X = pair(n, i, j, alpha) @ X
        left.append(float((X**2).sum()) / (n - 1))
    found = forecast(schedule, n, alpha)
    np.testing.assert_allclose(found.squared_distance(np.arange(len(left))), left, atol=1e-9)
    exchanges = sum(len(schedule.begins_with(i, r)) for r in range(len(schedule)) for i in range(n))
    assert found.begun == pytest.approx(exchanges / n / len(schedule))
    assert found.exchanges == found.rounds * n * found.begun
    if (n, alpha) == (8, 0.5):
        assert found.exact == 3 and found.exchanges == 12
