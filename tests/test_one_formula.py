"""Invariant 8: every world, live or simulated, computes an exchange and a consensus by the functions of agents.mixing.

So with what an agent ends training, by those of the rules.

Each function is replaced, wherever it was imported, by one that counts its calls; what is compiled calls them while it
is being traced.
"""

import importlib
import pkgutil
import sys
from collections import Counter

import numpy as np
import pytest

import agents.mixing
import sim
from agents import Peer
from agents.config import to_toml
from agents.learning import learner
from agents.learning.loading import load_task
from agents.mixing import consensus, exchange
from agents.protocol.incarnation import Incarnation
from agents.recorder import ANSWER, APPLY, FILE, FINAL, OFFER, PUBLISH, SAVE, TRAIN, Recorder
from agents.schedule import schedule_of
from agents.settings import Gossiping, Learning, Placing
from agents.trainer import EpochBatches, ShardData, Trainer
from agents.values import Every, Shard
from sim import replay, simulate
from sim.conditions import Conditions
from sim.device.rounds import rounds_program
from sim.device.waves import tape_program
from sim.exact_replay import follow
from sim.recordings import recordings
from sim.sources.exchange import Exchange
from sim.sources.push import Push
from sim.sources.virtual import Virtual
from topology import ring

FORMULAS = {
    exchange: ("rate", "answer", "difference", "apply", "clip"),
    consensus: ("weighted_mean", "consensus_distance"),
    importlib.import_module("agents.learning.rules.ema"): ("averaged",),
}


@pytest.fixture
def calls(monkeypatch):
    """How often each formula was called, in whichever module it was looked up."""
    for package in (agents, sim):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:  # Of an extra that isn't installed, such as a tracker.
                assert not error.name.startswith(("agents", "sim", "topology", "transport"))
    counted = Counter()

    def counting(name, function):
        def counter(*arguments, **keywords):
            counted[name] += 1
            return function(*arguments, **keywords)

        return counter

    for home, names in FORMULAS.items():
        for name in names:
            function = getattr(home, name)
            replaced = counting(name, function)
            for module in list(sys.modules.values()):
                if getattr(module, "__name__", "").startswith(("agents", "sim")) and vars(module).get(name) is function:
                    monkeypatch.setattr(module, name, replaced)
    tape_program.cache_clear()
    rounds_program.cache_clear()
    yield counted
    tape_program.cache_clear()
    rounds_program.cache_clear()


def test_live_agents_call_them(calls):
    params = {"w": np.zeros(3, np.float32)}
    with Peer(params, task="x", every="1steps", name="a") as a, Peer(params, task="x", join=[a.address], name="b") as b:
        b.meet(params)
        while not a.view().me.report.exchanges:
            a.boundary(params)
    assert set(calls) == {"rate", "answer", "apply", "clip"}


def test_the_compiled_simulator_calls_them(calls):
    simulate("digits", agents=3, rounds=2, progress=False, init=np.zeros((3, 4810)), eval_every=2)
    assert set(calls) == {"rate", "answer", "difference", "apply", "weighted_mean", "consensus_distance"}


def test_synchronous_rounds_call_them(calls):
    simulate("digits", agents=3, rounds=2, progress=False, protocol="synchronous", eval_every=2)
    assert set(calls) == {"answer", "difference", "apply", "weighted_mean", "consensus_distance"}


@pytest.mark.parametrize("source", [Exchange, Push])
def test_sources_take_their_coefficients_from_the_rate(calls, source):
    (block,) = source(ring(4), Conditions(4), alpha=0.75).blocks(3.0, np.array([]), 3.0)
    assert set(calls) == {"rate"}
    assert set(np.abs(block.tape.coefficient)) == {0.0, 0.25}


def test_virtual_agents_take_theirs_from_the_core_which_takes_it_from_the_rate(calls):
    (block,) = Virtual("ring", Conditions(4), alpha=0.75).blocks(3.0, np.array([]))
    assert set(calls) == {"rate"}
    assert set(np.abs(block.tape.coefficient)) == {0.0, 0.25}


def record(run_dir, rule=None):
    """What two agents would leave that train a step, exchange once, end and save."""
    mine, other = Incarnation("a", 1), Incarnation("b", 1)
    operations = {
        mine: [(OFFER, other, 7, 0.0), (APPLY, other, 7, 0.25)],
        other: [(ANSWER, mine, 7, 0.25)],
    }
    for index, (who, exchanged) in enumerate(operations.items()):
        folder = run_dir / "agents" / who.agent
        folder.mkdir(parents=True)
        gossiping = Gossiping(alpha=0.75, weigh="equal", rule=rule)
        settings = Learning(task="digits"), gossiping, Placing(shard=Shard(index, 2))
        (folder / "config.toml").write_text(to_toml(*settings))
        recorder = Recorder(folder / FILE)
        facts = {"agent": who.agent, "incarnation": 1, "step": 0, "index": index, "steps": 1, "chunk_steps": 1}
        recorder.begin(facts | {"parameters": 4810, "environment": {}})
        recorder.note(TRAIN, 1, number=0)
        recorder.note(PUBLISH, 0)
        for op, peer, number, rate in exchanged:
            recorder.note(op, 0, peer, number, rate)
        recorder.note(PUBLISH, 0)
        recorder.note(FINAL)
        recorder.note(SAVE, number=1)
        recorder.close()
    return run_dir


def test_recorded_replay_calls_them(calls, tmp_path):
    history = replay(record(tmp_path), progress=False)
    assert {"difference", "apply", "weighted_mean", "consensus_distance"} <= set(calls)
    assert history.exchanges[-1] == 1


def test_exact_replay_calls_them(calls, tmp_path):
    replayed = follow(recordings(record(tmp_path)))
    assert set(calls) == {"answer", "apply", "clip"}
    np.testing.assert_allclose(replayed.theta, replay(tmp_path, progress=False).theta, atol=1e-6)


def test_what_agents_end_with_comes_of_one_function(calls, tmp_path, monkeypatch):
    """Traced once in each world, where a learner isn't tried on shapes before."""
    monkeypatch.setattr(learner, "check_followed", lambda *given: None)
    rule = "ema:0.37"
    simulate("digits", agents=3, rounds=1, progress=False, rule=rule)
    assert calls.pop("averaged") == 1
    made, shard = learner.make_learner(load_task("digits"), rule=rule), ShardData({}, 0, 8)
    Trainer(made, shard, EpochBatches(shard, 8, 0, 1), schedule_of(Every(steps=1), 0.0)).end(made.init(0))
    assert calls.pop("averaged") == 1
    follow(recordings(record(tmp_path, rule)))
    assert calls.pop("averaged") == 1
