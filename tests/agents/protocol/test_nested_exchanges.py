"""Agents that hold nested slices exchange what both hold: zero-sum per level, finished exactly, adopted in part."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather, conserve

from agents.mixing.blocks import nested_blocks
from agents.protocol import events as ev
from agents.protocol.finish_plan import plan_of
from agents.protocol.incarnation import Incarnation
from agents.protocol.ownership import Ownership
from transport.messages import Identity, Liveness, Member, Report

ROUNDING = 2e-4
SIZES = {0.25: 3, 0.5: 8, 1.0: 17}
slow = settings(max_examples=12, suppress_health_check=list(HealthCheck))


def swarm(capacities, seed=0, weather=None, **each):
    """Agents of these capacities that know each other, each with a vector of its own length."""
    network = MemoryNetwork(SIZES[1.0], seed, blocks=nested_blocks(list(SIZES.values())))
    random = np.random.default_rng(seed)
    start = random.normal(size=(len(capacities), SIZES[1.0]))
    for i, capacity in enumerate(capacities):
        changes = {name: values[i] for name, values in each.items()}
        network.add_agent(f"agent-{i}", start[i, : SIZES[capacity]], capacity=capacity, **changes)
    network.meet()
    network.weather = weather or Weather()
    return network


def consensus(network):
    """sum_i m_i w_i theta_i / sum_i m_i w_i, coordinate by coordinate, in a loop."""
    found = []
    for k in range(SIZES[1.0]):
        held = [(agent.weight, float(agent.theta[k])) for agent in network.agents.values() if agent.theta.size > k]
        found.append(sum(w * x for w, x in held) / sum(w for w, _ in held) if held else np.nan)
    return np.array(found)


@slow
@given(
    st.lists(st.sampled_from(list(SIZES)), min_size=2, max_size=4),
    st.integers(0, 10_000),
    st.lists(st.sampled_from([1.0, 0.25, 3.0, 100.0]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.9]), min_size=4, max_size=4),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.01, 0.5, 2.0]),
    st.lists(st.tuples(st.floats(0, 12), st.integers(0, 3), st.booleans()), min_size=1, max_size=30),
)
def test_the_mean_of_each_coordinates_holders_survives_any_interleaving(
    capacities, seed, weights, alphas, lost, doubled, delay_s, due
):
    n = len(capacities)
    network = swarm(capacities, seed, Weather(lost, doubled, delay_s), weight=weights, alpha=alphas)
    noise = np.random.default_rng(seed)
    conserve(
        network,
        due,
        lambda name: network.train(name, noise.normal(size=network.agents[name].theta.size)),
        ROUNDING * sum(weights[:n]),
    )


def test_two_exchange_what_both_hold_and_the_larger_one_keeps_the_rest():
    network = swarm([1.0, 0.5])
    before = [agent.theta.copy() for agent in network.agents.values()]
    network.due("agent-0", 1)
    assert network.run(5, network.at_rest)
    large, small = (agent.theta for agent in network.agents.values())
    np.testing.assert_allclose(large[:8], small, atol=1e-6)
    np.testing.assert_allclose(small, (before[0][:8] + before[1]) / 2, atol=1e-6)
    assert large[8:].tolist() == before[0][8:].tolist()


def test_every_other_round_is_among_those_who_hold_all_that_an_agent_holds():
    """On a ring on which no two whole models are neighbors they would never mix what they alone hold."""
    network = swarm([1.0, 0.5, 1.0, 0.25], topology=["ring"] * 4)
    met = {name: [set(agent.core.neighbors(round)) for round in (2, 3)] for name, agent in network.agents.items()}
    assert met["agent-0"] == [{"agent-1", "agent-3"}, {"agent-2"}]
    assert met["agent-1"] == [{"agent-0", "agent-2"}, {"agent-0", "agent-2"}]
    for round in range(1, 60):
        for name in network.agents:
            network.due(name, round)
        network.run(1.0)
    mean = consensus(network)
    for agent in network.agents.values():
        np.testing.assert_allclose(agent.theta, mean[: agent.theta.size], atol=1e-2)


@pytest.mark.parametrize(
    "capacities", [[1.0, 0.5], [0.5, 0.5, 1.0], [1.0, 0.25, 0.5, 1.0, 0.25, 1.0, 0.5], [0.25, 0.5]]
)
def test_the_exact_finish_ends_with_the_consensus_of_all_that_each_holds(capacities):
    weights = [float(weight) for weight in np.random.default_rng(len(capacities)).integers(1, 500, len(capacities))]
    network = swarm(capacities, weight=weights)
    mean = consensus(network)
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())
    assert network.run(60.0, lambda: all(agent.core.finish.complete for agent in network.agents.values()))
    assert all(agent.core.finish.equal for agent in network.agents.values())
    for agent in network.agents.values():
        np.testing.assert_allclose(agent.theta, mean[: agent.theta.size], atol=1e-5)


@given(st.lists(st.tuples(st.sampled_from(list(SIZES)), st.floats(0.01, 1000.0)), min_size=1, max_size=17))
def test_the_rates_of_a_plan_bring_all_who_hold_a_level_to_their_mean(each):
    members = [
        Member(Identity(f"agent-{i:02}", 1), Liveness(), Report(weight=weight, capacity=capacity))
        for i, (capacity, weight) in enumerate(each)
    ]
    ownership = Ownership((0, 1, 2), members[0], lambda agent: None, nested=True)
    plans = [plan_of(members, member.agent, ownership.masses, nested=True) for member in members]
    theta = np.random.default_rng(len(each)).normal(size=(len(each), 3))
    start, masses = theta.copy(), np.array([ownership.masses(member) for member in members])
    for round in range(len(plans[0].meetings)):
        before = theta.copy()
        for i, meeting in enumerate(plan.meetings[round] for plan in plans):
            if meeting is not None:
                rates, partner = np.array(meeting.rates), int(meeting.partner.agent[-2:])
                assert (masses[[i, partner]][:, rates > 0] > 0).all(), "nothing is carried by who doesn't hold it"
                theta[i] += rates * (before[partner] - before[i])
    for level in range(3):
        held = masses[:, level] > 0
        assert theta[~held, level].tolist() == start[~held, level].tolist()
        if held.any():
            mean = np.average(start[held, level], weights=masses[held, level])
            np.testing.assert_allclose(theta[held, level], mean, rtol=1e-6, atol=1e-9)


def test_a_late_joiner_adopts_its_part_of_the_member_that_holds_the_most_of_it():
    network = swarm([0.25, 1.0, 0.5])
    for agent in network.agents.values():
        agent.driver.publish(step=5)
    start = np.arange(8.0)
    joiner = network.add_agent("late", start, capacity=0.5, state="joining")
    network.adopt("late")
    assert network.run(30.0, lambda: joiner.adopted is not None)
    donors = [network.agents[name].theta[:8].tolist() for name in ("agent-1", "agent-2")]
    assert joiner.adopted.tolist() in donors


def test_who_joins_where_only_smaller_slices_are_keeps_its_own_beyond_them():
    network = swarm([0.25, 0.25])
    for agent in network.agents.values():
        agent.driver.publish(step=5)
    joiner = network.add_agent("late", np.arange(17.0), state="joining")
    network.adopt("late")
    assert network.run(30.0, lambda: joiner.adopted is not None)
    assert joiner.adopted[3:].tolist() == np.arange(3.0, 17.0).tolist()
    assert joiner.adopted[:3].tolist() in [agent.theta.tolist() for agent in network.agents.values()][:2]


@pytest.mark.parametrize("capacity", [0.3, 0.125, float("nan"), -1.0])
def test_a_capacity_that_is_none_of_the_runs_holds_nothing(capacity):
    me = Member(Identity("a", 1))
    liar = Member(Identity("b", 1), Liveness(), Report(capacity=capacity))
    ownership = Ownership((0, 1, 2), me, {"a": me, "b": liar}.get, nested=True)
    assert ownership.masses(liar) == (0.0, 0.0, 0.0)
    assert ownership.exchanged(Incarnation.of(liar), 3) is None
