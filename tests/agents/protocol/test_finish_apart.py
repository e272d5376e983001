"""The exact finish where some members can't exchange with each other: behind NAT, or a firewall between them."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_network import MemoryNetwork, living

from agents.protocol import events as ev
from agents.protocol.finish_plan import apart_of, plan_of, reached, tag
from agents.protocol.finish_rounds import component, rounds
from agents.view import view_of
from topology import base_graph
from transport.messages import Identity, Liveness, Member, Report

graphs = st.integers(2, 14).flatmap(
    lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(list(combinations(range(n), 2)))))
)


def test_where_all_reach_one_another_the_rounds_are_those_of_the_base_2_graph():
    for members in (2, 3, 6, 13):
        schedule = base_graph(members)
        assert len(rounds(members)) == len(schedule.graphs)
        for arcs, graph, shares in zip(rounds(members), schedule.graphs, schedule.weights, strict=True):
            assert arcs == list(zip(graph.sources.tolist(), graph.indices.tolist(), shares.tolist(), strict=True))


@settings(max_examples=200)
@given(graphs, st.integers(0, 1000))
def test_any_connected_graph_ends_at_the_weighted_mean_with_exchanges_of_its_pairs_alone(graph, seed):
    """Round by round in plain numbers: what each weighs is handed on, and none of it is lost."""
    members, apart = graph
    together = component(0, members, apart)
    place = {k: p for p, k in enumerate(together)}
    within = frozenset((place[i], place[j]) for i, j in apart if i in place and j in place)
    draw = np.random.default_rng(seed)
    weights, theta = draw.uniform(0.01, 100, len(together)), draw.normal(size=len(together))
    mean, whole = np.average(theta, weights=weights), weights.sum()
    for arcs in rounds(len(together), within):
        pairs = [tuple(sorted((i, j))) for i, j, _ in arcs]
        assert len({k for pair in pairs for k in pair}) == 2 * len(set(pairs)), "no member is in two pairs of a round"
        assert not set(pairs) & within
        after = weights.copy()
        for i, j, share in arcs:
            after[i] += share * weights[j]
            after[j] -= share * weights[j]
        moved = {i: share * weights[j] / after[i] * (theta[j] - theta[i]) for i, j, share in arcs}
        for i, by in moved.items():
            theta[i] += by
        weights = after
        assert (weights > 0).all() and weights.sum() == pytest.approx(whole)
    np.testing.assert_allclose(theta, mean, atol=1e-9)


def test_one_side_that_says_so_parts_a_pair_and_who_can_be_reached_through_nobody_is_not_among_them():
    def member(name, *apart):
        return Member(Identity(name, 1), Liveness(), Report(apart=" ".join(map(tag, apart))))

    a, b, c, d = member("a"), member("b", "c"), member("c", "d"), member("d", "a", "b", "c", "nobody")
    assert apart_of([a, b, c, d]) == {("b", "c"), ("c", "d"), ("a", "d"), ("b", "d")}
    assert [m.agent for m in reached(a, [d, c, b])] == ["c", "b"]
    assert reached(d, [a, b, c]) == []
    plans = {m.agent: plan_of([a, b, c], m.agent) for m in (a, b, c)}
    assert len({plan.digest for plan in plans.values()}) == 1 and plans["a"].apart == {("b", "c")}
    assert all(m is None or m.partner.agent == "a" for name in "bc" for m in plans[name].meetings)
    assert plan_of([a, member("b"), c], "a").digest != plans["a"].digest, "another graph is another pass"


def swarm(names, hidden=(), cut=(), weights=None, parameters=7, silent_s=3.0):
    """A swarm that has trained. hidden: who is behind NAT. cut: pairs between whom nothing arrives."""
    network = MemoryNetwork(parameters, 0, silent_s=silent_s)
    network.weather.cut = frozenset(map(frozenset, cut))
    thetas = np.random.default_rng(1).normal(size=(len(names), parameters)).astype(np.float32)
    for name in sorted(names, key=lambda name: (name in hidden, name)):  # Who is behind NAT needs somebody to join.
        i = names.index(name)
        network.add_agent(name, thetas[i], nat=name in hidden, weight=weights[i] if weights else 1.0)
    assert network.run(60.0, lambda: all(living(agent) == sorted(names) for agent in network.agents.values()))
    return network, thetas.astype(np.float64)


def finish(network, names=None):
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())
    names = names or list(network.agents)
    return network.run(120.0, lambda: all(network.agents[name].core.finish.complete for name in names))


def accused(network):
    """Whom any agent has left out of the finish."""
    return {name for agent in network.agents.values() for name in agent.core.finish._blockers.excluded}


CASES = {
    "one hub, and all others behind NAT": ("abcdefgh", "bcdefgh", ()),
    "the hub comes last in the list": ("abcde", "abcd", ()),
    "three hubs": ("abcdefghi", "bcefhi", ()),
    "a firewall between two": ("abcd", "", ("bc",)),
    "a firewall between two, and two behind NAT": ("abcdef", "ef", ("bc", "ae")),
    "two halves that one agent alone reaches": ("abcdefg", "", [x + y for x in "abc" for y in "efg"]),
    "a ring of four": ("abcd", "", ("ac", "bd")),
}


@pytest.mark.parametrize("case", CASES)
def test_all_end_with_the_weighted_mean_and_nobody_is_accused(case):
    names, hidden, cut = CASES[case]
    weights = [float(w) for w in np.random.default_rng(2).integers(1, 300, len(names))]
    network, thetas = swarm(names, hidden, cut, weights)
    assert finish(network), "it takes for ever"
    mean = np.average(thetas, axis=0, weights=weights)
    found = np.array([network.agents[name].theta for name in names], np.float64)
    np.testing.assert_allclose(found, np.tile(mean, (len(names), 1)), atol=1e-6)
    assert all(agent.core.finish.equal == tuple(sorted(names)) for agent in network.agents.values())
    assert accused(network) == set()


@pytest.mark.parametrize("pair", ["ab", "bc", "de", "ad"])
def test_a_connection_that_goes_mute_in_the_finish_costs_nobody_its_place(pair):
    """The two are reached by others still; after some seconds the pass takes another way."""
    network, thetas = swarm("abcde")
    network.weather.cut = frozenset([frozenset(pair)])
    assert finish(network)
    found = np.array([agent.theta for agent in network.agents.values()], np.float64)
    np.testing.assert_allclose(found, np.tile(thetas.mean(0), (5, 1)), atol=1e-6)
    assert accused(network) == set()


@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.sampled_from("abc"), st.floats(0.0, 4.0))
def test_where_one_dies_meanwhile_those_that_can_still_exchange_finish_equal(dies, after_s):
    """a and b are hubs of c to f, so whoever dies leaves a swarm that is connected."""
    network, thetas = swarm("abcdef", "cdef")
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())
    network.run(after_s)
    network.isolate(dies)
    left = [name for name in network.agents if name != dies]
    assert network.run(120.0, lambda: all(network.agents[name].core.finish.complete for name in left))
    found = np.array([network.agents[name].theta for name in left], np.float64)
    np.testing.assert_allclose(found, np.tile(found[0], (len(left), 1)), atol=1e-6)
    assert (found <= thetas.max(0) + 1e-5).all() and (found >= thetas.min(0) - 1e-5).all()
    assert accused(network) <= {dies}


def stopped_when(network, is_so):
    """Let all begin to finish, and stop the clock at the first moment at which this is so."""
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())
    assert network.run(60.0, is_so)


@pytest.mark.parametrize("round", range(6))
def test_what_is_saved_of_a_pass_that_a_hub_leaves_has_the_mean_of_all(round):
    """By the weights with which agents save their vectors: those behind NAT have handed theirs to the hub by then.

    They finish each for itself afterwards, as nobody is left through whom they could, and are exact among themselves.
    """
    weights = [10.0, 20.0, 30.0, 40.0, 50.0]
    network, thetas = swarm("abcde", "bcde", weights=weights)
    hub = network.agents["a"]
    stopped_when(network, lambda: hub.core.finish._round >= round)
    hub.handle(ev.Drain())
    network.run(1.0)
    hub.driver.publish(state="left")
    network.run(0.1)
    network.isolate("a")
    assert network.run(60.0, lambda: all(network.agents[name].core.finish.complete for name in "bcde"))
    views = [view_of(agent.core, network.now) for agent in network.agents.values()]
    saved = [view.weighs[0] if view.weighs else view.me.report.weight for view in views]
    found = np.array([agent.theta for agent in network.agents.values()], np.float64)
    np.testing.assert_allclose(
        np.average(found, axis=0, weights=saved), np.average(thetas, axis=0, weights=weights), atol=1e-6
    )


@pytest.mark.parametrize("handed", [1, 2])
def test_who_handed_its_weight_to_a_hub_that_is_killed_has_it_back(handed):
    """a and b are hubs of c to f. What has been handed to a goes with it, and the vectors of those that did are there.

    handed: how many have.
    """
    network, thetas = swarm("abcdef", "cdef")
    stopped_when(network, lambda: network.agents["a"].core.finish._round >= handed)
    network.isolate("a")
    assert network.run(120.0, lambda: all(network.agents[name].core.finish.complete for name in "bcdef"))
    found = np.array([network.agents[name].theta for name in "bcdef"], np.float64)
    np.testing.assert_allclose(found, np.tile(thetas[1:].mean(0), (5, 1)), atol=1e-6)


@pytest.mark.parametrize("most", [64, 3])
@pytest.mark.parametrize("topology", ["ring", "exponential"])
def test_a_topology_closes_over_pairs_that_cannot_exchange(topology, most, monkeypatch):
    """On a ring of a to f, c, d and e have two neighbors that are behind NAT, as they are. In large swarms as well."""
    monkeypatch.setattr("agents.protocol.reach.MAX_FINISHING", most)
    network = MemoryNetwork(3)
    for name in "abcdef":
        network.add_agent(name, np.zeros(3), nat=name in "bcdef", topology=topology)
    assert network.run(60.0, lambda: all(living(agent) == list("abcdef") for agent in network.agents.values()))
    network.run(1.0)
    for name in "bcdef":
        assert network.agents[name].core.neighbors(1) == ["a"]
        network.due(name, 1)
    assert network.run(20.0, network.at_rest)
    assert {done.peer for name in "bcdef" for done in network.agents[name].of(ev.Completed)} == {"a"}


def test_it_waits_for_one_behind_nat_that_trains_still():
    network, thetas = swarm("abc", "bc")
    for name in "ab":
        network.agents[name].driver.publish(state="settling")
        network.agents[name].handle(ev.FinishExactly())
    network.run(9.0)
    assert not any(agent.core.finish.begun for agent in network.agents.values())
    assert finish(network)
    np.testing.assert_allclose(network.agents["b"].theta, thetas.mean(0), atol=1e-6)


def test_a_hub_that_leaves_as_soon_as_it_is_done_has_told_the_others_who_is():
    """They can receive it from nobody else."""
    network, _ = swarm("abcde", "bcde")
    for agent in network.agents.values():
        agent.driver.publish(state="settling")
        agent.handle(ev.FinishExactly())
    hub = network.agents["a"]
    assert network.run(60.0, lambda: hub.core.finish.complete)
    network.run(0.2)
    hub.driver.publish(state="left")
    network.isolate("a")
    assert network.run(0.2, lambda: all(agent.core.finish.complete for agent in network.agents.values()))
    assert all(agent.core.finish.equal == tuple("abcde") for agent in network.agents.values())


def test_what_is_open_ends_where_the_vector_of_others_is_taken_over():
    """An answer that came after it would move it away from theirs."""
    network, _ = swarm("abc")
    network.hold()
    network.due("a", 1)
    agent = network.agents["a"]
    assert agent.core.exchanges.occupied
    agent.vectors.inner.adopt()
    agent.handle(ev.Adopt(finished="a digest"))
    assert not agent.core.exchanges.occupied and agent.of(ev.Lost)
    before = agent.theta
    network.release()
    network.run(1.0)
    assert agent.theta.tobytes() == before.tobytes()


@pytest.mark.parametrize("others", ["bcd", "b"])
def test_who_trains_still_when_all_others_have_finished_without_it_is_left_behind(others):
    """As after its machine slept: nobody waits for it, and their model can be taken over only while they are there.

    One other alone could be a liar; who has exchanged nothing may be about to train the model further.
    """
    network, _ = swarm("a" + others)
    for name in others:
        network.agents[name].driver.publish(state="settling")
        network.agents[name].handle(ev.FinishExactly())
    network.weather.cut = frozenset(frozenset("a" + name) for name in others)
    assert network.run(30.0, lambda: all(network.agents[name].core.finish.complete for name in others))
    network.weather.cut = frozenset()
    core = network.agents["a"].core
    assert network.run(60.0, lambda: living(network.agents["a"]) == sorted("a" + others))
    network.run(5.0)
    assert not view_of(core, network.now).left_behind, "it took no part"
    core.publish(exchanges=1)
    assert view_of(core, network.now).left_behind == (others == "bcd")
    network.agents["a"].driver.publish(state="settling")
    network.agents["a"].handle(ev.FinishExactly())
    assert not view_of(core, network.now).left_behind and bool(core.finish.missed) == (others == "bcd")


def test_two_parts_that_nobody_joins_finish_each_for_itself():
    network, thetas = swarm("abcd")
    network.weather.cut = frozenset(frozenset(x + y) for x in "ab" for y in "cd")
    for agent in network.agents.values():
        agent.core.members.apart = frozenset()
    network.run(30.0)
    assert finish(network)
    for part in ([0, 1], [2, 3]):
        found = [network.agents["abcd"[i]].theta for i in part]
        np.testing.assert_allclose(found, np.tile(thetas[part].mean(0), (2, 1)), atol=1e-6)


@pytest.mark.parametrize("state", ["settling", "training"])
@pytest.mark.parametrize("after_s", [5.0, 20.0], ids=["alive by rumor", "some gone by now"])
def test_members_that_nobody_reaches_change_nothing_however_many_are_made_up(state, after_s):
    """They aren't waited for, and don't count to those that are too many for the exact finish through others."""
    network, thetas = swarm("abcdef", "cdef")
    ghosts = [
        Member(Identity(f"ghost-{i}", 1, f"tcp://ghost-{i}.example:1"), Liveness(1, state), Report()) for i in range(70)
    ]
    for agent in network.agents.values():
        agent.core.members.receive(ghosts, network.now)
    network.run(after_s)
    assert finish(network)
    found = np.array([agent.theta for agent in network.agents.values()], np.float64)
    np.testing.assert_allclose(found, np.tile(thetas.mean(0), (6, 1)), atol=1e-6)
    assert accused(network) == set()
