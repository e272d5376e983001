"""An agent that is asked to end completes its exchanges, leaves, saves and exits, whoever asks and however often."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live_agents import AGENT, Start, facts, last_step, naming, wait_until

from agents import load_run
from agents.claim import last_start
from agents.observe.observer import observing
from agents.observe.stopping import StillThere, stop

ENDLESS = ("--steps", 10**9, "--listen", "tcp://127.0.0.1:0")
DRAINED_S = 10.0
TASK = """
import jax, jax.numpy as jnp, numpy as np, time
from agents import Task
data = {'x': np.ones((40, 3), np.float32), 'y': np.ones(40, np.float32)}
def slow(w):
    time.sleep(600)
    return w.sum()
task = Task(init=lambda key: {'w': jnp.zeros(3)},
    loss=lambda params, batch, key: jnp.mean((batch['x'] @ params['w'] - batch['y']) ** 2),
    metrics=lambda params, batch: {
        'slow': jax.pure_callback(slow, jax.ShapeDtypeStruct((), jnp.float32), params['w'])
    },
    train=data, test=data)
"""


def test_a_swarm_is_ended_by_one_command_and_saves(start: Start, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    common = ("run", "--task", "digits", *ENDLESS)
    one = start(*common, "--shard", "0/2", "--name", "one", "--run-dir", folders[0])
    address = one.wait_for(lambda: facts(folders[0]), "it listens")["address"]
    two = start(*common, "--shard", "1/2", "--name", "two", "--run-dir", folders[1], "--join", address)
    two.wait_for(lambda: all(last_step(folder) > 50 for folder in folders), "both train")
    assert json.loads(start("stop", "--join", address, "--json").end())["stopped"] == ["one", "two"]
    for command, folder in ((one, folders[0]), (two, folders[1])):
        command.end()
        assert "asked to stop, by `agent stop`" in command.stderr
        assert load_run(folder).steps[0] > 50
        last = last_start(folder)
        assert last is not None and not last.finished, "the same words go on"


def test_sigterm_drains_in_time_though_a_peer_is_frozen_and_sigterm_comes_again(start: Start, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    common = (
        "run",
        "--task",
        "digits",
        *ENDLESS[:2],
        "--every",
        "1steps",
        "--silent",
        60,
        "--listen",
        "tcp://0.0.0.0:0",
        "--insecure",
    )
    one = start(*common, "--shard", "0/2", "--name", "one", "--run-dir", folders[0])
    address = one.wait_for(lambda: facts(folders[0]), "it listens")["address"]
    two = start(*common, "--shard", "1/2", "--name", "two", "--run-dir", folders[1], "--join", address)
    two.wait_for(lambda: all(last_step(folder) > 50 for folder in folders), "both train")
    step = last_step(folders[1])
    with observing([address], 30) as (observer, _), pytest.raises(StillThere, match=r"2 of 2 are not .*one \(process"):
        stop(observer, 0.5)
    two.wait_for(lambda: last_step(folders[1]) > step, "nobody stopped")
    two.process.send_signal(signal.SIGSTOP)
    began_s = time.monotonic()
    one.process.send_signal(signal.SIGTERM)
    one.wait_for_text("stopping: saving")
    one.process.send_signal(signal.SIGTERM)
    one.end()
    assert time.monotonic() - began_s < DRAINED_S + 5
    assert load_run(folders[0]).steps[0] >= last_step(folders[0]) > 50


def test_who_is_to_end_neither_evaluates_nor_waits_for_what_has_not_begun(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(TASK)
    command = start("run", "--task", "slow.py", *ENDLESS, "--run-dir", tmp_path / "a", "--no-record")
    command.wait_for(lambda: last_step(tmp_path / "a") > 10, "it trains")
    began_s = time.monotonic()
    command.process.send_signal(signal.SIGTERM)
    command.end()
    assert time.monotonic() - began_s < DRAINED_S and load_run(tmp_path / "a").steps[0] > 10
    assert not (tmp_path / "a" / "tape.bin").exists()
    (tmp_path / "slower.py").write_text("open('reached', 'w').close()\nimport time\ntime.sleep(600)\n")
    command = start("run", "--task", "slower.py", "--run-dir", tmp_path / "b")
    command.wait_for((tmp_path / "reached").exists, "it loads its task")
    command.process.send_signal(signal.SIGTERM)
    command.end()
    assert not (tmp_path / "b").exists()


def test_a_launch_ends_with_the_notebook_that_started_it(start: Start, tmp_path: Path) -> None:
    """A kernel that is killed sends no signal to what it has started."""
    run_dir = tmp_path / "run"
    words = ["launch", "-n", "1", "--task", "digits", "--steps", "1000000", "--run-dir", str(run_dir)]
    code = f"import subprocess, time\nsubprocess.Popen({[*AGENT, *words]!r})\ntime.sleep(600)\n"
    kernel = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"JPY_PARENT_PID": str(os.getpid()), "JAX_PLATFORMS": "cpu"},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: last_step(run_dir / "agents" / "agent-0") > 50, "it trains")
    kernel.kill()
    kernel.wait()
    wait_until(lambda: not naming(tmp_path), "all have ended")
    assert load_run(run_dir).steps[0] > 50
