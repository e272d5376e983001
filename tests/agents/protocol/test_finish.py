"""The exact finish: all hold the weighted mean to float rounding, for any number, on a bad network, after a death."""

import numpy as np
import pytest
from conditions import for_all
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, Weather

from agents.protocol import events as ev
from agents.protocol.finish_plan import plan_of
from agents.protocol.incarnation import Incarnation
from transport.messages import Gossip, Identity, Liveness, Member, Report

PARAMETERS = 7  # Three chunks, see conftest.


def finishing(size, seed=0, weights=None, parameters=PARAMETERS, silent_s=3.0):
    """A swarm that has trained, and met."""
    network = MemoryNetwork(parameters, seed, silent_s=silent_s)
    thetas = np.random.default_rng(seed).normal(size=(size, parameters)).astype(np.float32)
    for i in range(size):
        network.add_agent(f"agent-{i:02}", thetas[i], weight=1.0 if weights is None else weights[i])
    network.meet()
    return network, thetas.astype(np.float64)


def ask(network):
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())


def all_complete(network, names=None):
    """A condition: whether each of these, or of all, has finished."""
    return for_all(names or list(network.agents), lambda name: network.agents[name].core.finish.complete)


def the_thetas(network, names=None):
    return np.array([network.agents[name].theta for name in names or network.agents], np.float64)


@pytest.mark.parametrize("size", range(2, 34))
def test_all_are_equal_after_one_pass_for_every_number_of_members(size):
    network, thetas = finishing(size)
    ask(network)
    assert network.run(60.0, all_complete(network))
    np.testing.assert_allclose(the_thetas(network), np.tile(thetas.mean(0), (size, 1)), atol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13, 21])
def test_vectors_that_weigh_differently_all_end_as_the_weighted_mean(size):
    """Over the network, as shards of different sizes make it with --weigh samples."""
    weights = [float(weight) for weight in np.random.default_rng(size).integers(1, 500, size)]
    network, thetas = finishing(size, weights=weights)
    ask(network)
    assert network.run(60.0, all_complete(network))
    mean = np.average(thetas, axis=0, weights=weights)
    np.testing.assert_allclose(the_thetas(network), np.tile(mean, (size, 1)), atol=1e-6)


