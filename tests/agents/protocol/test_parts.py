"""Agents that train parts of a model: each mixes, adopts and finishes with those that train the same part."""

from dataclasses import replace

import numpy as np
import pytest
from memory_network import MemoryNetwork, Weather

from agents.manifest import Manifest
from agents.protocol import events as ev
from agents.protocol.exchanges import ANOTHER
from transport.messages import Decline, Offer

PARTS = 3
SIZE = 8
WIDTH = Manifest({"submodel": f"width:{PARTS}"})


def swarm(topology="complete", weather=None, parts=PARTS, **changes):
    """Eight agents, of which every third trains the same, with vectors that differ."""
    network = MemoryNetwork(7, 1, manifest=WIDTH)
    thetas = np.random.default_rng(1).normal(size=(SIZE, 7)).astype(np.float32)
    for i in range(SIZE):
        network.add_agent(f"agent-{i}", thetas[i], shard=f"{i}/{SIZE}", topology=topology, weight=i + 1.0, **changes)
    network.meet()
    network.weather = weather or Weather()
    return network, thetas.astype(np.float64)


def names(part):
    return [f"agent-{i}" for i in range(part, SIZE, PARTS)]


@pytest.mark.parametrize("topology", ["complete", "ring", "base:2", "exponential"])
def test_neighbors_are_of_the_same_part(topology):
    network, _ = swarm(topology)
    for i in range(SIZE):
        mine = set(names(i % PARTS)) - {f"agent-{i}"}
        found = {name for round in range(20) for name in network.agents[f"agent-{i}"].core.neighbors(round)}
        assert found <= mine and (found == mine or topology not in ("complete", "ring"))


def test_means_of_parts_stay_and_each_part_comes_to_its_own():
    network, thetas = swarm(weather=Weather(0.2, 0.2, 0.1))
    for round in range(1, 60):
        for i in range(SIZE):
            network.due(f"agent-{i}", round)
        network.run(1.0)
    network.weather = Weather()
    assert network.run(30, network.at_rest)
    for part in range(PARTS):
        weights = np.arange(part, SIZE, PARTS) + 1.0
        mean = np.average(thetas[part::PARTS], axis=0, weights=weights)
        found = np.array([network.agents[name].theta for name in names(part)])
        np.testing.assert_allclose(np.average(found, axis=0, weights=weights), mean, atol=1e-5)
        np.testing.assert_allclose(found, np.tile(mean, (len(found), 1)), atol=1e-3)


def test_the_exact_finish_leaves_each_part_with_its_own_mean():
    network, thetas = swarm()
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())
    assert network.run(60.0, lambda: all(agent.core.finish.complete for agent in network.agents.values()))
    for part in range(PARTS):
        mean = np.average(thetas[part::PARTS], axis=0, weights=np.arange(part, SIZE, PARTS) + 1.0)
        for name in names(part):
            np.testing.assert_allclose(network.agents[name].theta, mean, atol=1e-6)
            assert sorted(network.agents[name].core.finish.equal) == names(part)


def test_an_offer_of_another_part_is_declined_and_nothing_applied():
    network, thetas = swarm()
    core = network.agents["agent-0"].core
    mine, other = (network.route("agent-0", name) for name in ("agent-3", "agent-1"))
    sent = [send for send in core.step(ev.Due(1), network.now) if isinstance(getattr(send, "message", None), Offer)]
    assert [
        send.connection for send in sent if send.connection not in (mine, network.route("agent-0", "agent-6"))
    ] == []
    offer = Offer(exchange=1, chunk=0, chunks=3, alpha=0.5, weight=1.0, codec="float32")
    effects = core.step(ev.Received(other, offer), network.now)
    declines = [each.message for each in effects if isinstance(getattr(each, "message", None), Decline)]
    assert [decline.why for decline in declines] == [ANOTHER]
    np.testing.assert_array_equal(network.agents["agent-0"].theta, thetas[0].astype(np.float32))


def test_a_late_joiner_adopts_from_its_own_part_alone():
    network, thetas = swarm()
    late = network.add_agent("late", np.zeros(7), shard=f"{SIZE - 1}/{SIZE}", state="joining")
    network.meet()
    for agent in network.agents.values():
        if agent is not late:
            agent.driver.publish(step=5)
    assert network.run(20, lambda: all(member.report.step == 5 for member in late.core.members.others()))
    network.adopt("late")
    assert network.run(60, lambda: late.core.members.me.state == "training")
    of_its_part = thetas[(SIZE - 1) % PARTS :: PARTS].astype(np.float32)
    assert any(np.array_equal(late.theta, theta) for theta in of_its_part)


def test_records_without_a_shard_belong_to_nobody_s_part():
    network, _ = swarm()
    core = network.agents["agent-0"].core
    member = core.members.get("agent-3")
    for shard in ("", "x", "9/3", "-1/8", "1/8"):
        assert not core.members.holds_ours(replace(member, report=replace(member.report, shard=shard))), shard
    assert core.members.holds_ours(member)
