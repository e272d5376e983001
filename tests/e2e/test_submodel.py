"""`--submodel width:K` with real processes: each trains a narrow model, and `agent launch` assembles the whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from live_agents import Start, address_of, wait_until
from safetensors.numpy import load_file

from agents import load_run, load_task
from agents.learning.learner import make_learner
from agents.subnetworks import subnetworks
from sim import replay

DIGITS = ("--task", "digits", "--submodel", "width:4")


def test_eight_agents_train_quarters_and_the_launch_assembles_them(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = start("launch", "-n", 8, *DIGITS, "--steps", 200, "--json", "--run-dir", run_dir, "--linger", 1)
    report = json.loads(command.end())
    card = report["consensus"]
    names = [f"agent-{index}" for index in range(8)]
    assert card["agents"] == names and card["missing"] == [] and card["distance"] < 1e-5
    assert card["subnetworks"] == {name: index % 4 for index, name in enumerate(names)}
    assert card["accuracy"] > 0.9 and card["accuracy"] > report["mean_accuracy"]
    task = load_task("digits")
    full, (narrow, map) = make_learner(task), subnetworks(task, 4)
    own, run = make_learner(narrow), load_run(run_dir)
    assert run.theta.shape == (8, map.narrow_size) and map.narrow_size < 0.3 * full.size
    for k in range(4):
        np.testing.assert_allclose(run.theta[k], run.theta[k + 4], atol=1e-6)  # Exactly finished, each with its own.
    assert min(np.linalg.norm(run.theta[0] - run.theta[k]) for k in range(1, 4)) > 0.1
    arrays = load_file(card["path"])
    found = np.concatenate([arrays[name].ravel() for name, _, _ in full.spec])
    weights = np.array([facts["weight"] for facts in run.facts])
    sums = np.array([weights[k::4].sum() for k in range(4)])
    np.testing.assert_allclose(found, map.assemble(run.theta[:4], sums), atol=1e-6)
    theirs = json.loads((run_dir / "agents" / "agent-6" / "consensus.json").read_text())
    assert theirs["agents"] == ["agent-2", "agent-6"] and theirs["subnetworks"] == {"agent-2": 2, "agent-6": 2}
    assert theirs["parameters"] == own.size
    offline = start("consensus", run_dir, "--json", "--out", tmp_path / "offline.safetensors").end()
    assert json.loads(offline)["metrics"] == pytest.approx(card["metrics"], rel=1e-4)
    for exact in (True, False):
        again = replay(run_dir, exact=exact, progress=False)
        assert again.consensus_accuracy[-1] == pytest.approx(card["accuracy"], abs=0.003)
        assert again.consensus_loss[-1] == pytest.approx(card["loss"], rel=1e-3)
    for checkpoint in run_dir.glob("agents/*/checkpoint*.safetensors"):
        checkpoint.unlink()  # Each agent's consensus model stands in for them.
    offline = start("consensus", run_dir, "--json", "--out", tmp_path / "offline.safetensors").end()
    assert json.loads(offline)["metrics"] == pytest.approx(card["metrics"], rel=1e-4)


def test_more_parts_than_shards_and_widths_that_do_not_divide_are_refused_before_anything_starts(start: Start) -> None:
    assert "width:4 has 4 parts and the data 3 shards" in refused(start, "launch", "-n", 3, *DIGITS)
    assert "got 64 times 1/3" in refused(start, "launch", "-n", 3, "--task", "digits", "--submodel", "width:3")
    assert "--submodel is none, or width:K" in refused(start, "run", "--task", "digits", "--submodel", "wide")


def refused(start: Start, *words: object) -> str:
    command = start(*words)
    wait_until(lambda: command.process.poll() is not None, "it was refused")
    assert command.process.returncode != 0
    return command.stderr


def test_a_joiner_takes_the_submodel_over_and_its_part_follows_from_its_shard(start: Start, tmp_path: Path) -> None:
    common = ("--listen", "tcp://127.0.0.1:0", "--wait-for", 2, "--steps", 40, "--linger", 1)
    submodel = ("--task", "digits", "--submodel", "width:2", "--width", 2)
    first = start("run", *submodel, *common, "--shard", "0/2", "--name", "a", "--run-dir", "a")
    join = ("--join", address_of(first, tmp_path / "a"))
    second = start("run", *common, *join, "--shard", "1/2", "--name", "b", "--run-dir", "b")
    first.end()
    second.end()
    assert "subnetwork 1 of 2, 4,810 parameters" in second.stderr
    line = start("consensus", "a", "b").end()
    assert "subnetwork 0 of width:2: a\n" in line and "subnetwork 1 of width:2: b\n" in line
