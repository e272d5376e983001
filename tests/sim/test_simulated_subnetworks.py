"""Simulated agents that train independent subnetworks: who mixes with whom, and what the full model is."""

from dataclasses import replace

import numpy as np
import pytest

from agents import AsGiven, Rule, load_task
from agents.learning.learner import make_learner
from agents.mixing.consensus import consensus_distance, weighted_mean
from agents.subnetworks import subnetworks
from sim import simulate
from sim.checks import SimulationError
from sim.conditions import Conditions
from sim.device.waves import tape_program
from sim.settings import SimulationSettings
from sim.sources.exchange import Exchange
from topology import TopologyError, base_graph, ring
from topology.disjoint import disjoint

COUNT = 4
SETTINGS = SimulationSettings(task="digits", agents=8, submodel="width:4", topology="complete")


def simulated(agents=8, **settings):
    return simulate("digits", agents=agents, submodel="width:4", progress=False, **settings)


@pytest.mark.parametrize(("protocol", "agents"), [("exchange", 12), ("exchange", 8), ("synchronous", 12)])
def test_the_consensus_is_the_full_model_that_the_subnetworks_make_up(protocol, agents):
    history = simulated(agents, rounds=30, protocol=protocol, local_steps=5, topology="ring", partition="sizes:1")
    task = load_task("digits")
    narrow, map = subnetworks(task, COUNT)
    full = make_learner(task)
    weights = np.array([len(rows) for rows in _shards(task, agents)], np.float32)
    means = np.stack([weighted_mean(history.theta[k::COUNT], weights[k::COUNT]) for k in range(COUNT)])
    sums = np.array([weights[k::COUNT].sum() for k in range(COUNT)])
    assembled = map.assemble(means, sums)
    found = full.evaluate(full.unflatten(assembled), task.test_data)
    assert history.consensus_accuracy[-1] == pytest.approx(found["accuracy"], abs=0.003)
    assert history.consensus_loss[-1] == pytest.approx(found["loss"], rel=1e-3)
    squares = [s * consensus_distance(history.theta[k::COUNT], weights[k::COUNT]) ** 2 for k, s in enumerate(sums)]
    assert history.consensus_distance[-1] == pytest.approx(np.sqrt(sum(squares) / weights.sum()), rel=1e-3, abs=1e-6)
    assert history.theta.shape == (agents, map.narrow_size) and history.facts["full_parameters"] == map.size
    assert history.mean_drift[0] == pytest.approx(0, abs=1e-4) and history.mean_drift[-1] > 0.1
    alone = make_learner(narrow)
    assert history.accuracy[-1, 3] == pytest.approx(
        alone.evaluate(alone.unflatten(history.theta[3]), task.test_data)["accuracy"], abs=0.003
    )


def _shards(task, agents):
    from agents.learning.data import labels_or_count, shard_rows

    return [shard_rows("sizes:1", labels_or_count(task.train_data), agents, index, 0) for index in range(agents)]


def test_large_models_are_measured_where_they_lie_with_the_same_result(monkeypatch):
    settings = {"agents": 12, "rounds": 10, "local_steps": 2, "partition": "sizes:1"}
    copied = simulated(**settings)
    monkeypatch.setattr("sim.device.evaluation.COPIED_BYTES", 0)
    tape_program.cache_clear()
    lying = simulated(**settings)
    tape_program.cache_clear()
    np.testing.assert_allclose(lying.consensus_distance, copied.consensus_distance, atol=1e-6)
    np.testing.assert_allclose(lying.consensus_loss, copied.consensus_loss, rtol=1e-5)


def test_agents_mix_within_their_subnetwork_and_only_there():
    still = simulated(rounds=40, local_steps=0, weigh="equal")
    theta = still.theta
    for k in range(COUNT):
        assert np.linalg.norm(theta[k] - theta[k + COUNT]) < 1e-3
    assert min(np.linalg.norm(theta[0] - theta[k]) for k in range(1, COUNT)) > 1
    assert {tuple(edge) for edge in still.edges.tolist()} == {(k, k + COUNT) for k in range(COUNT)}


@pytest.mark.parametrize("joins", [{5: 2.5}, {1: 2.5, 5: 3.5}])
def test_who_joins_takes_over_a_model_of_its_own_subnetwork(joins):
    """Where nobody has one yet, its own is the first."""
    source = Exchange(SETTINGS.network(0), Conditions(8, 0, joins=joins))
    source.parts = COUNT
    (block,) = source.blocks(5.0, np.array([0.0, 5.0]), 5.0)
    tape = block.tape
    for agent, when in joins.items():
        joined = np.flatnonzero((tape.agent == agent) & (tape.time == when))[0]
        version = int(tape.b[joined])
        donor = version if version < 8 else int(tape.agent[version - 8])
        assert donor == (agent if when == min(joins.values()) and len(joins) == 2 else 1)


