"""Real agents end with the same model, in their own folders, whatever becomes of the others."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from live_agents import Start, address_of
from safetensors.numpy import load_file

from agents.checkpoint import load_theta

LAUNCH = (sys.executable, "-m", "agents.command.cli", "launch", "--task", "digits", "--json")


def models(run_dir: Path) -> list[dict[str, np.ndarray]]:
    """The consensus models in the folders of a run's agents."""
    return [load_file(path) for path in sorted(run_dir.glob("agents/*/consensus.safetensors"))]


def test_six_processes_hold_the_weighted_mean_and_keep_it(tmp_path: Path) -> None:
    words = ("-n", "6", "--partition", "dirichlet:0.3", "--steps", "60", "--run-dir", str(tmp_path / "run"))
    done = subprocess.run([*LAUNCH, *words], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)["consensus"]
    assert report["missing"] == [] and report["distance"] < 1e-5
    found = models(tmp_path / "run")
    merged = load_file(tmp_path / "run" / "consensus.safetensors")
    assert len(found) == 6
    for model in found:
        assert model.keys() == merged.keys()
        for name, array in model.items():
            np.testing.assert_allclose(array, found[0][name], atol=1e-6)
            np.testing.assert_allclose(array, merged[name], atol=1e-6)
    thetas = [load_theta(path) for path in sorted((tmp_path / "run").glob("agents/*/checkpoint.safetensors"))]
    assert max(float(abs(theta - thetas[0]).max()) for theta in thetas) < 1e-6
    card = json.loads((tmp_path / "run" / "agents" / "agent-3" / "consensus.json").read_text())
    assert card["agents"] == [f"agent-{i}" for i in range(6)] and card["missing"] == []
    assert card["steps"] == {f"agent-{i}": 60 for i in range(6)} and card["distance"] is None


def test_by_gossip_they_end_near_each_other_and_keep_no_consensus(tmp_path: Path) -> None:
    words = ("-n", "3", "--steps", "30", "--finish", "gossip", "--run-dir", str(tmp_path / "run"))
    done = subprocess.run([*LAUNCH, *words], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    assert models(tmp_path / "run") == []


def test_who_has_most_of_its_steps_left_ends_with_the_others_and_holds_the_model_too(
    start: Start, tmp_path: Path
) -> None:
    digits = ("run", "--task", "digits", "--listen", "tcp://127.0.0.1:0", "--no-evaluate")
    common = (*digits, "--wait-for", 2, "--linger", 1)
    quick = start(*common, "--shard", "0/2", "--name", "quick", "--run-dir", "quick", "--steps", 50, "--settle", 1)
    join = ("--join", address_of(quick, tmp_path / "quick"))
    slow = start(*common, "--shard", "1/2", "--name", "slow", "--run-dir", "slow", "--steps", 10**9, *join)
    quick.end()
    slow.end()
    assert "half of the swarm has finished and waited --settle 1 s: ending at step" in slow.stderr
    one, other = (load_file(tmp_path / name / "consensus.safetensors") for name in ("quick", "slow"))
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], atol=1e-6)
