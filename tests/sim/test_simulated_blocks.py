"""Simulated agents that keep parameters to themselves or train a part of the model, by the formulas of live ones."""

import jax
import numpy as np
import pytest
from plain import run_plain

from agents import load_task
from agents.learning.learner import make_learner
from agents.mixing.blocks import ScopeError, blocks_of
from agents.mixing.consensus import consensus_distance, weighted_mean
from agents.mixing.layout import Layout
from agents.subnetworks import subnetworks
from sim import simulate
from sim.checks import SimulationError
from sim.conditions import Conditions
from sim.ending import FURTHER, OPTIMIZER
from sim.sources.block_rounds import with_block_rounds
from sim.sources.exchange import Exchange

DIGITS = make_learner(load_task("digits"))
LAYOUT = Layout((name, shape) for name, shape, _ in DIGITS.spec)
QUICK = {"agents": 4, "rounds": 40, "local_steps": 10, "progress": False, "eval_every": 40}


def spans(*names):
    return np.concatenate([np.arange(DIGITS.size)[LAYOUT.spans()[name]] for name in names])


HIDDEN, OUTPUT = spans("hidden/bias", "hidden/weights"), spans("output/bias", "output/weights")


def test_agents_that_train_a_layer_each_come_near_the_whole_swarm_and_agree():
    whole, parts = (simulate("digits", submodel=submodel, **QUICK) for submodel in ("none", "layers:2"))
    assert parts.consensus_accuracy[-1] > whole.consensus_accuracy[-1] - 0.03
    assert parts.consensus_distance[-1] < 0.1 * np.linalg.norm(parts.theta[0])
    start = np.asarray(DIGITS.flatten(DIGITS.init(0).params))
    for name, span in LAYOUT.spans().items():
        assert np.abs(parts.theta[:, span] - start[span]).max() > 0.01, f"{name} is trained"


def test_without_exchanges_each_trains_its_own_layer_alone():
    history = simulate("digits", submodel="layers:2", drop=0.999999, **QUICK | {"rounds": 5})
    start = np.asarray(DIGITS.flatten(DIGITS.init(0).params))
    for agent, theta in enumerate(history.theta):
        mine, others = (HIDDEN, OUTPUT) if agent % 2 == 0 else (OUTPUT, HIDDEN)
        assert theta[others].tolist() == start[others].tolist() and np.abs(theta[mine] - start[mine]).max() > 0.01


def test_the_device_runs_a_tape_with_a_coefficient_for_each_block_as_plain_python_does():
    init = np.random.default_rng(0).normal(size=(4, DIGITS.size)).astype(np.float32)
    quick = {**QUICK, "rounds": 6, "local_steps": 0, "eval_every": 6}
    history = simulate("digits", submodel="layers:2", private="output/bias", init=init, alpha=0.3, **quick)
    blocks = blocks_of(LAYOUT, ["output/bias"], 2)
    masses = np.array([blocks.weights(1.0, agent) for agent in range(4)])
    source = Exchange(with_block_rounds("ring", 4, 2, 0), Conditions(4, 0), alpha=0.3, weights=masses, local_steps=0)
    (block,) = source.blocks(6.0, np.array([6.0]), 6.0)
    versions = list(init.astype(np.float64))
    for cur, a, b, coefficient in zip(
        *(getattr(block.tape, name) for name in ("cur", "a", "b", "coefficient")), strict=True
    ):
        made = versions[cur].copy()
        for run, which in blocks.runs:
            if which >= 0:
                made[run] += float(coefficient[which]) * (versions[b] - versions[a])[run]
        versions.append(made)
    ends = np.array([versions[v] for v in block.tape.leaving[:4]])
    np.testing.assert_allclose(history.theta, ends, atol=1e-5)


def test_pure_consensus_ends_where_the_owners_mean_is():
    """Nothing is trained: each block goes to the mean of its owners' first models, which is conserved."""
    init = np.random.default_rng(0).normal(size=(6, DIGITS.size)).astype(np.float32)
    quick = {**QUICK, "agents": 6, "rounds": 150, "local_steps": 0, "eval_every": 150}
    history = simulate("digits", submodel="layers:2", init=init, topology="ring", **quick)
    blocks = blocks_of(LAYOUT, (), 2)
    masses = np.array([blocks.weights(1.0, agent) for agent in range(6)], np.float32)
    mean = weighted_mean(init, masses, blocks=blocks)
    np.testing.assert_allclose(history.theta, np.tile(mean, (6, 1)), atol=1e-4)
    assert history.mean_drift[-1] < 1e-3
    before = consensus_distance(init, masses, blocks=blocks)
    assert history.consensus_distance[0] == pytest.approx(float(before), rel=1e-4)


