"""Agents that train a block of the model each: per block zero-sum, followed by the others, finished exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather, conserve

from agents.facts import first_record
from agents.mixing.blocks import blocks_of
from agents.mixing.layout import Layout
from agents.protocol import events as ev
from agents.protocol.finish_plan import plan_of
from agents.protocol.ownership import Ownership
from agents.values import Shard
from transport.messages import Identity, Liveness, Member, Report

ROUNDING = 2e-4
SIZES = (5, 4, 8)
LAYOUT = Layout([(f"layer-{k}", (size,)) for k, size in enumerate(SIZES)] + [("own", (2,))])
slow = settings(max_examples=25, suppress_health_check=list(HealthCheck))


def swarm(n, count, seed=0, weather=None, spread=1.0, **each):
    """n agents that know each other; with spread 0 they start from one vector."""
    blocks = blocks_of(LAYOUT, ["own"], count)
    network = MemoryNetwork(LAYOUT.size, seed, blocks=blocks)
    random = np.random.default_rng(seed)
    start = random.normal(size=LAYOUT.size) + spread * random.normal(size=(n, LAYOUT.size))
    for i in range(n):
        changes = {name: values[i] for name, values in each.items()}
        network.add_agent(f"agent-{i}", start[i], shard=f"{i}/{n}", **changes)
    network.meet()
    network.weather = weather or Weather()
    return network


def theta_of(network):
    return np.array([agent.theta for agent in network.agents.values()], np.float64)


def consensus(network):
    """sum_i m_i w_i theta_i / sum_i m_i w_i, by its definition."""
    weights = np.array([agent.weights for agent in network.agents.values()])
    total = weights.sum(0)
    return (weights * theta_of(network)).sum(0)[total > 0] / total[total > 0], total > 0


def train(network, name, delta):
    """What an agent trains of its model: its block, and what is its own."""
    agent = network.agents[name]
    network.train(name, np.where(agent.weights > 0, delta, 0.0))


@slow
@given(
    st.integers(2, 4),
    st.integers(1, 3),
    st.integers(0, 10_000),
    st.lists(st.sampled_from([1.0, 0.25, 3.0, 100.0]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.9]), min_size=4, max_size=4),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.01, 0.5, 2.0]),
    st.lists(st.tuples(st.floats(0, 12), st.integers(0, 3), st.booleans()), min_size=1, max_size=40),
)
def test_the_mean_of_each_block_survives_any_interleaving(n, count, seed, weights, alphas, lost, doubled, delay_s, due):
    count = min(count, n)
    network = swarm(n, count, seed, Weather(lost, doubled, delay_s), weight=weights, alpha=alphas)
    noise = np.random.default_rng(seed)
    own = {name: agent.theta[-2:].tolist() for name, agent in network.agents.items()}
    conserve(
        network, due, lambda name: train(network, name, noise.normal(size=LAYOUT.size)), ROUNDING * sum(weights[:n])
    )
    assert {name: agent.theta[-2:].tolist() for name, agent in network.agents.items()} == own, "none of it is sent"


def test_who_follows_takes_over_what_the_owner_holds_and_moves_it_by_nothing():
    network = swarm(2, 2)
    before = theta_of(network)
    network.due("agent-0", 1)
    assert network.run(5, network.at_rest)
    after = theta_of(network)
    first = slice(*network.blocks.scopes[0].ranges[0])
    second = slice(*network.blocks.scopes[1].ranges[0])
    assert (
        after[0, first].tolist() == before[0, first].tolist()
        and after[1, second].tolist() == before[1, second].tolist()
    )
    np.testing.assert_allclose(after[1, first], before[0, first], atol=1e-6)
    np.testing.assert_allclose(after[0, second], before[1, second], atol=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.5, 0.8])
def test_followers_spread_what_owners_hold_to_those_who_meet_no_owner(alpha):
    """On a ring on which no two that train the same are neighbors, and whatever alpha is."""
    n = 6
    network = swarm(n, 3, topology=["ring"] * n, alpha=[alpha] * n)
    for round in range(1, 60):
        for name in network.agents:
            network.due(name, round)
        network.run(1.0)
    assert network.run(60, network.at_rest)
    mean, held = consensus(network)
    np.testing.assert_allclose(theta_of(network)[:, held], np.tile(mean, (n, 1)), atol=2e-2)


def ask(network):
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())


@pytest.mark.parametrize(("size", "count"), [(2, 2), (3, 2), (4, 2), (5, 3), (8, 3)])
def test_the_exact_finish_ends_with_the_consensus_of_each_block_in_all(size, count):
    weights = [float(weight) for weight in np.random.default_rng(size).integers(1, 500, size)]
    network = swarm(size, count, weight=weights)
    mean, held = consensus(network)
    ask(network)
    assert network.run(60.0, lambda: all(agent.core.finish.complete for agent in network.agents.values()))
    assert all(agent.core.finish.equal for agent in network.agents.values())
    np.testing.assert_allclose(theta_of(network)[:, held], np.tile(mean, (size, 1)), atol=1e-5)


@pytest.mark.parametrize("after_s", [0.02, 0.05, 0.1])
def test_a_pass_that_is_begun_again_goes_on_from_what_vectors_weigh_by_then(after_s):
    """One of seven dies in the middle; of its block there are others."""
    network = swarm(7, 2, weight=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    ask(network)
    network.at(network.now + after_s, lambda: network.remove("agent-6") or network.agents.pop("agent-6"))
    assert network.run(120.0, lambda: all(agent.core.finish.complete for agent in network.agents.values()))
    ends = theta_of(network)[:, :-2]
    np.testing.assert_allclose(ends, np.tile(ends[0], (6, 1)), atol=1e-4)


def test_a_block_whose_owner_is_not_there_makes_the_finish_inexact_with_a_line():
    network = swarm(3, 3)
    network.remove("agent-2")
    del network.agents["agent-2"]
    network.run(20.0)
    ask(network)
    assert network.run(60.0, lambda: all(agent.core.finish.complete for agent in network.agents.values()))
    assert not any(agent.core.finish.equal for agent in network.agents.values())
    said = [notice.text for agent in network.agents.values() for notice in agent.of(ev.Notice)]
    assert any("no agent that is left trains block 2" in text for text in said)


@given(st.lists(st.floats(0.01, 1000.0), min_size=1, max_size=17), st.integers(1, 4))
def test_the_rates_of_a_plan_bring_all_to_the_mean_of_those_who_train_each_block(weights, count):
    n = len(weights)
    members = [
        Member(Identity(f"agent-{i:02}", 1), Liveness(), Report(weight=weight, shard=f"{i}/{n}"))
        for i, weight in enumerate(weights)
    ]
    ownership = Ownership(tuple(range(count)), members[0], lambda agent: None)
    plans = [plan_of(members, member.agent, ownership.masses) for member in members]
    theta = np.random.default_rng(n).normal(size=(n, count))
    start, masses = theta.copy(), np.array([ownership.masses(member) for member in members])
    for round in range(len(plans[0].meetings)):
        before = theta.copy()
        for i, meeting in enumerate(plan.meetings[round] for plan in plans):
            if meeting is not None:
                theta[i] += np.array(meeting.rates) * (before[int(meeting.partner.agent[-2:])] - before[i])
    assert plans[0].lacks == tuple(range(n, count))
    for b in range(min(n, count)):
        np.testing.assert_allclose(theta[:, b], np.average(start[:, b], weights=masses[:, b]), rtol=1e-6, atol=1e-9)
    for b in plans[0].lacks:
        assert theta[:, b].tolist() == start[:, b].tolist(), "0/0 is rate 0"


def test_what_a_record_carries_of_masses_is_read_again_and_what_is_none_is_not():
    me = Member(Identity("a", 1), Liveness(), Report(weight=3.0, shard="1/2"))
    ownership = Ownership((0, 1, 1), me, {"a": me}.get)
    assert ownership.masses(me) == (0.0, 3.0)
    for masses in ("0.1 12345.678901234567", "0.0 5e-324"):
        report = Report(weight=3.0, shard="1/2", masses=masses)
        assert ownership.carried(ownership.masses(Member(me.identity, me.liveness, report))) == {"masses": masses}
        saved = {"step": 9, **ownership.carried(ownership.masses(Member(me.identity, me.liveness, report)))}
        assert first_record(saved, Shard(1, 2), 9)["masses"] == masses, "who starts again weighs what it weighed"
        assert "masses" not in first_record(saved, Shard(1, 2), 10), "unless it trains on"
    for lie in ("nan 1", "-1 1", "1", "1e300 1", "x y", "inf 1"):
        report = Report(weight=3.0, shard="1/2", masses=lie)
        assert ownership.masses(Member(me.identity, me.liveness, report)) == (0.0, 3.0)


class Lying:
    """Offers and answers with a vector of its own, in place of what it holds."""

    def __init__(self, agent, lie):
        for chunk in range(agent.replica.chunks):
            agent.replica.read(chunk)[:] = lie[agent.replica.span(chunk)]


def poisoned(shards, liar, rounds=40, count=2):
    """How far the honest agents' model is from where it was, in norms of it, at worst. liar: shows ten times theta."""
    n = len(shards)
    network = swarm(n, count, spread=0.0, clip=[7.0] * n)
    start = network.agents["agent-0"].theta.astype(np.float64)
    noise, worst = np.random.default_rng(1), []
    for round in range(1, rounds):
        for name in network.agents:
            train(network, name, 0.01 * noise.normal(size=LAYOUT.size))
            if name == liar:
                Lying(network.agents[name], 10 * start)
            network.due(name, round)
        network.run(1.0)
        apart = [np.linalg.norm((agent.theta - start)[:-2]) for name, agent in network.agents.items() if name != liar]
        worst.append(max(apart) / np.linalg.norm(start[:-2]))
    return SimpleNamespace(worst=max(worst), network=network, start=start)


def test_a_follower_that_lies_about_what_it_does_not_train_moves_no_owner():
    """Whatever weight it offers: ownership follows from its shard, which it publishes."""
    found = poisoned("0123", "agent-3")  # It trains block 1, as agent-1 does.
    owners = [found.network.agents[name] for name in ("agent-0", "agent-2")]
    block = slice(*found.network.blocks.scopes[0].ranges[0])
    for owner in owners:
        assert np.linalg.norm((owner.theta - found.start)[block]) < 0.4 * np.linalg.norm(found.start[block])


def test_an_owner_that_lies_shifts_those_who_follow_by_no_more_than_a_bound():
    found = poisoned("012345", "agent-1")
    assert found.worst < 1.0, "with two honest owners beside it"
