"""Independent subnetworks beside whole models: `agent launch -n 8 --submodel width:4` and the same without, in turn.

A step is timed twice: in the launches, as the agents' logs tell it, with what eight agents on one machine wait for each
other and for its cores; and alone, the compiled step of one agent of each kind in turn in one process.

    python benchmarks/submodel.py --task digits --width 64 --epochs 60
    python benchmarks/submodel.py --task fashion-mnist --width 4 --steps 1000
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from command import parser_of, show

from agents import Task, load_task
from agents.learning.data import samples
from agents.learning.learner import make_learner
from agents.subnetworks import subnetwork, wider

AGENTS, PARTS = 8, 4
STEPS = 20


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--width", type=float, default=64.0)
    parser.add_argument("--epochs", default=None)
    parser.add_argument("--steps", default=None)
    options = parser.parse_args()
    given = ["--task", options.task, "--width", str(options.width)]
    given += [word for name in ("epochs", "steps") if (value := vars(options)[name]) for word in (f"--{name}", value)]
    alone = step_times(wider(load_task(options.task), options.width))
    runs = {kind: [launched(given, more) for _ in range(options.repeats)] for kind, more in KINDS.items()}
    figures = {kind: {name: median(each, name) for name in each[0]} for kind, each in runs.items()}
    whole, parts = figures["whole"], figures["parts"]
    result = {
        "task": options.task,
        "width": options.width,
        "parameters": f"{parts['parameters']:,.0f} of {whole['parameters']:,.0f}",
        "parameters_ratio": round(parts["parameters"] / whole["parameters"], 3),
        "step_ms": f"{1e3 * alone[1]:.2f} of {1e3 * alone[0]:.2f}",
        "step_ratio": round(alone[1] / alone[0], 3),
        "launched_step_ratio": round(parts["step_s"] / whole["step_s"], 3),
        "accuracy": round(parts["accuracy"], 4),
        "whole_accuracy": round(whole["accuracy"], 4),
        "mean_of_subnetworks": round(parts["mean_accuracy"], 4),
        "seconds": f"{parts['seconds']:.0f} and {whole['seconds']:.0f}",
    }
    line = (
        "{task} x{width:g}: parameters {parameters} ({parameters_ratio}), a step {step_ms} ms ({step_ratio}; launched"
        " {launched_step_ratio}), accuracy {accuracy} assembled, {mean_of_subnetworks} of one subnetwork,"
        " {whole_accuracy} whole; {seconds} s"
    )
    show(result, options.json, line)


KINDS: dict[str, list[str]] = {"parts": ["--submodel", f"width:{PARTS}"], "whole": []}


def launched(given: list[str], more: list[str]) -> dict[str, float]:
    """The figures of one launch. step_s: the median agent's. parameters: of what one agent trains."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = ["launch", "-n", str(AGENTS), *given, *more, "--run-dir", str(run), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "agents.command.cli", *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        report = json.loads(done.stdout)
        logs = [path.read_text() for path in run.glob("agents/*/log")]
        rates = [float(found[1]) / float(found[2]) for log in logs if (found := re.search(TRAINED, log))]
        held = [int(found[1].replace(",", "")) for log in logs if (found := re.search(HELD, log))]
        return {
            "step_s": 1 / statistics.median(rates),
            "parameters": statistics.median(held),
            "accuracy": report["consensus"]["accuracy"],
            "mean_accuracy": report["mean_accuracy"],
            "seconds": report["seconds"],
        }


TRAINED = r"trained (\d+) steps in ([\d.]+) s"
HELD = r", ([\d,]+) parameters, "


def step_times(task: Task) -> tuple[float, float]:
    """Seconds of one local step of the whole model and of a subnetwork, measured in turn: the medians."""
    data = jax.device_put({name: np.asarray(rows[:4096]) for name, rows in task.train_data.items()})
    rows = np.random.default_rng(0).integers(0, min(4096, samples(task.train_data)), (STEPS, task.batch_size), np.int32)
    learners = [make_learner(task), make_learner(subnetwork(task, PARTS, 0))]
    states = [learner.init(0) for learner in learners]
    times: list[list[float]] = [[], []]
    for _ in range(12):
        for k, learner in enumerate(learners):
            began_s = time.perf_counter()
            states[k], losses = learner.train(states[k], data, rows, np.int32(0), np.int32(0))
            losses.block_until_ready()
            times[k].append((time.perf_counter() - began_s) / STEPS)
    whole_s, part_s = (statistics.median(each[2:]) for each in times)
    return whole_s, part_s


def median(runs: list[dict[str, float]], name: str) -> float:
    """Of one figure."""
    return statistics.median(run[name] for run in runs)


if __name__ == "__main__":
    main()
