"""`agents.launch`: a launch from Python is watched, interrupted, ended and read, and leaves no process."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from live_agents import naming, wait_until

from agents import Task, launch, load_task
from agents.command.launched import Launched
from agents.command.supervise import LaunchError
from agents.learning.errors import TaskError
from agents.values import SettingsError
from topology.errors import GossamerError

ENDLESS = 1_000_000


def trains(swarm: Launched) -> None:
    """Watch until all train and know their distance, and interrupt the watching as a notebook does."""
    for snapshot in swarm.watch(every_s=0.1):
        all_train = snapshot.members and all(member["step"] > 20 for member in snapshot.members)
        if all_train and snapshot.consensus_distance is not None:
            assert 0 < snapshot.consensus_distance < 100
            assert "training" in str(snapshot) and "<pre>" in snapshot._repr_html_()
            raise KeyboardInterrupt


def test_a_task_of_a_notebook_is_trained_watched_and_assembled(tmp_path: Path) -> None:
    digits = load_task("digits")
    mine = Task(digits.init, lambda *given: digits.loss(*given), digits.metrics, digits.train, digits.test, name="mine")
    with launch(mine, agents=2, run_dir=tmp_path / "run", steps=ENDLESS, linger=0.0, settle=1.0) as swarm:
        with pytest.raises(KeyboardInterrupt):
            trains(swarm)
        assert swarm.running, "an interrupted cell leaves the swarm alone"
        with pytest.raises(LaunchError, match=r"still trains after 0\.1 s"):
            swarm.consensus(timeout_s=0.1)
        swarm.stop()
        assert not swarm.running and not naming(tmp_path)
        params, task, report = swarm.consensus()
    last = swarm.snapshot()
    assert {member["state"] for member in last.members} == {"left"} and last.step > 20 and not last.running
    assert report["consensus"]["agents"] == ["agent-0", "agent-1"] and task is mine
    assert set(params) == set(digits.init(np.zeros(2, np.uint32))), "the model is the task's"


def test_a_launch_ends_with_the_python_that_started_it(tmp_path: Path) -> None:
    code = f"import agents, time; s = agents.launch('digits', 2, run_dir={str(tmp_path / 'run')!r}, steps={ENDLESS}); "
    process = subprocess.Popen([sys.executable, "-c", code + "time.sleep(600)"], cwd=tmp_path)
    wait_until(lambda: any((tmp_path / "run").glob("agents/agent-1/metrics.jsonl")), "it trains")
    process.kill()
    process.wait()
    wait_until(lambda: not naming(tmp_path), "all have ended")


def test_an_argument_precedes_the_environment_though_it_is_the_default(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("AGENT_SEED", "5")
    monkeypatch.setenv("AGENT_STEPS", "2")
    with launch("digits", agents=1, run_dir=tmp_path / "run", seed=0, linger=0.0) as swarm:
        swarm.consensus()
    settings = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (settings["seed"], settings["steps"]) == (0, 2), "the environment stands for what wasn't given"


def test_what_cannot_be_launched_is_said_before_anything_starts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.toml").touch()
    held = SimpleNamespace(lock=open(tmp_path / "open", "w"))  # noqa: SIM115 - closed below
    digits = load_task("digits")
    unheld = Task(digits.init, digits.loss, lambda *_: held.lock, digits.train, digits.test)
    for expected, given in {
        "no setting 'topologie'; did you mean topology?": dict(task="digits", agents=2, topologie="ring"),
        "holds another run": dict(task="digits", agents=2, run_dir="used"),
        "--agents": dict(task="digits", agents=0),
        "--alpha": dict(task="digits", agents=2, alpha=7),
        "a task file or a Task: got int": dict(task=7, agents=2),
        "can't be given to other processes": dict(task=unheld, agents=2),
    }.items():
        with pytest.raises(SettingsError, match=re.escape(expected)):
            launch(**given)
    with pytest.raises(TaskError, match="no task is called 'digitz'"):
        launch("digitz", agents=2)
    held.lock.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["open", "used"]
    with (
        launch("digits", agents=2, data="x") as swarm,
        pytest.raises(GossamerError, match="brings its own data"),
    ):
        swarm.consensus()
