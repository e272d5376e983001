"""Real agents that exchange a second and a third vector: the consensus is theta's, and a replay follows bit for bit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from agents import load_run
from agents.checkpoint import FILE, load_theta
from sim import replay

LAUNCH = (sys.executable, "-m", "agents.command.cli", "launch", "--task", "digits", "--json")


def test_two_processes_exchange_three_vectors_and_finish_equal(tmp_path: Path) -> None:
    words = ("-n", "2", "--partition", "labels:5", "--steps", "60", "--every", "2steps", "--codec", "lattice:4")
    rule = ("--rule", "tracking+momentum+ema:0.9", "--run-dir", str(tmp_path))
    done = subprocess.run([*LAUNCH, *words, *rule], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["consensus"]["missing"] == [] and found["consensus"]["distance"] < 1e-5
    thetas = [load_theta(path) for path in sorted(tmp_path.glob(f"agents/*/{FILE}"))]
    assert [theta.shape for theta in thetas] == [(4810,)] * 2 and np.abs(thetas[0] - thetas[1]).max() < 1e-6
    history = replay(tmp_path, progress=False)
    assert history.facts["notes"] == [] and history.theta.tobytes() == load_run(tmp_path).theta.tobytes()