@given(st.lists(st.floats(0.01, 1000.0), min_size=1, max_size=33))
def test_the_rates_of_a_plan_make_all_equal_to_the_weighted_mean(weights):
    """Round by round with plain numbers: both sides' rates as each side plans them."""
    members = [
        Member(Identity(f"agent-{i:02}", 1), Liveness(), Report(weight=weight)) for i, weight in enumerate(weights)
    ]
    plans = [plan_of(reversed(members), member.agent) for member in members]
    assert len({plan.digest for plan in plans}) == 1
    theta = np.arange(len(weights), dtype=np.float64) ** 2
    mean = np.average(theta, weights=weights)
    for round in range(len(plans[0].meetings)):
        meetings = [plan.meetings[round] for plan in plans]
        before = theta.copy()
        for i, meeting in enumerate(meetings):
            if meeting is not None:
                j = int(meeting.partner.agent[-2:])
                assert meetings[j].partner.agent == members[i].agent, "a partner knows of it"
                assert meetings[j].initiates != meeting.initiates
                theta[i] += meeting.rates[0] * (before[j] - before[i])
    np.testing.assert_allclose(theta, np.full(len(weights), mean), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_on_a_network_that_loses_and_doubles_nothing_is_applied_twice(seed):
    network, thetas = finishing(6, seed)
    network.weather = Weather(lost=0.2, doubled=0.3, delay_s=0.2)
    ask(network)
    assert network.run(300.0, all_complete(network))
    np.testing.assert_allclose(the_thetas(network), np.tile(thetas.mean(0), (6, 1)), atol=1e-6)
    np.testing.assert_allclose(network.total(), thetas.sum(0), atol=1e-5)


@pytest.mark.parametrize("size", [3, 5, 8])
def test_it_waits_until_the_last_has_trained_and_takes_in_what_that_one_exchanges(size):
    network, thetas = finishing(size)
    names = sorted(network.agents)
    for name in names[1:]:
        network.agents[name].driver.publish(state="settling")
        network.agents[name].handle(ev.FinishExactly())
    network.run(5.0)
    assert not any(agent.core.finish.begun for agent in network.agents.values())
    network.due(names[0], 1)
    network.run(5.0)
    network.agents[names[0]].driver.publish(state="settling")
    network.agents[names[0]].handle(ev.FinishExactly())
    assert network.run(60.0, all_complete(network))
    np.testing.assert_allclose(the_thetas(network), np.tile(thetas.mean(0), (size, 1)), atol=1e-6)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("size", [2, 3, 7])
def test_when_one_dies_in_the_middle_the_others_say_so_and_finish_over_who_is_left(size, after_s):
    network, thetas = finishing(size, parameters=60)
    ask(network)
    network.run(after_s)
    begun = any(agent.core.finish.begun for agent in network.agents.values())
    network.isolate("agent-01")
    left = [name for name in network.agents if name != "agent-01"]
    assert network.run(60.0, all_complete(network, left))
    found = the_thetas(network, left)
    np.testing.assert_allclose(found, np.tile(found[0], (len(left), 1)), atol=1e-6)
    assert np.all(found <= thetas.max(0) + 1e-5) and np.all(found >= thetas.min(0) - 1e-5)
    texts = [effect.text for name in left for effect in network.agents[name].of(ev.Notice)]
    assert not begun or all_equal_before(network) or any("went before the finish" in text for text in texts)


def all_equal_before(network):
    """Whether the one that died had finished."""
    return network.agents["agent-01"].core.members.me.report.finished != ""


@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_when_one_dies_that_alone_completed_its_last_exchange_the_others_finish_over_who_is_left(size):
    """The answer to its partner is lost with it; that it has finished, all have received."""
    network, thetas = finishing(size, parameters=3)
    *left, last = network.agents
    dies = network.agents[last].core.members
    held = network.hold()
    ask(network)
    while not dies.me.report.finished:
        network.run(0.02)
        while held and not dies.me.report.finished:
            network.deliver(held.pop(0))
    for packet in [packet for packet in held if packet.sender == last and isinstance(packet.message, Gossip)]:
        network.deliver(packet)
    assert all(network.agents[name].core.members.get(last) == dies.me for name in left)
    network.isolate(last)
    network.release()
    assert network.run(60.0, all_complete(network, left))
    found = the_thetas(network, left)
    np.testing.assert_allclose(found, np.tile(found[0], (len(left), 1)), atol=1e-6)
    assert np.all(found <= thetas.max(0) + 1e-5) and np.all(found >= thetas.min(0) - 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_who_has_finished_may_leave_and_the_others_finish_with_what_it_gave(seed):
    """It drains first, as every agent that leaves does: who waits for its last answer has it then."""
    network, thetas = finishing(5, seed)
    ask(network)
    leaves = network.agents["agent-03"]
    assert network.run(60.0, lambda: leaves.core.members.me.report.finished != "")
    leaves.handle(ev.Drain())
    assert network.run(5.0, lambda: leaves.core.exchanges.idle)
    leaves.driver.publish(state="left")
    assert network.run(60.0, all_complete(network, [n for n in network.agents if n != "agent-03"]))
    np.testing.assert_allclose(the_thetas(network), np.tile(thetas.mean(0), (5, 1)), atol=1e-6)


def test_a_member_that_never_agrees_is_left_out():
    network, thetas = finishing(4)
    for name, agent in network.agents.items():
        agent.driver.publish(state="settling")
        if name != "agent-02":
            agent.handle(ev.FinishExactly())
    others = [name for name in network.agents if name != "agent-02"]
    assert network.run(30.0, all_complete(network, others))
    found = the_thetas(network, others)
    np.testing.assert_allclose(found, np.tile(thetas[[0, 1, 3]].mean(0), (3, 1)), atol=1e-6)
    assert network.agents["agent-00"].core.finish.equal == ("agent-00", "agent-01", "agent-03")


def publishes_another_list(finish):
    finish._announce(finish="beef")
    finish.tick = lambda now: []


def publishes_another_list_and_accuses_nobody_that_there_is(finish):
    publishes_another_list(finish)
    finish._announce(without="0123456789ab")


def takes_its_list_back_again_and_again(finish):
    answers_no_round(finish)
    tick = finish.tick

    def tick_and_take_back(now):
        effects = tick(now)
        if finish.begun and now % 4 < 2:
            effects += finish._announce(finish="beef")
        elif finish.begun:
            effects += finish._announce(finish=finish._passes.text(finish._plan.digest))
        return effects

    finish.tick = tick_and_take_back


def answers_no_round(finish):
    finish.rates, finish._go_on = lambda peer, offer: None, lambda plan, now: []
    finish._blockers.look = lambda *stand: []


def never_says_that_it_is_done(finish):
    finish._announce, announce = (
        lambda **changes: [] if "finished" in changes else announce(**changes),
        finish._announce,
    )


def always_weighs_otherwise(finish):
    tick = finish.tick

    def announce_and_tick(now):
        return finish._announce(mass=0.5 + now % 1 / 2) + tick(now)

    finish.tick = announce_and_tick


def claims_to_be_the_whole_mean(finish):
    finish._announce(mass=1e300)


def claims_a_negative_weight(finish):
    finish._announce(mass=-0.999)


BLOCKERS = [
    publishes_another_list,
    publishes_another_list_and_accuses_nobody_that_there_is,
    takes_its_list_back_again_and_again,
    answers_no_round,
    never_says_that_it_is_done,
    always_weighs_otherwise,
]


@pytest.mark.parametrize("blocks", BLOCKERS)
@pytest.mark.parametrize("size", [4, 7])
def test_who_keeps_the_others_from_completing_the_pass_is_named_and_left_out(blocks, size):
    """It takes part in everything else, and answers probes."""
    network, _ = finishing(size)
    honest = list(network.agents)[1:]
    blocks(network.agents["agent-00"].core.finish)
    ask(network)
    assert network.run(60.0, all_complete(network, honest))
    thetas = the_thetas(network, honest)
    np.testing.assert_allclose(thetas, np.tile(thetas.mean(0), (size - 1, 1)), atol=1e-6)
    assert all(network.agents[name].core.finish.equal == tuple(honest) for name in honest)
    for name in honest:
        (alarm,) = network.agents[name].core.exchanges.ledger.alarms(network.now)
        assert alarm.startswith("agent-00 is left out of the finish: it ")


def test_an_outage_in_the_middle_that_ends_in_time_leaves_nobody_out():
    """One agent is cut off for longer than a member may block the others, and for less than a suspicion lasts."""
    network, thetas = finishing(5, silent_s=90.0)
    ask(network)
    assert network.run(60.0, lambda: network.agents["agent-00"].core.finish._round >= 1)
    others = list(network.agents)[1:]
    network.weather = Weather(cut=frozenset(frozenset(("agent-00", name)) for name in others))
    network.run(20.0)
    network.weather = Weather()
    assert network.run(60.0, all_complete(network))
    assert all(len(agent.core.finish.equal) == 5 for agent in network.agents.values())
    np.testing.assert_allclose(the_thetas(network), np.tile(thetas.mean(0), (5, 1)), atol=1e-6)


@pytest.mark.parametrize("claims", [claims_to_be_the_whole_mean, claims_a_negative_weight])
def test_what_a_record_says_that_its_vector_weighs_is_at_most_what_agents_may_weigh(claims):
    network, thetas = finishing(4)
    claims(network.agents["agent-00"].core.finish)
    for agent in network.agents.values():
        agent.core.ownership._most = 1.0  # As --weigh equal has it.
    ask(network)
    assert network.run(60.0, all_complete(network))
    np.testing.assert_allclose(the_thetas(network), np.tile(thetas.mean(0), (4, 1)), atol=1e-6)


@pytest.mark.parametrize("accused", [1, 5])
def test_who_accuses_others_falsely_is_left_out_and_takes_at_most_one_with_it(accused):
    network, _ = finishing(6)
    names = list(network.agents)
    liar = network.agents["agent-00"].core.finish
    liar._blockers.accused |= {name: "lies" for name in names[1 : 1 + accused]}
    ask(network)
    innocent = names[1:] if accused > 1 else names[2:]
    assert network.run(60.0, all_complete(network, innocent))
    assert all(network.agents[name].core.finish.equal == tuple(innocent) for name in innocent)


def test_two_that_accuse_all_the_others_take_nobody_with_them():
    network, _ = finishing(6)
    names = list(network.agents)
    for liar in names[:2]:
        network.agents[liar].core.finish._blockers.accused |= {name: "lies" for name in names[2:]}
    ask(network)
    assert network.run(60.0, all_complete(network, names[2:]))
    assert all(network.agents[name].core.finish.equal == tuple(names[2:]) for name in names[2:])


def test_two_that_accuse_one_after_the_other_take_at_most_two_with_them():
    """They take no part in the pass otherwise, so that it lasts."""
    network, _ = finishing(7)
    names = list(network.agents)

    def accuses(blockers, which):
        blockers.accused[names[which]] = "lies"
        if which < 5:
            network.at(network.now + 3.0, lambda: accuses(blockers, which + 1))

    for liar in names[:2]:
        answers_no_round(network.agents[liar].core.finish)
        accuses(network.agents[liar].core.finish._blockers, 2)
        network.agents[liar].core.finish._blockers.look = lambda *stand: []
    ask(network)
    assert network.run(60.0, all_complete(network, names[4:]))
    assert all(network.agents[name].core.finish.equal == tuple(names[4:]) for name in names[4:])


def test_who_is_told_to_stop_in_the_middle_begins_no_round_any_more_and_says_what_its_vector_weighs():
    network, thetas = finishing(5, weights=[100.0, 1.0, 1000.0, 10.0, 3.0])
    ask(network)
    assert network.run(60.0, lambda: network.agents["agent-00"].core.finish._round >= 2)
    for agent in network.agents.values():
        agent.handle(ev.Drain())
    assert network.run(60.0, for_all(list(network.agents), lambda name: network.agents[name].core.exchanges.idle))
    before = the_thetas(network)
    network.run(10.0)
    np.testing.assert_array_equal(the_thetas(network), before)
    reports = [agent.core.members.me.report for agent in network.agents.values()]
    weighs = [report.mass or report.weight for report in reports]
    mean = np.average(thetas, axis=0, weights=[100.0, 1.0, 1000.0, 10.0, 3.0])
    np.testing.assert_allclose(np.average(before, axis=0, weights=weighs), mean, atol=1e-6)
    assert weighs != [report.weight for report in reports]


def test_half_that_have_finished_wait_for_the_others_no_longer_than_they_want():
    """One trains twenty times slower, or claims to: it learns how long the others have waited, and isn't needed."""
    network, thetas = finishing(4)
    slow, *others = network.agents
    for number, name in enumerate(others):
        assert number == 2 or network.agents[slow].core.finish.waited_s(network.now) == 0
        network.agents[name].driver.publish(state="settling")
        network.agents[name].handle(ev.FinishExactly())
        network.run(1.0)
    network.run(5.0)
    for agent in network.agents.values():
        assert agent.core.finish.waited_s(network.now) == pytest.approx(7.0, abs=0.5), "since two of four have finished"
        assert not agent.core.finish.begun
    for name in others:
        network.agents[name].handle(ev.FinishExactly(without_others=True))
    assert network.run(60.0, all_complete(network, others))
    np.testing.assert_allclose(the_thetas(network, others), np.tile(thetas[1:].mean(0), (3, 1)), atol=1e-6)
    assert network.agents[others[0]].core.finish.equal == tuple(others)


def test_less_than_half_go_on_waiting():
    network, _ = finishing(5)
    for name in list(network.agents)[:2]:
        network.agents[name].driver.publish(state="settling")
    network.run(5.0)
    assert all(agent.core.finish.waited_s(network.now) == 0 for agent in network.agents.values())


@given(st.lists(st.floats(0.5, 200.0), min_size=3, max_size=12), st.data())
@settings(max_examples=40)
def test_a_pass_begun_again_in_the_middle_conserves_what_the_vectors_weigh_there(weights, data):
    """With plain numbers: some rounds of one pass, then another from the masses that the vectors carry then."""

    def members(masses):
        return [
            Member(Identity(f"agent-{i:02}", 1), Liveness(), Report(weight=weight, mass=mass))
            for i, (weight, mass) in enumerate(zip(weights, masses, strict=True))
        ]

    theta = np.arange(len(weights), dtype=np.float64) ** 2
    mean = np.average(theta, weights=weights)
    listed = members([0.0] * len(weights))
    plans = [plan_of(listed, member.agent) for member in listed]
    stop = data.draw(st.integers(0, len(plans[0].meetings)))
    theta = _rounds(theta, plans, stop)
    listed = members([plan.weights[stop][0] for plan in plans])
    plans = [plan_of(listed, member.agent) for member in listed]
    theta = _rounds(theta, plans, len(plans[0].meetings))
    np.testing.assert_allclose(theta, np.full(len(weights), mean), rtol=1e-6, atol=1e-9)


def _rounds(theta, plans, rounds):
    for round in range(rounds):
        before = theta.copy()
        for i, plan in enumerate(plans):
            meeting = plan.meetings[round]
            if meeting is not None:
                theta[i] += meeting.rates[0] * (before[int(meeting.partner.agent[-2:])] - before[i])
    return theta


def test_one_alone_is_complete_at_once():
    network = MemoryNetwork(PARAMETERS)
    network.add_agent("alone", np.ones(PARAMETERS))
    ask(network)
    assert network.run(1.0, all_complete(network))


def test_nothing_else_is_exchanged_once_the_finish_has_begun():
    network, _ = finishing(4)
    ask(network)
    assert network.run(60.0, all_complete(network))
    before = the_thetas(network)
    network.train("agent-00", 9.0)
    network.due("agent-00", 1)
    network.run(5.0)
    np.testing.assert_array_equal(the_thetas(network)[1:], before[1:])


@pytest.mark.parametrize("rounds", [3, 7, 9])
def test_one_more_than_can_finish_exactly_that_comes_in_the_middle_has_no_part_in_the_pass(monkeypatch, rounds):
    """The others complete it: where they gave up, each was left in the middle, and its record with another weight."""
    monkeypatch.setattr("agents.protocol.finish.MAX_FINISHING", 6)
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    network, thetas = finishing(6, weights=weights, silent_s=60.0)
    names, network.weather = list(network.agents), Weather(delay_s=0.05)
    ask(network)
    assert network.run(60.0, lambda: sum(network.agents[name].core.finish._round for name in names) > rounds)
    late = Member(Identity("late", 1), Liveness(1, "settling"), Report(weight=2.0))
    for name in names:
        network.agents[name].core.members.receive([late], network.now)
        network.agents[name].core.members.contact(Incarnation.of(late), network.now)
    assert network.run(60.0, all_complete(network, names))
    mean = np.average(thetas, axis=0, weights=weights)
    np.testing.assert_allclose(the_thetas(network, names), np.tile(mean, (6, 1)), atol=1e-6)
