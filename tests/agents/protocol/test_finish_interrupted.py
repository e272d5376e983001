"""The exact finish where a member is gone or stopped in the middle of a pass, and comes back."""

import numpy as np
import pytest
from memory_network import MemoryNetwork, Weather

from agents.protocol import events as ev
from agents.protocol.finish import NOT_YET
from transport.messages import Answer, Offer


def asked(size, silent_s=3.0):
    """A swarm that has just trained: (network, the models)."""
    network = MemoryNetwork(7, seed=1, silent_s=silent_s)
    thetas = np.random.default_rng(1).normal(size=(size, 7)).astype(np.float32)
    for i, theta in enumerate(thetas):
        network.add_agent(f"agent-{i:02}", theta)
    network.meet()
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())
    return network, thetas.astype(np.float64)


def begun(size, silent_s):
    """A swarm in the middle of a pass: (network, the models before it)."""
    network, thetas = asked(size, silent_s)
    assert network.run(10.0, lambda: network.agents["agent-01"].core.finish._round >= 1)
    return network, thetas


def all_end_as_the_mean(network, thetas):
    agents = network.agents.values()
    complete = network.run(90.0, lambda: all(agent.core.finish.complete for agent in agents))
    assert [sorted(agent.core.finish._blockers.excluded) for agent in agents] == [[]] * len(agents)
    assert complete
    assert all(len(agent.core.finish.equal) == len(agents) for agent in agents)
    np.testing.assert_allclose([agent.theta for agent in agents], np.tile(thetas.mean(0), (len(agents), 1)), atol=1e-6)


@pytest.mark.parametrize("size", [5, 7])
def test_who_comes_back_to_the_same_members_begins_the_pass_anew_with_them(size):
    """It is at a round of the first pass over this list; the others have begun another meanwhile, and then this one."""
    network, thetas = begun(size, silent_s=3.0)
    cores = [agent.core for name, agent in network.agents.items() if name != "agent-01"]
    network.weather = Weather(cut=frozenset(frozenset(("agent-01", core.members.me.agent)) for core in cores))
    assert network.run(30.0, lambda: all(len(core.finish._plan.members) == size - 1 for core in cores))
    network.weather = Weather()
    all_end_as_the_mean(network, thetas)
    assert any(core.members.me.report.finish.endswith("+1") for core in cores)


def test_an_agent_whose_process_was_stopped_accuses_nobody_of_that():
    """It comes back before a suspicion of it is over."""
    network, thetas = begun(5, silent_s=90.0)
    network.nodes["agent-00"].online = lambda: False
    network.run(20.0)
    network.nodes["agent-00"].online = lambda: True
    network.run(0.5)
    assert network.agents["agent-00"].core.finish.still_s(network.now) < 5
    all_end_as_the_mean(network, thetas)


def test_an_exchange_of_training_that_was_open_meanwhile_is_completed():
    """Its agent was stopped in it, and had finished before: the pass waits for it."""
    network = MemoryNetwork(7, seed=1, silent_s=90.0)
    for i in range(3):
        network.add_agent(f"agent-{i:02}", np.full(7, i, np.float32))
    network.meet()
    stopped = network.agents["agent-01"]
    stopped.driver.publish(state="settling")
    stopped.handle(ev.FinishExactly())
    held = network.hold()
    stopped.handle(ev.Due(1))
    network.nodes["agent-01"].online = lambda: False
    network.release()
    assert any(packet.sender == "agent-01" for packet in held)
    network.run(20.0)
    network.nodes["agent-01"].online = lambda: True
    network.run(20.0)
    assert stopped.core.exchanges.idle and stopped.core.lost == 0


@pytest.mark.parametrize("size", [5, 6])
def test_who_goes_and_comes_back_again_and_again_keeps_nobody_from_finishing(size):
    """It says that it leaves, and that it is here, ten times a second; to the others that is another list each time."""
    network, _ = asked(size)
    flaps, *others = network.agents.values()

    def flap():
        state = "left" if flaps.core.members.me.state == "settling" else "settling"
        flaps.driver.publish(state=state)
        network.at(network.now + 0.1, flap)

    network.at(network.now + 0.1, flap)
    assert network.run(30.0, lambda: all(agent.core.finish.complete for agent in others))
    names = {agent.name for agent in others}
    assert all(names <= {*agent.core.finish.equal} for agent in others)
    assert all(agent.core.finish._blockers.excluded <= {flaps.name} for agent in others)
    assert any(agent.core.finish._blockers.excluded for agent in others)


@pytest.mark.parametrize("who", ["agent-01", "agent-02", "agent-03"])
def test_what_is_open_with_one_that_is_gone_moves_nobody_who_holds_the_mean(who):
    """It applied what it was offered, and its answers don't arrive before it is back: the others have finished then."""
    network, _ = asked(4)
    carried = network._carry
    network._carry = lambda sender, receiver, message: (
        () if sender.name == who and isinstance(message, Answer) else carried(sender, receiver, message)
    )
    network.run(1.0)
    network._carry = lambda sender, receiver, message: () if sender.name == who else carried(sender, receiver, message)
    others = [agent for name, agent in network.agents.items() if name != who]
    assert network.run(30.0, lambda: all(agent.core.finish.complete for agent in others))
    network._carry = carried
    before = [agent.theta for agent in others]
    network.run(20.0)
    np.testing.assert_array_equal([agent.theta for agent in others], before)
    assert all(len(agent.core.finish.equal) == 3 for agent in others)


def test_an_exchange_of_a_pass_goes_on_at_its_rates_when_the_pass_is_over():
    """The other side moves by those alone: at others it wouldn't be zero-sum."""
    network = MemoryNetwork(60, seed=1)
    for name in "ab":
        network.add_agent(name, np.ones(60, np.float32))
    network.meet()
    exchanges, connection = network.agents["b"].core.exchanges, network.route("b", "a")
    peer = network.agents["b"].core.handshake.identify(connection)
    offers = [Offer(7, chunk, 20, 0.5, 1.0, finish="digest/0") for chunk in range(2)]
    (first,) = exchanges.on_offer(peer, connection, offers[0], network.now, "", (0.125,))
    exchanges.on_applied(peer, ev.OfferApplied(connection, offers[0], first.answer, 0.0), network.now)
    (second,) = exchanges.on_offer(peer, connection, offers[1], network.now, NOT_YET, None)
    assert (first.rate, second.rate) == (0.125, 0.125)


def test_what_others_have_finished_with_is_taken_from_none_that_has_not():
    """One that has trained the most, and one that lies about it and is left out, have another model."""
    network = MemoryNetwork(7)
    names = [network.add_agent(f"agent-{i:02}", np.zeros(7)).name for i in range(6)]
    network.meet()
    for name in names[1:]:
        done = {"finish": "beef", "finished": "beef"} if name != names[5] else {}
        network.agents[name].driver.publish(state="settling", step=3, **done)
    asks = network.agents[names[0]]
    network.run(2.0)
    asks.core.finish._blockers.excluded.add(names[4])
    asked = set()
    for _ in range(40):
        asks.handle(ev.Adopt(finished="beef"))
        asked.add(asks.core._pulls.download.agent)
    assert asked == set(names[1:4])
