"""With training off, the weighted mean is where it was: through a restart by SIGTERM and a late join of real agents."""

import signal
from pathlib import Path

import numpy as np
from live_agents import Running, Start, address_of, measures

from agents import checkpoint

STILL = """
import os, time
import jax
import jax.numpy as jnp
import numpy as np
from agents import Task

def loss(params, batch, key):
    jax.debug.callback(lambda: time.sleep(0.005))
    return 0 * jnp.sum(params["w"])

data = {"x": np.ones((60, 3), np.float32)}
start = float(os.environ["START"])
task = Task(init=lambda key: {"w": start + jnp.arange(5.0)}, loss=loss, metrics=lambda params, batch: {},
    train=data, test=data, optimizer="sgd", learning_rate=1.0)
"""


def exchanges_since(folder: Path, line: int) -> int:
    """How many this incarnation has completed. line: of its metrics, the first that it wrote."""
    lines = measures(folder)[line:]
    return int(lines[-1]["exchanges"]) if lines else 0


def test_a_restart_and_a_late_join_leave_the_mean_where_it_was(start: Start, tmp_path: Path) -> None:
    (tmp_path / "still.py").write_text(STILL)
    words = ("run", "--task", "still.py", "--partition", "sizes:1.5", "--steps", 10**9, "--every", "1steps")
    common = (*words, "--listen", "tcp://127.0.0.1:0", "--no-evaluate", "--no-record")

    def agent(index: int, at: float, *more: object) -> Running:
        name = f"agent-{index}"
        given = ("--shard", f"{index}/3", "--name", name, "--run-dir", name, *more)
        return start(*common, *given, prefix=("env", f"START={at}"))

    first = agent(0, 0.0, "--wait-for", 2)
    join = ("--join", address_of(first, tmp_path / "agent-0"))
    second = agent(1, 1.0, *join)
    second.wait_for(lambda: exchanges_since(tmp_path / "agent-1", 0) >= 3, "they exchange")
    second.process.send_signal(signal.SIGTERM)
    second.end()
    lines = len(measures(tmp_path / "agent-1"))
    second = agent(1, 1.0, *join)
    second.wait_for(lambda: exchanges_since(tmp_path / "agent-1", lines) >= 20, "they exchange again")
    assert "resuming at step" in second.stderr
    third = agent(2, 9.0, *join)
    third.wait_for(lambda: exchanges_since(tmp_path / "agent-2", 0) >= 3, "the late one exchanges")
    assert "took over its model" in third.stderr
    for each in (second, first, third):
        each.process.send_signal(signal.SIGTERM)
        each.end()
    saved = [checkpoint.load(tmp_path / f"agent-{index}" / checkpoint.FILE) for index in range(3)]
    weights = [float(each.facts["weight"]) for each in saved]
    assert len(set(weights)) == 3
    expected = weights[1] / (weights[0] + weights[1]) + np.arange(5)
    np.testing.assert_allclose(np.average([each.theta for each in saved], axis=0, weights=weights), expected, rtol=1e-6)
