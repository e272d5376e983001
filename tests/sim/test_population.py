"""The device against the dumbest reference: the same learner called event by event, W @ Theta by NumPy."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from plain import run_blocks

from agents.learning.data import Batches, batch_rows, load_rows, shard_rows
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from sim import simulate, sweep
from sim.conditions import Conditions
from sim.device.rounds import mix
from sim.shards import Shards
from sim.sources.exchange import Exchange
from sim.sources.push import Push
from sim.sources.push_sum import PushSum
from sim.sources.synchronous import MAX_DEGREE, mixing_of
from topology import base_graph, metropolis_hastings, one_peer_exponential, ring, star, torus

AGENTS, ROUNDS = 6, 5


@pytest.fixture(scope="module")
def task():
    return load_task("digits")


RULES = {"exchange": "ema:0.5", "push": "parameters", "push-sum": "parameters"}


@pytest.mark.parametrize(("protocol", "rule"), RULES.items())
def test_a_simulated_run_is_what_the_learner_does_event_by_event(task, protocol, rule):
    """Invariant 5, with training."""
    settings = {"partition": "sizes:0.5", "rounds": ROUNDS, "agents": AGENTS, "delay": (0.0, 0.7), "seed": 3}
    settings["rule"] = rule
    history = simulate("digits", topology="ring", protocol=protocol, progress=False, eval_every=2, **settings)
    learner = make_learner(task, total_steps=ROUNDS, rule=rule)
    shards = Shards(task, "sizes:0.5", AGENTS, [3])
    data = jax.device_put(shards.data)
    states = [learner.init(3) for _ in range(AGENTS)]

    def train(vector, agent, step):
        rows = shards.rows(np.array([agent]), np.array([step]), 1)[0]
        states[agent] = learner.replace(states[agent], np.asarray(vector, np.float32))
        states[agent], _ = learner.train(states[agent], data, rows, agent, step, None, np.uint32(3))
        return np.array(learner.flatten(states[agent].params), np.float64)

    weights = shards.sizes.astype(float)
    conditions = Conditions(AGENTS, 3, delay=(0.0, 0.7))
    kinds = {"exchange": partial(Exchange, weights=weights), "push": Push, "push-sum": PushSum}
    source = kinds[protocol](ring(AGENTS), conditions, message_bytes=4 * learner.size)
    first = [np.asarray(learner.flatten(states[0].params), np.float64)] * AGENTS
    final, taken, _ = run_blocks(source.blocks(ROUNDS, np.array([0.0, 2, 4, 5]), ROUNDS), first, train)
    ended = [learner.final(learner.replace(*each)) for each in zip(states, np.float32(final), strict=True)]
    final = taken[-1] = np.array([learner.flatten(state.params) for state in ended], np.float64)
    assert np.linalg.norm(history.theta - final) < 1e-5 * np.linalg.norm(final)
    mean = np.einsum("a,sap->sp", weights / weights.sum(), taken)
    spread = np.einsum("a,sap->s", weights / weights.sum(), (taken - mean[:, None]) ** 2)
    np.testing.assert_allclose(history.consensus_distance, np.sqrt(spread), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history.mean_drift, np.linalg.norm(mean - first[0], axis=1), rtol=1e-4, atol=1e-5)


def test_synchronous_gossip_is_measured_after_whole_rounds_as_often_as_others():
    """A fiftieth of 75 rounds is 1.5: half of the moments are no whole round, and are the next one."""
    settings = {"agents": 4, "rounds": 75, "local_steps": 0, "protocol": "synchronous", "progress": False}
    found = simulate("digits", snapshots=True, **settings)
    assert found.rounds.tolist() == [*np.ceil(np.arange(0, 75, 1.5)), 75]
    every = simulate("digits", eval_every=1, **settings)
    np.testing.assert_array_equal(found.consensus_distance, every.consensus_distance[found.rounds.astype(int)])
    assert (np.abs(found.snapshots).sum((1, 2)) > 0).all()


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
@pytest.mark.parametrize("optimizer", [None, "adam"])
def test_one_agent_alone_equals_ordinary_training_bit_for_bit(task, protocol, optimizer):
    """Invariant 3."""
    settings = {"optimizer": optimizer, "protocol": protocol, "rounds": 30, "seed": 1, "progress": False}
    history = simulate("digits", agents=1, **settings)
    learner = make_learner(task, optimizer, total_steps=30, seed=1)
    data, state = jax.device_put(load_rows(task.train_data, slice(None))), learner.init(1)
    rows = shard_rows("iid", len(data["y"]), 1, 0, 1)
    for step in range(30):
        state, _ = learner.train(state, data, rows[batch_rows(1, 0, step, 1, task.batch_size, len(rows))], 0, step)
    assert np.asarray(learner.flatten(state.params)).tobytes() == history.theta[0].tobytes()


@pytest.mark.parametrize(
    "topology", [torus(3, 4), star(MAX_DEGREE + 3), base_graph(5, 1), one_peer_exponential(6)], ids=repr
)
def test_synchronous_mixing_is_w_theta(topology):
    theta = jax.numpy.asarray(np.random.default_rng(0).normal(size=(topology.n, 7)), "float32")
    matrices = list(topology) if hasattr(topology, "graphs") else [metropolis_hastings(topology)]
    mixing = mixing_of([topology])
    for r in range(2 * len(matrices)):
        np.testing.assert_allclose(
            mix(mixing, theta, r), matrices[r % len(matrices)] @ np.asarray(theta), rtol=1e-4, atol=1e-5
        )


def test_agents_are_evaluated_as_the_learner_evaluates(task):
    history = simulate("digits", agents=4, rounds=8, eval_every=8, picked=2, progress=False)
    learner = make_learner(task)
    chosen = np.flatnonzero(~np.isnan(history.accuracy[-1]))
    assert len(chosen) == 2
    for name, values, merged in (
        ("accuracy", history.accuracy, history.consensus_accuracy),
        ("loss", history.loss, history.consensus_loss),
    ):
        for agent in chosen:
            expected = learner.evaluate(learner.unflatten(history.theta[agent]), task.test_data)
            assert values[-1, agent] == pytest.approx(expected[name], rel=1e-5)
        expected = learner.evaluate(learner.unflatten(history.theta.mean(0)), task.test_data)
        assert merged[-1] == pytest.approx(expected[name], rel=1e-3)


@pytest.mark.parametrize("protocol", ["exchange", "synchronous"])
def test_how_many_are_trained_at_once_changes_nothing_but_rounding(protocol):
    settings = {"agents": 5, "rounds": 6, "protocol": protocol, "progress": False, "eval_every": 3}
    runs = [simulate("digits", agents_per_chunk=chunk, **settings) for chunk in (None, 1, 2)]
    for run in runs[1:]:
        np.testing.assert_allclose(run.theta, runs[0].theta, atol=1e-5)
        np.testing.assert_allclose(run.accuracy, runs[0].accuracy, atol=0.01)
    again = simulate("digits", **settings)
    assert again.theta.tobytes() == runs[0].theta.tobytes()


@pytest.mark.parametrize(
    ("protocol", "topology", "more"),
    [
        ("exchange", "regular:3", {"delay": (0, 0.9), "drop": 0.2}),
        ("push-sum", "ring", {"delay": 0.3, "online": 0.7}),
        ("synchronous", "regular:3", {}),
        ("synchronous", "one-peer-exponential", {}),
        ("exchange", "ring", {"virtual": True, "delay": 0.1}),
    ],
)
def test_a_sweep_is_the_runs_it_is_made_of(protocol, topology, more):
    """Seeds run side by side, and have nothing to do with each other."""
    settings = {"protocol": protocol, "topology": topology, "partition": "sizes:0.5", "picked": 2, **more}
    settings |= {"agents": 6, "rounds": 5, "progress": False}
    found = sweep("digits", seeds=[0, 4, 7], alpha=[0.5, 0.9], **settings)
    assert list(found) == [(alpha, seed) for alpha in (0.5, 0.9) for seed in (0, 4, 7)]
    for alpha, seed in [(0.5, 0), (0.9, 4), (0.9, 7)]:
        one, alone = found[alpha, seed], simulate("digits", alpha=alpha, seed=seed, **settings)
        assert one.facts["seed"] == seed and one.facts["alpha"] == alpha
        for name in ("rounds", "bytes", "exchanges", "edges"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name), err_msg=name)
        for name in ("theta", "consensus_distance", "mean_drift", "accuracy", "consensus_accuracy", "consensus_loss"):
            np.testing.assert_allclose(getattr(one, name), getattr(alone, name), rtol=1e-4, atol=3e-5, err_msg=name)


def test_a_sweep_over_a_dense_mixing_matrix():
    found = sweep("digits", seeds=[1, 2], local_steps=0, agents=MAX_DEGREE + 3, topology="complete", rounds=1,
                  protocol="synchronous", progress=False)  # fmt: skip
    for history in found.values():
        assert history.consensus_distance[-1] < 1e-5 * history.consensus_distance[0]


def test_a_setting_that_simulate_does_not_take_is_refused():
    with pytest.raises(TypeError, match="alhpa"):
        sweep("digits", agents=4, alhpa=[0.5])


def test_batches_for_many_agents_are_those_of_each():
    random = np.random.default_rng(0)
    samples = random.integers(1, 40, 12)
    batches = Batches(np.full(12, 7), samples, 16, numbers=np.arange(12) + 3)
    for start in (0, 10, 25):
        agents, steps = random.integers(0, 12, 30), random.integers(start, start + 10, 30)
        rows = batches.rows(agents, steps, 2)
        for found, agent, step in zip(rows, agents.tolist(), steps.tolist(), strict=True):
            assert found.tolist() == batch_rows(7, agent + 3, step, 2, 16, int(samples[agent])).tolist()


def test_a_task_object_with_its_own_batch_size_works(task):
    history = simulate(replace(task, batch_size=4), agents=3, rounds=4, progress=False)
    assert history.theta.shape == (3, 4810) and np.isfinite(history.theta).all()


RUN = """
import sys
import jax
if len(sys.argv) > 2:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", 2, int(sys.argv[3]))
import numpy as np
from sim import simulate
assert len(jax.devices()) == 2
runs = [simulate("digits", agents=5, rounds=6, protocol=p, progress=False).theta for p in ("exchange", "synchronous")]
np.save(sys.argv[1], runs)
"""


def test_two_devices_and_two_processes_give_what_one_gives(tmp_path):
    """Processes join by jax.distributed, over Gloo."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    forced = os.environ | {"XLA_FLAGS": flags}
    commands = [
        ([str(tmp_path / "devices.npy")], forced),
        ([str(tmp_path / "one.npy"), str(port), "0"], os.environ),
        ([str(tmp_path / "other.npy"), str(port), "1"], os.environ),
    ]
    started = [subprocess.Popen([sys.executable, "-c", RUN, *flags], env=env) for flags, env in commands]
    assert [process.wait(150) for process in started] == [0, 0, 0]
    alone = [
        simulate("digits", agents=5, rounds=6, protocol=protocol, progress=False).theta
        for protocol in ("exchange", "synchronous")
    ]
    for name in ("devices", "one", "other"):
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), alone, atol=1e-6)
