"""With whom an agent begins an exchange: in turn, or by the times that exchanges took."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_network import MemoryNetwork
from scipy.stats import chi2

from agents.protocol.choosing import FLOOR, Choosing
from agents.protocol.finish_plan import tag
from agents.protocol.times import WINDOW
from topology import TopologyError, turns

times = st.floats(1e-6, 1e6)


def begun(network, agent, rounds):
    """With whom this agent begins in these rounds, one after the other."""
    met = []
    for round in rounds:
        before = agent.core.exchanges.number
        network.due(agent.name, round)
        session = agent.core.exchanges._outgoing.get(agent.core.exchanges.number)
        met.append(session.peer.agent if session and agent.core.exchanges.number > before else None)
        assert network.run(30, network.at_rest)
    return met


def swarm(names="abcdef", seed=0, **settings):
    network = MemoryNetwork(3, seed=seed, topology="complete", **settings)
    start = np.random.default_rng(seed).normal(size=(len(names), 3))
    agents = [network.add_agent(name, theta) for name, theta in zip(names, start, strict=True)]
    network.meet()
    return network, agents


@pytest.mark.parametrize("seed", [0, 7])
def test_an_agent_walks_through_all_its_neighbors_lap_after_lap(seed):
    network, (a, *others) = swarm(seed=seed, choose="roundrobin")
    names = [agent.name for agent in others]
    met = begun(network, a, range(1, 21))
    assert met == [turns(a.core.settings.seed, "a", round, names)[0] for round in range(1, 21)]
    laps = [met[at : at + 5] for at in range(0, 20, 5)]
    assert all(sorted(lap) == names for lap in laps) and len(set(map(tuple, laps))) > 1


def test_a_member_that_goes_is_left_out_and_one_that_comes_back_is_met_again():
    network, (a, *_) = swarm(choose="roundrobin")
    network.isolate("c")
    assert network.run(30, lambda: "c" not in a.core.neighbors(1))
    met = begun(network, a, range(1, 9))
    assert sorted(met[:4]) == sorted(met[4:]) == list("bdef")
    network.reunite("c")
    assert network.run(60, lambda: "c" in a.core.neighbors(1) and network.route("a", "c") is not None)
    met = begun(network, a, range(11, 21))
    assert sorted(met[:5]) == sorted(met[5:]) == list("bcdef")


def test_a_neighbor_that_is_busy_is_passed_over_for_the_next_in_turn():
    choose = Choosing("roundrobin", 3, "a")
    for round in range(1, 30):
        order = turns(3, "a", round, list("bcde"))
        assert choose.of(round, list("ebcd"), set("bcde") - {order[0]}) == order[1]


@given(st.dictionaries(st.sampled_from("bcdefgh"), times), st.sets(st.sampled_from("bcdefgh"), min_size=1))
def test_chances_follow_one_over_the_time_above_a_floor(took, free):
    choose = Choosing("fastest", 0, "a")
    for peer, took_s in took.items():
        choose.times.completed(peer, took_s)
    candidates = sorted(free)
    chances = dict(zip(candidates, choose.chances(candidates), strict=True))
    assert sum(chances.values()) == pytest.approx(1) and min(chances.values()) >= FLOOR / len(free) * (1 - 1e-12)
    over = {peer: chance - FLOOR / len(free) for peer, chance in chances.items()}
    measured = [peer for peer in candidates if peer in took]
    for one in measured:
        for other in measured:
            assert over[one] * took[one] == pytest.approx(over[other] * took[other], rel=1e-6, abs=1e-9)
    for peer in set(candidates) - set(measured):
        assert chances[peer] == pytest.approx(max(chances.values())), "it counts as the quickest"


def test_choices_are_as_frequent_as_the_rule_says():
    """Chi-square at 99.99% confidence; the slow one keeps its floor."""
    choose, trials = Choosing("fastest", 5, "a"), 8_000
    for peer, took_s in zip("bcde", (0.1, 0.2, 0.1, 10.0), strict=True):
        choose.times.completed(peer, took_s)
    candidates = list("bcde")
    expected = trials * np.array(choose.chances(candidates))
    chosen = [choose.of(round, candidates, set(candidates)) for round in range(trials)]
    seen = np.array([chosen.count(peer) for peer in candidates])
    assert ((seen - expected) ** 2 / expected).sum() < chi2.ppf(0.9999, 3)
    assert seen[3] > 0.8 * trials * FLOOR / 4


def test_the_median_of_recent_exchanges_counts_and_a_link_that_became_quick_is_found_out():
    choose = Choosing("fastest", 0, "a")
    for took_s in (0.1,) * (WINDOW // 2 + 1) + (60.0,) * (WINDOW // 2):
        choose.times.completed("b", took_s)
    choose.times.completed("c", 0.1)
    assert choose.chances(["b", "c"]) == pytest.approx([0.5, 0.5]), "two hiccups of five don't make it slow"
    choose.times.completed("b", 60.0)
    assert choose.chances(["b", "c"])[0] == pytest.approx(FLOOR / 2, abs=0.01)
    for _ in range(WINDOW // 2 + 1):
        choose.times.completed("b", 0.1)
    assert choose.chances(["b", "c"]) == pytest.approx([0.5, 0.5])


def test_a_neighbor_that_starts_anew_is_measured_anew():
    choose = Choosing("fastest", 0, "a")
    for peer in "df":
        choose.times.completed(peer, 1.0 if peer == "d" else 1000.0)
    assert choose.chances(["d", "f"])[1] < 0.2
    choose.times.forget("f")
    assert choose.chances(["d", "f"]) == pytest.approx([0.5, 0.5])


def slow_link(network, slow_s, *pair):
    """Messages between these two take so long, all others a hundredth of it."""

    def weather(sender, receiver, message):
        return (slow_s if {sender.name, receiver.name} == set(pair) else slow_s / 100,)

    network._carry = weather


def test_over_a_network_whose_links_differ_agents_turn_to_the_quick_ones_and_the_mean_stays():
    network, (a, *_) = swarm("abcd", choose="fastest")
    slow_link(network, 0.1, "a", "d")
    before = network.total()
    met = begun(network, a, range(1, 121))
    assert met.count("d") < 20 and met.count("b") > 35 and met.count("c") > 35
    assert met.count("d") >= 3, "the floor"
    np.testing.assert_allclose(network.total(), before, atol=1e-5)
    slow_link(network, 0.1, "a", "b")
    met = begun(network, a, range(121, 361))[120:]
    assert met.count("b") < met.count("d"), "it has found out"


def test_one_that_dies_is_chosen_no_longer_and_counts_as_unmeasured_where_it_starts_again():
    network, (a, *_) = swarm("abcd", choose="fastest")
    begun(network, a, range(1, 31))
    assert set(a.core.times._took) == set("bcd")
    network.remove("d")
    del network.agents["d"]
    assert network.run(30, lambda: "d" not in a.core.neighbors(1))
    assert "d" not in begun(network, a, range(31, 51))
    network.add_agent("d", np.zeros(3), incarnation=2)
    assert network.run(60, lambda: "d" in a.core.neighbors(1) and network.route("a", "d") is not None)
    assert "d" not in a.core.times._took
    assert "d" in begun(network, a, range(51, 71))


def test_an_unknown_choice_is_refused():
    with pytest.raises(TopologyError, match="choose is uniform, roundrobin or fastest"):
        Choosing("slowest", 0, "a")


def test_an_agent_that_all_others_distrust_still_has_its_place_among_them():
    """As where few bits have made it diverge: it goes on, and once it has trained has those left that it trusts."""
    _, (a, *_) = swarm("abc")
    core = a.core
    core.exchanges.ledger.accused, core.exchanges.ledger.trained = frozenset({tag("a"), tag("b")}), True
    assert core.neighbors(1) == ["c"]
