"""`agent launch` from the outside: what it prints, what it leaves, and what survives."""

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from live_agents import Start, facts, last_step, naming, wait_until, write_linear_task
from safetensors.numpy import load_file

from agents import load_run
from agents.finite import DIVERGED

SHORT = ("--linger", 1, "--settle", 10)
FIELDS = {"run_dir", "seconds", "agents", "lost", "mean_accuracy", "best_accuracy", "consensus"}
AGENT_FIELDS = {"agent", "steps", "exchanges", "bytes_sent", "lost", "loss", "accuracy", "metrics", "pid"}
CONSENSUS_FIELDS = {"agents", "missing", "accuracy", "loss", "metrics", "distance", "path"}


def test_four_agents_report_and_leave_everything_in_the_run_folder(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = start("launch", "-n", 4, "--task", "digits", "--steps", 150, "--json", "--run-dir", run_dir, *SHORT)
    report = json.loads(command.end())  # exactly one object
    assert report.keys() >= FIELDS
    assert report["consensus"].keys() >= CONSENSUS_FIELDS
    assert all(agent.keys() >= AGENT_FIELDS for agent in report["agents"])
    names = [f"agent-{index}" for index in range(4)]
    assert [agent["agent"] for agent in report["agents"]] == names == report["consensus"]["agents"]
    assert report["consensus"]["missing"] == []
    assert all(agent["steps"] == 150 and agent["exchanges"] > 0 < agent["bytes_sent"] for agent in report["agents"])
    assert report["lost"] == 0, "nobody crashed"
    assert report["consensus"]["accuracy"] > 0.85
    assert report["best_accuracy"] >= report["mean_accuracy"] > 0.8
    for file in ("config.toml", "consensus.safetensors", "consensus.json", "report.json"):
        assert (run_dir / file).is_file(), file
    for name in names:
        for file in ("config.toml", "metrics.jsonl", "checkpoint.safetensors"):
            assert (run_dir / "agents" / name / file).is_file(), (name, file)
    run = load_run(run_dir)
    assert run.agents == names and run.steps.tolist() == [150] * 4
    merged = np.concatenate([array.ravel() for array in load_file(report["consensus"]["path"]).values()])
    assert run.theta.shape == (4, merged.size)
    assert "4 agents; files in" in command.stderr
    log = (run_dir / "agents" / "agent-0" / "log").read_text()
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d{4} trained 150 steps", log, re.MULTILINE)
    wait_until(lambda: not naming(tmp_path), "all have ended")


@pytest.mark.parametrize("victim", [0, 2], ids=["the one the others joined", "another"])
def test_the_others_finish_when_one_is_killed(start: Start, tmp_path: Path, victim: int) -> None:
    run_dir = tmp_path / "run"
    arguments = ("--steps", 1500, "--json", "--silent", 2, "--run-dir", run_dir, *SHORT)
    command = start("launch", "-n", 4, "--task", "digits", *arguments)
    folder = run_dir / "agents" / f"agent-{victim}"
    command.wait_for(lambda: last_step(folder) >= 50, "the victim trained 50 steps")
    os.kill(facts(folder)["pid"], signal.SIGKILL)
    report = json.loads(command.end())
    others = [f"agent-{index}" for index in range(4) if index != victim]
    assert report["consensus"]["agents"] == others
    assert report["consensus"]["missing"] == [f"agent-{victim}"]
    assert [agent["steps"] for agent in report["agents"] if agent["agent"] in others] == [1500] * 3
    assert f"agent-{victim} was ended by SIGKILL" in command.stderr
    lost = {agent["agent"]: agent["lost"] for agent in report["agents"]}
    assert report["lost"] == sum(lost.values()) and lost[f"agent-{victim}"] == 0
    assert max(lost.values()) <= 2, (
        "the model is one chunk: one exchange that it began with the victim, one the other way"
    )


def test_ctrl_c_while_training_still_assembles(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = ("--steps", 1_000_000, "--json", "--run-dir", run_dir, *SHORT)
    command = start("launch", "-n", 2, "--task", "digits", *arguments)
    for index in range(2):
        command.wait_for(lambda i=index: last_step(run_dir / "agents" / f"agent-{i}") > 100, "it trains")
    command.interrupt()
    report = json.loads(command.end(130))
    assert report["consensus"]["agents"] == ["agent-0", "agent-1"]
    assert all(100 < agent["steps"] < 1_000_000 for agent in report["agents"])
    wait_until(lambda: not naming(tmp_path), "all have ended")


def test_the_same_seed_gives_the_same_model(start: Start, tmp_path: Path) -> None:
    thetas = []
    for name in ("first", "second"):
        folder = tmp_path / name
        start("launch", "-n", 1, "--task", "digits", "--steps", 60, "--seed", 7, "--run-dir", folder, *SHORT).end()
        thetas.append(load_run(folder).theta)
    np.testing.assert_array_equal(*thetas)


def test_the_config_it_leaves_starts_it_again(start: Start, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    start("launch", "-n", 2, "--task", "digits", "--steps", 20, "--run-dir", first, *SHORT).end()
    start("launch", "--config", first / "config.toml", "--run-dir", second).end()
    assert (first / "config.toml").read_text() == (second / "config.toml").read_text()
    assert load_run(second).steps.tolist() == [20, 20]


def test_a_task_without_accuracy_ends_with_its_own_metrics(start: Start, tmp_path: Path) -> None:
    write_linear_task(tmp_path / "mine.py", "{'worst': jnp.max(jnp.abs(residual(params, batch)))}")
    run_dir = tmp_path / "run"
    command = start("launch", "-n", 2, "--task", "mine.py", "--steps", 20, "--run-dir", run_dir, *SHORT)
    command.end()
    assert "worst: mean of agents 0." in command.stderr and "consensus distance" in command.stderr
    assert json.loads((run_dir / "report.json").read_text())["consensus"]["metrics"].keys() == {"loss", "worst"}


def test_of_a_run_that_diverges_everyone_says_why(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    rate = ("--optimizer", "sgd", "--learning-rate", 1e30, "--finish", "gossip")
    command = start("launch", "-n", 2, "--task", "digits", "--steps", 50, "--run-dir", run_dir, *rate, *SHORT)
    command.end(2)
    for index in range(2):
        assert f"agent-{index}: {DIVERGED}" in command.stderr
        assert f": {DIVERGED}" in (run_dir / "agents" / f"agent-{index}" / "log").read_text()
    last = command.stderr.strip().splitlines()[-1]
    assert "agent-0 is missing: its vector holds NaN, infinity or values beyond 1e19" in last
    assert "00000" not in command.stderr