def test_of_two_that_train_nothing_a_joiner_takes_over_what_the_other_began_with():
    _, map = subnetworks(load_task("digits"), COUNT)
    init = np.random.default_rng(0).normal(size=(8, map.narrow_size)).astype(np.float32)
    theta = simulated(rounds=5, local_steps=0, weigh="equal", joins={5: 2.5, 6: 1.5}, init=init).theta
    np.testing.assert_allclose(theta[[1, 5]], init[[1, 1]], atol=1e-6)
    np.testing.assert_allclose(theta[[2, 6]], init[[2, 2]], atol=1e-6)


def test_each_subnetwork_begins_as_its_part_of_one_model():
    task = load_task("digits")
    _, map = subnetworks(task, COUNT)
    learner = make_learner(task)
    theta = np.asarray(learner.flatten(learner.init(3).params))
    begun = simulated(rounds=0.01, seed=3, delay=5.0, speeds=0.001).theta
    np.testing.assert_allclose(begun[:COUNT], [map.begin(theta, k) for k in range(COUNT)], rtol=1e-6)
    np.testing.assert_array_equal(begun[:COUNT], begun[COUNT:])


def test_the_assembled_model_is_better_than_each_subnetwork_and_near_the_whole():
    some = simulate("digits", agents=8, submodel="width:4", width=8, rounds=300, progress=False, eval_every=300)
    whole = simulate("digits", agents=8, width=8, rounds=300, progress=False, eval_every=300)
    assert some.consensus_accuracy[-1] > np.nanmean(some.accuracy[-1])
    assert some.consensus_accuracy[-1] > whole.consensus_accuracy[-1] - 0.03


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"agents": 3}, "submodel width:4 has 4 parts and the data 3 shards"),
        ({"submodel": "wide"}, "submodel is none, or width:K"),
        ({"topology": ring(8)}, "needs a topology by name"),
        ({"virtual": True}, "virtual agents train whole models"),
        ({"width": 0}, "width is a number above 0"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(given, line):
    with pytest.raises(SimulationError, match=line):
        SimulationSettings(**({"task": "digits", "agents": 8, "submodel": "width:4"} | given))


def test_topologies_side_by_side_keep_their_weights_and_never_meet():
    odd, even = np.array([1, 3, 5]), np.array([0, 2, 4, 6])
    both = disjoint([base_graph(3), ring(4)], [odd, even], 7)
    assert len(both) == len(base_graph(3))
    for r in range(len(both)):
        W = both[r].toarray()
        np.testing.assert_allclose(W.sum(0), 1)
        np.testing.assert_allclose(W[np.ix_(odd, odd)], base_graph(3)[r].toarray())
        assert not W[np.ix_(odd, even)].any()
        assert W[0, 2] == pytest.approx(1 / 3)
    lone = disjoint([ring(3), ring(3)], [odd, np.array([0, 2, 4])], 7)
    assert lone.degree.tolist() == [2, 2, 2, 2, 2, 2, 0]
    with pytest.raises(TopologyError, match="a node for each of its places"):
        disjoint([ring(3)], [even], 7)


def test_partition_rule_and_snapshots_of_ones_own_are_those_of_a_narrow_and_a_wide_task():
    def every_other(labels, agents, seed):
        return [np.arange(agent, len(labels), agents)[: 10 + agent] for agent in range(agents)]

    mine = Rule("mine", ("theta",), lambda optimizer: optimizer)
    task = replace(load_task("digits"), partition=AsGiven(every_other), rule=mine)
    history = simulate(task, agents=8, submodel="width:4", width=2, rounds=4, snapshots=[2, 4], progress=False)
    assert history.facts["rule"] == "mine" and history.facts["partition"] == "every_other"
    assert history.snapshots.shape == (2, *history.theta.shape) and len(history.snapshots[0]) == 8
    np.testing.assert_array_equal(history.snapshots[-1], history.theta)
    own = {"partition": AsGiven(every_other), "rule": mine}
    given = simulate("digits", agents=8, submodel="width:4", width=2, rounds=4, progress=False, **own)
    np.testing.assert_array_equal(given.theta, history.theta)
