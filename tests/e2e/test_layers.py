"""`--submodel layers:K` for real: processes that train a part of the model each, and exchange two vectors beside it."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from live_agents import Start

from agents import load_run, load_task
from agents.command.cli import run_command
from agents.learning.learner import make_learner
from sim import replay


@pytest.fixture
def run_dir(start: Start, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    flags = ("--steps", 600, "--submodel", "layers:2", "--rule", "momentum+tracking", "--json", "--run-dir", folder)
    report = json.loads(start("launch", "-n", 4, "--task", "digits", *flags).end())
    assert report["consensus"]["missing"] == [] and report["consensus"]["accuracy"] > 0.9
    return folder


def test_every_layer_is_trained_all_end_equal_and_the_run_replays_bit_for_bit(run_dir: Path) -> None:
    run, learner = load_run(run_dir), make_learner(load_task("digits"))
    np.testing.assert_allclose(run.theta, np.tile(run.theta[0], (4, 1)), rtol=1e-4, atol=1e-6)
    start = learner.init(0).params
    for name, one, other in zip(
        [name for name, *_ in learner.spec],
        jax.tree.leaves(start),
        jax.tree.leaves(learner.unflatten(run.theta[0])),
        strict=True,
    ):
        assert np.abs(np.asarray(one) - np.asarray(other)).max() > 0.01, name
    assert replay(run_dir, progress=False).theta.tobytes() == run.theta.tobytes()
    card = json.loads((run_dir / "consensus.json").read_text())
    assert card["trained_by"] == {
        "hidden/bias, hidden/weights": ["agent-0", "agent-2"],
        "output/bias, output/weights": ["agent-1", "agent-3"],
    }
    assert json.loads((run_dir / "agents/agent-3/consensus.json").read_text())["trained_by"] == card["trained_by"]
    for agent in ("agent-1", "agent-3"):
        shutil.rmtree(run_dir / "agents" / agent)
    assert run_command(["consensus", str(run_dir), "--out", str(run_dir / "out.safetensors")]) == 2


def test_more_blocks_than_agents_are_refused_before_anything_starts(start: Start, tmp_path: Path) -> None:
    flags = ("--submodel", "layers:3", "--run-dir", tmp_path / "run")
    command = start("launch", "-n", 2, "--task", "digits", *flags)
    command.end(2)
    assert "layers:3 has 3 parts and the data 2 shards" in command.stderr
