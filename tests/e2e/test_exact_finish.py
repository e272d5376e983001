"""Real agents end with the same model, in their own folders, whatever becomes of the others."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
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
