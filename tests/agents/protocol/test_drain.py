"""Drain, what an agent does before it leaves: nothing is begun, what is new is declined, what is open completes."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather

from agents.protocol import events as ev

ROUNDING = 2e-4


def pair(parameters=60):
    network = MemoryNetwork(parameters)
    start = np.random.default_rng(0).normal(size=(2, parameters))
    a, b = network.add_agent("a", start[0]), network.add_agent("b", start[1])
    network.meet()
    return network, a, b


@pytest.mark.parametrize("applied", [1, 3, 8])
@pytest.mark.parametrize("drained", ["a", "b"])
def test_what_is_open_when_an_agent_drains_completes(drained, applied):
    """20 chunks, of which the responder has applied some when one side drains: all 20 are exchanged."""
    network, a, b = pair()
    before = network.total()
    held = network.hold()
    network.due("a", 1)
    for packet in list(held)[:applied]:
        network.deliver(packet)
    network.agents[drained].handle(ev.Drain())
    network.release()
    assert not network.agents[drained].core.exchanges.idle
    assert network.run(60, network.at_rest)
    network.run(1)
    assert len(a.of(ev.ApplyAnswer)) == len(b.of(ev.ApplyOffer)) == 20
    assert [len(agent.of(ev.Completed)) for agent in (a, b)] == [1, 1]
    assert network.agents[drained].core.exchanges.idle
    np.testing.assert_allclose(network.total(), before, atol=1e-5)
    np.testing.assert_allclose(a.theta, b.theta, atol=1e-6)


def test_nothing_is_begun_after_a_drain_and_new_offers_are_declined():
    network, a, b = pair()
    b.handle(ev.Drain())
    network.due("b", 1)
    assert b.signals[-1] == ev.RoundOver(1, why="it is leaving")
    network.due("a", 1)
    assert network.run(5, network.at_rest)
    assert a.signals[-1] == ev.RoundOver(1, "b", "b declined: it is leaving")
    b.driver.publish(state="settling")
    assert b.core.exchanges.refusal, "a change of state later opens nothing again"
    assert not b.of(ev.SendOffer) and not b.of(ev.ApplyOffer) and b.core.exchanges.idle


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    lost=st.sampled_from([0.0, 0.3]),
    delay_s=st.sampled_from([0.01, 0.3, 1.0]),
    drains=st.lists(st.tuples(st.floats(0, 5), st.integers(0, 2)), min_size=1, max_size=3),
    rounds=st.lists(st.tuples(st.floats(0, 6), st.integers(0, 2)), min_size=1, max_size=20),
)
def test_draining_at_any_moment_is_zero_sum_and_ends(seed, lost, delay_s, drains, rounds):
    network = MemoryNetwork(30, seed)
    noise = np.random.default_rng(seed)
    for i in range(3):
        network.add_agent(f"agent-{i}", noise.normal(size=30))
    network.meet()
    network.weather = Weather(lost, 0.3, delay_s)
    before, start, ended = network.total(), network.now, {}

    def drain(name):
        network.agents[name].handle(ev.Drain())
        ended.setdefault(name, len(network.agents[name].of(ev.SendOffer)))

    for round, (when, who) in enumerate(sorted(rounds), 1):
        network.at(start + when, lambda name=f"agent-{who}", r=round: network.due(name, r))
    for when, who in drains:
        network.at(start + when, lambda name=f"agent-{who}": drain(name))
    network.run(6.0)
    network.weather = Weather()
    assert network.run(300, network.at_rest)
    assert not network.account.outstanding
    assert np.abs(network.total() - before).max() < ROUNDING
    for name in ended:
        numbers = [send.offer.exchange for send in network.agents[name].of(ev.SendOffer)]
        assert set(numbers[ended[name] :]) <= set(numbers[: ended[name]]), "an exchange was begun after the drain"