@pytest.mark.parametrize(
    "conditions", [{}, {"delay": (0.1, 1.5), "drop": 0.2}, {"online": 0.7, "joins": {1: 3.0}}], ids=str
)
def test_per_block_the_weighted_mean_stays_in_any_conditions(conditions):
    """No owner is moved by who follows; an answer that is on its way at the end has moved one side alone."""
    weights = np.array([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 5.0]])
    made = Conditions(4, 0, **conditions)
    source = Exchange(with_block_rounds("ring", 4, 2, 0), made, weights=weights, local_steps=0)
    vectors = np.random.default_rng(0).normal(size=(4, 2))
    (block,) = source.blocks(30.0, np.array([0.0]), 30.0)
    tape = block.tape.check()
    versions = list(vectors)
    for e in range(len(tape)):
        cur, a, b = (versions[read[e]] for read in (tape.cur, tape.a, tape.b))
        versions.append(cur + tape.coefficient[e].astype(float) * (b - a))
    moved, owns = tape.coefficient != 0, weights > 0
    for block in range(2):
        of_owners = owns[tape.agent, block] & moved[:, block]
        assert of_owners.any() and owns[tape.peer[of_owners], block].all()
    if not conditions:
        ends = np.array([versions[v] for v in tape.leaving[:4]])
        np.testing.assert_allclose((weights * ends).sum(0), (weights * vectors).sum(0), rtol=1e-5)


def test_what_is_private_stays_with_its_agent_whatever_the_protocol():
    start = np.asarray(DIGITS.flatten(DIGITS.init(0).params))
    synchronous = {"protocol": "synchronous", "rule": "tracking"}
    for more in ({}, {"protocol": "push-sum"}, synchronous, {"protocol": "push"}, {"virtual": True}):
        history = simulate("digits", private="output/*", **QUICK | {"rounds": 5} | more)
        heads = {theta[OUTPUT].tobytes() for theta in history.theta}
        assert len(heads) == 4 and start[OUTPUT].tobytes() not in heads
        assert np.isfinite(history.consensus_accuracy[-1])
        alone = simulate(
            "digits", private="output/*", init=history.theta, **QUICK | {"rounds": 5, "local_steps": 0} | more
        )
        assert (alone.theta[:, OUTPUT] == history.theta[:, OUTPUT]).all(), "no exchange moves it"
        assert np.abs(alone.theta[:, HIDDEN] - history.theta[:, HIDDEN]).max() > 0


def test_consensus_metrics_are_those_of_the_agents_with_what_is_exchanged_merged():
    history = simulate("digits", private="output/*", partition="labels:3", **QUICK)
    merged = weighted_mean(history.theta)
    task, accuracies = load_task("digits"), []
    for theta in history.theta:
        whole = np.where(np.isin(np.arange(DIGITS.size), OUTPUT), theta, merged)
        accuracies.append(DIGITS.evaluate(DIGITS.unflatten(jax.device_put(whole)), task.test_data)["accuracy"])
    assert history.consensus_accuracy[-1] == pytest.approx(np.mean(accuracies), abs=5e-3)
    assert history.consensus_distance[-1] < 1.0, "how far apart heads are doesn't count"


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"private": "nope"}, ScopeError, "matches no parameter"),
        ({"private": 3}, SimulationError, "patterns of names"),
        ({"submodel": "layers:5"}, SimulationError, "layers:5 has 5 parts and the data 4 shards"),
        ({"submodel": "layers:3"}, ScopeError, "layers are 2, hidden, output"),
        ({"submodel": "layers:2", "protocol": "push"}, SimulationError, "for protocol 'exchange'"),
        ({"submodel": "layers:2", "virtual": True}, SimulationError, "not for virtual agents"),
        ({"submodel": "layers:2", "topology": np.full((4, 4), 0.25)}, SimulationError, "topology by name"),
    ],
)
def test_what_cant_be_is_refused_in_one_line(settings, error, words):
    with pytest.raises(error, match=words):
        simulate("digits", **QUICK | settings)


def test_every_other_round_agents_meet_who_train_the_same():
    """As live agents lay the topology over those of their block; who is alone in it meets the others."""
    schedule = with_block_rounds("ring", 7, 3, 0)
    assert len(schedule) == 2
    assert [schedule.neighbors(i, 0).tolist() for i in (0, 3)] == [[1, 6], [2, 4]]
    assert [schedule.neighbors(i, 1).tolist() for i in (0, 1, 3, 6)] == [[3, 6], [4], [0, 6], [0, 3]]
    lone = with_block_rounds("ring", 3, 2, 0)
    assert lone.neighbors(1, 1).tolist() == [0, 2] and lone.neighbors(0, 1).tolist() == [2]


