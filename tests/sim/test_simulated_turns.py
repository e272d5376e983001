"""Simulated agents that go to the next subnetwork: who trains which model with what, and what stays as it was."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from agents import Rule, load_task
from agents.learning.data import batch_rows, labels_or_count, load_rows, shard_rows
from agents.learning.learner import make_learner
from agents.mixing.consensus import consensus_distance
from agents.submodel import parse, part_in_turn
from agents.subnetworks import subnetworks
from agents.values import Shard
from sim import simulate
from sim.checks import SimulationError
from sim.conditions import Conditions
from sim.settings import SimulationSettings
from sim.sources.exchange import Exchange
from sim.tape import TRAIN
from sim.turns import Turns, held_by
from topology import complete

COUNT, AGENTS = 2, 4


def simulated(**settings):
    given = {"agents": AGENTS, "submodel": f"width:{COUNT}", "topology": "complete", "progress": False, "eval_every": 3}
    return simulate("digits", **(given | settings))


def still(turns, **settings):
    """Seven rounds of agents whose training changes nothing, from random models; one program for all such runs."""
    given = {"optimizer": "sgd", "learning_rate": 1e-30, "rounds": 7, "snapshots": [3, 5], "init": random_start()}
    return simulated(turns=turns, **(given | settings))


def shards(agents, partition="sizes:1"):
    labels = labels_or_count(load_task("digits").train_data)
    return [shard_rows(partition, labels, agents, index, 0) for index in range(agents)]


def random_start():
    _, map = subnetworks(load_task("digits"), COUNT)
    return np.random.default_rng(0).normal(0, 0.1, (AGENTS, map.narrow_size)).astype(np.float32)


@pytest.mark.parametrize("turn", range(6))
def test_a_turn_gives_each_agent_one_model_of_the_subnetwork_that_it_goes_to(turn):
    models = np.arange(12)
    holders = held_by(models, turn, 4)
    assert sorted(holders) == models.tolist() and holders[:4].tolist() == [0, 1, 2, 3]
    submodel = parse("width:4")
    for model, holder in zip(models.tolist(), holders.tolist(), strict=True):
        assert part_in_turn(holder, turn, 4) == submodel.part(Shard(model, 12))
        assert held_by(model, turn, 4) == holder and holder // 4 == model // 4


def test_all_agents_go_on_at_once_and_a_tape_ends_there():
    conditions = Conditions(AGENTS, 5, drop=0.2)
    moments = np.arange(0, 13, 2.0)
    every, local_steps = 6, 2
    there = Exchange(complete(AGENTS), conditions, local_steps=local_steps, turns=Turns(every, local_steps, COUNT))
    passed = list(there.blocks(12.0, moments, 5.0))
    (plain,) = Exchange(complete(AGENTS), conditions, local_steps=local_steps).blocks(12.0, moments, 12.0)
    assert [block.until for block in passed] == [3, 6, 9, 12]
    taken = {agent: [] for agent in range(AGENTS)}
    for block in passed:
        tape = block.tape.check()
        trains = np.flatnonzero(tape.kind == TRAIN)
        (turn,) = set(tape.step[trains] // every)
        for event in trains:
            model = int(tape.cur[event])
            while model >= AGENTS:
                model = int(tape.cur[model - AGENTS])
            assert tape.agent[event] == (model if model < COUNT else 2 + (model - turn) % COUNT)
            taken[int(tape.agent[event])].append(int(tape.step[event]))
    assert all(steps == list(range(0, 24, local_steps)) for steps in taken.values())
    assert np.concatenate([block.rounds for block in passed]).tolist() == moments.tolist()
    for name in ("exchanges", "messages"):
        assert np.concatenate([getattr(block, name) for block in passed]).tolist() == getattr(plain, name).tolist()
    mixed = [block.tape.coefficient[block.tape.kind != TRAIN] for block in passed]
    np.testing.assert_array_equal(np.concatenate(mixed), plain.tape.coefficient[plain.tape.kind != TRAIN])


def test_agents_train_what_they_hold_with_their_own_shards_and_optimizers():
    """A plain loop without exchanges: alpha 1 keeps all of oneself."""
    rounds, every = 4, 2
    history = simulated(rounds=rounds, turns=every, alpha=1.0, optimizer="adam", partition="sizes:1")
    task = load_task("digits")
    narrow, map = subnetworks(task, COUNT)
    learner, full = make_learner(narrow, "adam", None, rounds), make_learner(task)
    first, data = full.flatten(full.init(0).params), load_rows(task.train_data, slice(None))
    models = [np.asarray(map.begin(first, model % COUNT)) for model in range(AGENTS)]
    fresh, train, dealt = learner.init(0), jax.jit(learner.train), shards(AGENTS)
    optimizers = [fresh.opt_state] * AGENTS
    for step in range(rounds):
        for model in range(AGENTS):
            agent = held_by(model, step // every, COUNT)
            rows = dealt[agent][batch_rows(0, agent, step, 1, task.batch_size, len(dealt[agent]))]
            state = fresh._replace(opt_state=optimizers[agent], params=learner.unflatten(models[model]))
            state, _ = train(state, data, rows.astype(np.int32), np.int32(agent), np.int32(step))
            models[model], optimizers[agent] = np.asarray(learner.flatten(state.params)), state.opt_state
    np.testing.assert_allclose(history.theta, models, atol=2e-6)


def test_the_sum_over_each_subnetwork_is_kept_through_turns():
    history = still(1, weigh="equal", alpha=0.7)
    for k in range(COUNT):
        np.testing.assert_allclose(history.theta[k::COUNT].sum(0), random_start()[k::COUNT].sum(0), atol=1e-6)
    assert history.consensus_distance[-1] < history.consensus_distance[0] / 4


def test_exchanges_and_the_consensus_weigh_whoever_holds_a_model():
    weights = np.array([len(rows) for rows in shards(AGENTS)], float)
    history = still(3, partition="sizes:1", alpha=0.9)
    held, squares = weights[held_by(np.arange(AGENTS), 1, COUNT)], []
    for k in range(COUNT):
        before, after = (theta[k::COUNT] for theta in history.snapshots)
        np.testing.assert_allclose(held[k::COUNT] @ before, held[k::COUNT] @ after, rtol=1e-4, atol=1e-3)
        assert np.abs(weights[k::COUNT] @ (before - after)).max() > 1
        squares.append(held[k::COUNT].sum() * consensus_distance(before, held[k::COUNT]) ** 2)
    assert history.rounds[2] == history.snapshot_rounds[0] + 2 == 5
    assert history.consensus_distance[1] == pytest.approx(np.sqrt(sum(squares) / held.sum()), rel=1e-3)


def test_each_turn_sends_each_model_once_that_another_agent_takes_over():
    passed, kept = still(2), still(100)
    assert passed.rounds.tolist() == [0, 3, 5, 6, 7] and passed.exchanges[-1] > 0
    more = np.array([0, 1, 2, 3, 3]) * (AGENTS - COUNT) * 4 * passed.theta.shape[1]
    np.testing.assert_array_equal(passed.bytes - kept.bytes, more)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"turns": 0}, "turns is a number of local steps"),
        ({"turns": "100steps"}, "turns is a number of local steps"),
        ({"turns": 3, "local_steps": 2}, "a multiple of local_steps=2: got 3"),
        ({"local_steps": 0}, "a multiple of local_steps=0"),
        ({"submodel": "none"}, "turns are of submodel 'width:K'"),
        ({"submodel": "layers:2"}, "turns are of submodel 'width:K'"),
        ({"agents": 5}, "as many agents for each subnetwork, two or more: got submodel 'width:2' with 5 agents"),
        ({"agents": 2}, "as many agents for each subnetwork, two or more: got submodel 'width:2' with 2 agents"),
        ({"protocol": "push"}, "turns are for protocol 'exchange'"),
        ({"speeds": [1, 2, 1, 1]}, "simulated turns need agents that take their steps together"),
        ({"delay": 0.5}, "leave out delay=0.5"),
        ({"private": "output/*"}, r"leave out private='output/\*'"),
        ({"rule": "drift"}, "turns go with rule 'parameters'"),
    ],
)
def test_what_turns_do_not_go_with_is_refused_in_one_line(given, line):
    with pytest.raises(SimulationError, match=line):
        SimulationSettings(**({"task": "digits", "agents": 4, "submodel": "width:2", "turns": 100} | given))


def test_a_rule_of_ones_own_that_follows_exchanges_is_refused():
    own = Rule("mine", ("theta",), lambda optimizer: optimizer, final=lambda state, params: (state, params))
    task = replace(load_task("digits"), rule=own)
    with pytest.raises(SimulationError, match=r"turns go with rule 'parameters', .* got rule 'mine'"):
        simulate(task, agents=4, submodel="width:2", turns=100, progress=False)
