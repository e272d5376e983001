"""Task files that do more than define a task: they print, they fail, they start processes of their own."""

import json
from pathlib import Path

import pytest
from live_agents import Start, address_of

SHORT = ("--linger", 1, "--settle", 10)
TASK = """
import jax
import jax.numpy as jnp
import numpy as np
from agents import Task

data = {"x": np.ones((64, 3), np.float32), "y": np.ones(64, np.float32)}

def loss(params, batch, key):
    IN_LOSS
    return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2)

def metrics(params, batch):
    error = batch["x"] @ params["w"] - batch["y"]
    return {"rmse": jnp.sqrt(jnp.mean(error**2)), "worst": jnp.max(jnp.abs(error))}

AT_IMPORT
task = Task(init=lambda key: {"w": jnp.zeros(3)}, loss=loss, metrics=metrics, train=data, test=data)
"""


def written(folder: Path, here: str = "pass", there: str = "") -> Path:
    path = folder / "mine.py"
    path.write_text(TASK.replace("IN_LOSS", here).replace("AT_IMPORT", there))
    return path


POOL = """
import multiprocessing

def square(number):
    return number * number

with multiprocessing.Pool(2) as pool:
    assert pool.map(square, range(8)) == [number * number for number in range(8)]
"""


@pytest.mark.parametrize("command", [("run",), ("launch", "-n", 2)], ids=["run", "launch"])
def test_a_task_may_load_its_data_with_a_pool_of_processes(start: Start, tmp_path: Path, command: tuple) -> None:
    start(*command, "--task", written(tmp_path, there=POOL), "--steps", 5, "--run-dir", tmp_path / "run", *SHORT).end()


@pytest.mark.parametrize("command", [("run",), ("launch", "-n", 2)], ids=["run", "launch"])
def test_what_a_task_prints_is_kept_out_of_the_json(start: Start, tmp_path: Path, command: tuple) -> None:
    task = written(tmp_path, there='import os; print("loaded"); os.write(1, b"from C\\n")')
    started = start(*command, "--task", task, "--steps", 5, "--json", "--run-dir", tmp_path / "run", *SHORT)
    assert json.loads(started.end())["run_dir"] == str(tmp_path / "run")


def test_every_metric_of_a_task_is_reported(start: Start, tmp_path: Path) -> None:
    task = written(tmp_path)
    report = json.loads(
        start("launch", "-n", 2, "--task", task, "--steps", 5, "--json", "--run-dir", tmp_path / "a", *SHORT).end()
    )
    assert report["consensus"]["metrics"].keys() >= {"rmse", "worst", "loss"}
    assert all(agent["metrics"].keys() >= {"rmse", "worst", "loss"} for agent in report["agents"])
    shown = start("launch", "-n", 2, "--task", task, "--steps", 5, "--run-dir", tmp_path / "b", *SHORT)
    shown.end()
    for name in ("rmse", "worst", "loss"):
        assert f"{name}: mean of agents " in shown.stderr


CALLBACK = 'jax.debug.callback(lambda w: [][1], params["w"])'


def test_an_exception_in_a_task_is_named_with_its_line(start: Start, tmp_path: Path) -> None:
    task = written(tmp_path, here=CALLBACK)
    line = 1 + task.read_text().splitlines().index("    " + CALLBACK)
    command = start("run", "--task", task, "--steps", 5, "--run-dir", tmp_path / "run", *SHORT)
    command.end(1)
    last = command.stderr.strip().splitlines()[-1]
    assert last.startswith("agent: ") and f"mine.py, line {line}: IndexError: list index out of range" in last
    command = start("launch", "-n", 2, "--task", task, "--steps", 5, "--run-dir", tmp_path / "launched", *SHORT)
    command.end(2)
    last = command.stderr.strip().splitlines()[-1]
    assert f"mine.py, line {line}: IndexError: list index out of range" in last


PARTS = """
def by_turns(labels_or_count, agents, seed):
    return [range(agent, 64, agents) for agent in range(agents)]

partition = by_turns
rule = Rule("mine", ("theta",), lambda optimizer: optimizer)
"""


def test_a_partition_and_a_rule_of_the_file_are_the_whole_swarm_s(start: Start, tmp_path: Path) -> None:
    """Also after a restart, and for a joiner whose file deals otherwise: it is refused with both names."""
    task = written(tmp_path, there=f"from agents import Rule\n{PARTS}")
    start("launch", "-n", 2, "--task", task, "--steps", 5, "--run-dir", tmp_path / "run", *SHORT).end()
    start("launch", "--resume", tmp_path / "run").end()
    common = ("run", "--listen", "tcp://127.0.0.1:0", "--no-evaluate", "--steps", 5, "--wait-for", 2)
    first = start(*common, "--task", task, "--shard", "0/2", "--run-dir", tmp_path / "first")
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", there=f"from agents import Rule\n{PARTS.replace('agent, 64', '1 - agent, 64')}")
    join = ("--join", address_of(first, tmp_path / "first"))
    second = start(*common, *join, "--task", other, "--shard", "1/2", "--run-dir", tmp_path / "second")
    second.end(2)
    assert "partition is by_turns@" in second.stderr and " here and by_turns@" in second.stderr
    start(*common, *join, "--task", task, "--shard", "1/2", "--run-dir", tmp_path / "third", *SHORT).end()
    first.end()
