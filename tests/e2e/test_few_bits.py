"""Real agents that exchange in few bits, with the rule drift: the finish is exact, and a restart goes on from there."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from live_agents import Start, last_step, start_two
from safetensors.numpy import load_file

from agents import load_run
from agents.checkpoint import FILE, load_theta
from sim import replay

LAUNCH = (sys.executable, "-m", "agents.command.cli", "launch", "--task", "digits", "--json")


def launched(folder: Path, *flags: str) -> dict:
    words = ("-n", "3", "--partition", "dirichlet:0.3", "--steps", "150", "--every", "1steps", "--run-dir", str(folder))
    done = subprocess.run([*LAUNCH, *words, *flags], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_three_processes_train_in_few_bits_and_finish_equal(tmp_path: Path) -> None:
    """The digits' model is small: records, headers and the finish are most of what is left of the bytes."""
    exact = launched(tmp_path / "float32")
    few = launched(tmp_path / "lattice", "--codec", "lattice:4", "--rule", "drift")
    assert few["consensus"]["missing"] == [] and few["consensus"]["distance"] < 1e-5
    thetas = [load_theta(path) for path in sorted((tmp_path / "lattice").glob(f"agents/*/{FILE}"))]
    assert len(thetas) == 3 and max(float(abs(theta - thetas[0]).max()) for theta in thetas) < 1e-6
    assert few["consensus"]["accuracy"] > exact["consensus"]["accuracy"] - 0.03
    sent = [sum(agent["bytes_sent"] for agent in report["agents"]) for report in (exact, few)]
    made = [sum(agent["exchanges"] for agent in report["agents"]) for report in (exact, few)]
    assert sent[1] / made[1] < 0.5 * sent[0] / made[0]
    history = replay(tmp_path / "lattice", progress=False)
    assert history.theta.tobytes() == load_run(tmp_path / "lattice").theta.tobytes()


def test_agents_that_are_stopped_go_on_with_what_codec_and_rule_had_learned(start: Start, tmp_path: Path) -> None:
    more = ("--codec", "lattice:3", "--rule", "drift", "--steps", 10**6, "--every", "2steps", "--linger", 0)
    for again in (False, True):
        for name in ("one", "two"):
            (tmp_path / name / "agent.json").unlink(missing_ok=True)  # The address that it had before.
        one, two, _ = start_two(start, tmp_path, *more)
        before = last_step(tmp_path / "one") if again else 0
        for command, name in ((one, "one"), (two, "two")):
            command.wait_for(lambda n=name, b=before: last_step(tmp_path / n) > b + 100, "it trains")
        for command in (one, two):
            command.interrupt()
        for command in (one, two):
            command.end(130)
        arrays = load_file(tmp_path / "one" / FILE)
        assert arrays["learned"].shape == (-(-4810 // 128),) and (arrays["learned"] > 0).all()
    folder = tmp_path / "run"
    for name in ("one", "two"):
        (folder / "agents").mkdir(parents=True, exist_ok=True)
        (tmp_path / name).rename(folder / "agents" / name)
    run, history = load_run(folder), replay(folder, exact=True, progress=False)
    assert history.facts["notes"] == [] and history.facts["steps"] == run.steps.tolist()
    np.testing.assert_array_equal(history.theta, run.theta)