def test_the_tape_of_an_ordinary_run_has_one_coefficient_a_mix():
    source = Exchange(with_block_rounds("ring", 4, 1, 0), Conditions(4, 0), local_steps=0)
    (block,) = source.blocks(3.0, np.array([0.0]), 3.0)
    assert block.tape.coefficient.shape == (len(block.tape),)
    run_plain(block.tape, np.zeros((4, 2)))


@pytest.mark.parametrize("rule", ["drift:0.1", "tracking:0.5"])
def test_what_is_learned_sums_to_zero_among_those_who_train_a_block_and_nobody_learns_of_what_it_follows(rule):
    """What exchanges moved since the last step counts as learned already (docs/theory.md 29)."""
    given = QUICK | {"rounds": 20, "weigh": "equal", "optimizer": "sgd", "learning_rate": 0.1}
    history = simulate("digits", submodel="layers:2", rule=rule, **given)
    assert history.ending is not None and history.consensus_accuracy[-1] > 0.8
    *kept, before = [array for array in history.ending.of(OPTIMIZER).values() if array.ndim > 1]
    leaves = len(DIGITS.spec)
    learned, *rest = (
        np.concatenate([leaf.reshape(4, -1) for leaf in kept[k : k + leaves]], axis=1)
        for k in range(0, len(kept), leaves)
    )
    assert learned.shape == before.shape == history.theta.shape
    came = 0.5 * (history.ending.arrays[FURTHER] - rest[0]) if rest else 0.1 / 0.1 * (history.theta - before)
    for block, span in enumerate((HIDDEN, OUTPUT)):
        owners, followers = [block, block + 2], [1 - block, 3 - block]
        assert not learned[np.ix_(followers, span)].any()
        found = (learned + came)[np.ix_(owners, span)]
        assert np.abs(found).max() > 1e-3 and np.abs(found.sum(axis=0)).max() < 1e-4


def test_with_a_lattice_codec_agents_mix_whatever_they_keep_to_themselves():
    """The steps of the code follow what is exchanged, not how far private parameters are apart."""
    init = np.random.default_rng(0).normal(size=(4, DIGITS.size)).astype(np.float32) * 0.01
    init[:, OUTPUT] += 1000 * np.arange(4)[:, None]
    quick = QUICK | {"local_steps": 0, "topology": "complete", "init": init, "weigh": "equal"}
    history = simulate("digits", private="output/*", codec="lattice:4", **quick)
    assert history.theta[:, OUTPUT].tolist() == init[:, OUTPUT].tolist()
    spread = history.theta[:, HIDDEN].std(axis=0).max()
    assert spread < 1e-4 * init[:, HIDDEN].std(axis=0).max()
    np.testing.assert_allclose(history.theta[:, HIDDEN].mean(axis=0), init[:, HIDDEN].mean(axis=0), atol=1e-5)


def test_blocks_are_trained_with_a_lattice_codec():
    history = simulate("digits", submodel="layers:2", codec="lattice:4", **QUICK)
    assert history.consensus_accuracy[-1] > 0.9


def test_a_run_of_blocks_goes_on_as_if_it_had_not_ended():
    given = QUICK | {"submodel": "layers:2", "private": "hidden/bias", "local_steps": 1, "eval_every": 5}
    given |= {"optimizer": "sgd", "learning_rate": 0.1}
    whole = simulate("digits", **given | {"rounds": 20})
    again = simulate("digits", **given | {"rounds": 10}, resume=simulate("digits", **given | {"rounds": 10}))
    np.testing.assert_array_equal(whole.theta, again.theta)
    with pytest.raises(SimulationError, match="submodel"):
        simulate("digits", **given | {"submodel": "none"}, resume=whole)


def test_subnetworks_may_keep_parameters_to_themselves():
    """Each agent's accuracy is that of its own subnetwork, and the consensus's their mean, with the rest merged."""
    quick = QUICK | {"agents": 4, "rounds": 30, "submodel": "width:2", "weigh": "equal"}
    history = simulate("digits", private="output/bias", **quick)
    narrow, map = subnetworks(load_task("digits"), 2)
    learner = make_learner(narrow)
    own = Layout((name, shape) for name, shape, _ in learner.spec).spans()["output/bias"]
    theta = history.theta
    assert map.narrow_size == theta.shape[1] and np.abs(theta[0, own] - theta[2, own]).max() > 1e-3
    found = []
    for agent in range(4):
        merged = theta[agent % 2 :: 2].mean(axis=0)
        merged[own] = theta[agent, own]
        found.append(learner.evaluate(learner.unflatten(jax.device_put(merged)), load_task("digits").test_data))
    assert history.consensus_accuracy[-1] == pytest.approx(np.mean([each["accuracy"] for each in found]), abs=3e-3)
