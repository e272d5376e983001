"""Simulated agents choose their neighbors by the functions of live ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.protocol.choosing import Choosing
from sim import simulate
from sim.checks import SimulationError
from sim.conditions import Conditions
from sim.sources.block_rounds import with_block_rounds
from sim.sources.exchange import Exchange
from sim.sources.neighbors import names, neighbors
from sim.sources.virtual import Virtual
from sim.tape import MIX
from topology import base_graph, named, ring
from topology.selection import identities

QUICK = {"rounds": 6, "local_steps": 0, "progress": False, "eval_every": 6}


@settings(max_examples=30)
@given(
    st.sampled_from(["ring", "torus", "complete", "regular:4"]),
    st.integers(0, 2**32),
    st.integers(1, 10**6),
    st.sampled_from(["uniform", "roundrobin"]),
)
def test_simulated_agents_turn_to_whom_live_ones_do(topology, seed, round, choose):
    agents = 12
    graph, ids = named(topology, agents, 1), names(agents)
    rounds = np.full(agents, round)
    found = neighbors(graph, seed, np.arange(agents), identities(ids), rounds, choose)
    for agent, peer in enumerate(found):
        around = [ids[each] for each in graph.neighbors(agent)]
        assert ids[peer] == Choosing(choose, seed, ids[agent]).of(round, around, set(around))


@pytest.mark.parametrize(("topology", "agents"), [("ring", 7), ("torus", 12), ("regular:4", 30)])
@pytest.mark.parametrize("seed", [0, 5])
def test_cores_on_the_virtual_network_make_the_same_exchanges_in_turn(topology, agents, seed):
    conditions, moments = Conditions(agents, seed), np.array([0.0, 5])
    drawn_source = Exchange(named(topology, agents, seed), conditions)
    drawn_source.choose = "roundrobin"
    (drawn,) = drawn_source.blocks(8.0, moments, 8.0)
    (driven,) = Virtual(topology, conditions, choose="roundrobin").blocks(8.0, moments)
    pairs = []
    for block in (drawn, driven):
        closes = (block.tape.kind == MIX) & (block.tape.coefficient > 0)
        pairs.append(np.stack([block.tape.agent[closes], block.tape.peer[closes]], axis=1).tolist())
    assert pairs[0] == pairs[1] and len(pairs[0]) > 4 * agents


@pytest.mark.parametrize(("topology", "agents"), [("base:2", 8), ("base:2", 7), ("matching", 10)])
def test_of_two_that_a_schedule_pairs_one_begins_drawn_and_driven_by_cores(topology, agents):
    schedule, conditions, moments = named(topology, agents, 5), Conditions(agents, 5), np.array([0.0, 5])
    (drawn,) = Exchange(schedule, conditions).blocks(9.0, moments, 9.0)
    (driven,) = Virtual(topology, conditions).blocks(9.0, moments)
    pairs = []
    for block in (drawn, driven):
        closes = (block.tape.kind == MIX) & (block.tape.coefficient > 0)
        pairs.append(np.stack([block.tape.agent[closes], block.tape.peer[closes]], axis=1).tolist())
    met = [(i, int(j)) for r in range(1, 10) for i in range(agents) for j in schedule.begins_with(i, r)]
    assert pairs[0] == pairs[1] and sorted(map(tuple, pairs[0])) == sorted(met)


def test_where_models_are_pushed_both_of_a_pair_send():
    run = {**QUICK, "topology": "base:2", "agents": 8, "protocol": "push-sum"}
    assert simulate("digits", **run).exchanges[-1] == 8 * 6
    assert simulate("digits", **run | {"protocol": "exchange"}).exchanges[-1] == 4 * 6


@pytest.mark.parametrize("protocol", ["exchange", "push", "push-sum"])
def test_in_turn_each_agent_meets_each_neighbor_once_a_lap(protocol):
    """Eight rounds on a 4-regular graph are two laps; resumed halfway it is the same run."""
    whole = {**QUICK, "topology": "regular:4", "agents": 10, "protocol": protocol, "choose": "roundrobin", "seed": 3}
    long = simulate("digits", **whole | {"rounds": 8, "eval_every": 8})
    first = simulate("digits", **whole | {"rounds": 3, "eval_every": 3})
    more = simulate("digits", **whole | {"rounds": 5, "eval_every": 5, "resume": first})
    np.testing.assert_allclose(more.theta, long.theta, atol=1e-6)
    assert long.facts["choose"] == "roundrobin"


def test_where_agents_train_blocks_the_rounds_of_a_graph_make_the_laps():
    schedule, ids = with_block_rounds("complete", 8, 2, 0), names(8)
    met = [
        neighbors(schedule, 0, np.arange(8), identities(ids), np.full(8, round), "roundrobin")[0]
        for round in range(100)
    ]
    together, alike = met[2:][::2][:42], met[1::2]
    laps = [together[at : at + 7] for at in range(0, 42, 7)]
    assert all(sorted(lap) == list(range(1, 8)) for lap in laps)
    assert all(sorted(alike[at : at + 3]) == [2, 4, 6] for at in range(1, 40, 3))


def test_by_times_real_cores_alone_choose_and_the_mean_stays():
    init = np.random.default_rng(0).normal(size=(6, 4810)).astype(np.float32)
    how = {**QUICK, "agents": 6, "init": init, "delay": (0.01, 0.4), "weigh": "equal"}
    history = simulate("digits", choose="fastest", virtual=True, **how)
    np.testing.assert_allclose(history.theta.mean(0), init.mean(0), atol=0.5)
    assert history.exchanges[-1] > 10 and history.consensus_distance[-1] < history.consensus_distance[0]


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"choose": "best"}, "choose is one of uniform, roundrobin, fastest: got 'best'"),
        (
            {"choose": "fastest"},
            "goes by how long exchanges take, which virtual agents alone measure: give virtual=True",
        ),
        ({"choose": "roundrobin", "topology": "base:2"}, "needs a topology that is the same in each round"),
        ({"choose": "fastest", "virtual": True, "topology": "matching"}, "the same in each round"),
        ({"choose": "roundrobin", "topology": base_graph(4)}, "the same in each round"),
        ({"choose": "roundrobin", "protocol": "synchronous"}, "in which an agent turns to one neighbor: got protocol"),
        (
            {"choose": "roundrobin", "protocol": lambda topology, conditions: None},
            "turns to one neighbor: got protocol",
        ),
    ],
)
def test_what_cant_be_chosen_is_refused_before_anything_starts(wrong, what):
    with pytest.raises(SimulationError, match=what) as refused:
        simulate("digits", agents=4, **wrong)
    assert "\n" not in str(refused.value)


def test_a_graph_of_ones_own_can_be_walked():
    history = simulate("digits", agents=6, topology=ring(6), choose="roundrobin", **QUICK)
    assert history.exchanges[-1] == 36
