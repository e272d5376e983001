"""`agent status --merged`: how good the agents' models are once merged, while they train, from outside."""

import json

import jax
import numpy as np
import pytest

from agents import Peer
from agents.command.cli import run_command
from agents.learning.learner import make_learner
from agents.learning.loading import load_task


def test_the_merged_model_of_a_running_swarm_is_judged(capfd: pytest.CaptureFixture[str]) -> None:
    learner = make_learner(load_task("digits"))
    states = [learner.init(seed).params for seed in (0, 1)]
    with Peer(states[0], task="digits", name="a", weight=3.0, topology="complete") as first:
        other = Peer(states[1], task="digits", name="b", join=first.address, weight=1.0, topology="complete")
        with other:
            other.meet(states[1], resumed=True)
            assert run_command(["status", f"--join={first.address}", "--merged", "--json"]) == 0
            found = json.loads(capfd.readouterr().out)["merged"]
            assert run_command(["status", f"--join={first.address}", "--merged"]) == 0
    theta = [np.asarray(learner.flatten(params), np.float64) for params in states]
    merged = learner.unflatten(jax.device_put(np.average(theta, axis=0, weights=[3, 1]).astype(np.float32)))
    test = {name: np.asarray(rows[:]) for name, rows in load_task("digits").test_data.items()}
    assert found["metrics"] == pytest.approx(learner.evaluate(merged, test), abs=1e-4)
    assert found["agents"] == ["a", "b"] and found["missing"] == []
    assert found["metrics_of"]["a"] == pytest.approx(learner.evaluate(states[0], test), abs=1e-4)
    shown = capfd.readouterr().out
    assert "2 alive" in shown and f"merged {found['accuracy']:.4f}" in shown


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--task", "digits"], "--task and --data say by what the merged model is judged: give --merged too"),
        (["--merged"], "--merged needs the swarm's task to judge by: give it with --task, as the swarm has it"),
    ],
)
def test_what_it_is_judged_by_is_one_clear_line(more: list[str], line: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Peer({"w": np.zeros(3, np.float32)}, task="mine.py", name="a") as peer:
        assert run_command(["status", f"--join={peer.address}", *more]) == 2
    assert capfd.readouterr().err.splitlines()[-1] == f"agent: {line} [G101]"
