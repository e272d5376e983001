"""A restart is one command: the same words, or --resume with the folder. What is there goes on, bit for bit."""

import json
import signal
from pathlib import Path

import numpy as np
from live_agents import Start, facts, last_step, measures, naming, wait_until

from agents import load_run
from agents.claim import last_start

ADAM = ("--optimizer", "adam", "--learning-rate", 0.001)
ALONE = ("run", "--task", "digits", "--listen", "tcp://127.0.0.1:0", "--no-evaluate", *ADAM)
SHORT = ("--linger", 1, "--settle", 10)


def run_of(folder: Path) -> tuple[str, str, int]:
    """An agent's name, the name of its run, and the number of its incarnation."""
    last = last_start(folder)
    return (last.agent, last.run, last.incarnation) if last else ("", "", 0)


def test_the_same_words_go_on_in_the_same_folder_under_the_same_name(start: Start, tmp_path: Path) -> None:
    words = (*ALONE, "--steps", 10**9, "--checkpoint-every", 0.1)
    command = start(*words)
    command.wait_for(lambda: list(tmp_path.glob("runs/*/checkpoint.safetensors")), "it has saved")
    command.process.kill()
    command.process.wait()
    [folder] = tmp_path.glob("runs/*")
    name, run, incarnation = run_of(folder)
    assert incarnation == 1 and name and run
    command = start(*words)
    command.wait_for_text("resuming at step")
    command.interrupt()
    command.end(130)
    assert list(tmp_path.glob("runs/*")) == [folder] and run_of(folder) == (name, run, 2)


def test_resume_takes_every_setting_from_the_folder(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    started = ("--steps", 6000, "--batch-size", 16, "--seed", 3, "--every", "5steps", "--checkpoint-every", 0.1)
    command = start(*ALONE, *started, "--run-dir", "a")
    command.wait_for(lambda: last_step(folder) > 300, "it trains")
    command.process.send_signal(signal.SIGTERM)
    command.end()
    before = run_of(folder)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b").symlink_to(folder)
    resumed = start("run", "--resume", tmp_path / "elsewhere" / "b")
    resumed.end()
    assert "resuming at step" in resumed.stderr
    assert run_of(folder) == (*before[:2], before[2] + 1)
    start(*ALONE, *started, "--run-dir", tmp_path / "whole").end()
    np.testing.assert_array_equal(load_run(folder).theta, load_run(tmp_path / "whole").theta)


def test_two_agents_never_share_a_folder(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    first = start(*ALONE, "--steps", 10**6, "--run-dir", folder)
    first.wait_for(lambda: measures(folder), "it trains")
    second = start(*ALONE, "--steps", 10**6, "--run-dir", folder)
    second.end(2)
    assert f"is in use by another running agent (process {facts(folder)['pid']})" in second.stderr
    step = last_step(folder)
    first.wait_for(lambda: last_step(folder) > step, "it goes on")
    first.interrupt()
    first.end(130)


def test_an_interrupted_launch_goes_on_with_all_agents(start: Start, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = start("launch", "-n", 2, "--task", "digits", "--steps", 10**6, "--json", "--run-dir", run_dir, *SHORT)
    agents = [run_dir / "agents" / f"agent-{index}" for index in range(2)]
    command.wait_for(lambda: all(last_step(agent) > 300 for agent in agents), "all train")
    again = [run_of(agent)[2] + 1 for agent in agents]
    command.process.kill()
    command.process.wait()  # Its agents are still saving: the next launch waits for them.
    resumed = start("launch", "--resume", run_dir, "--json", "--steps", 10**6)
    resumed.wait_for(lambda: [run_of(agent)[2] for agent in agents] == again, "all have started again")
    steps = [int(step) for step in load_run(run_dir).steps]
    assert min(steps) > 0
    resumed.wait_for(lambda: all(last_step(a) > step + 50 for a, step in zip(agents, steps, strict=True)), "they train")
    resumed.interrupt()
    report = json.loads(resumed.end(130))
    assert report["consensus"]["agents"] == ["agent-0", "agent-1"]
    assert [run_of(agent)[0] for agent in agents] == ["agent-0", "agent-1"]
    assert all(agent["steps"] > step for agent, step in zip(report["agents"], steps, strict=True))
    wait_until(lambda: not naming(tmp_path), "all have ended")
