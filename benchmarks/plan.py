"""What `agent plan --local` expects, beside real launches on this machine: how often a time lies in its interval.

Each launch trains for about as long as the plan expects; its time is that of its slowest agent, as its log has it.

    python benchmarks/plan.py                     ten settings of two tasks, five minutes
    python benchmarks/plan.py --seconds 10        longer launches
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

AGENT = [sys.executable, "-m", "agents.command.cli"]
SETTINGS = {
    "digits": ((2, "ring", "float32", 1), (4, "ring", "float32", 5), (4, "complete", "lattice:4", 5),
               (8, "base:2", "lattice:8", 10), (8, "ring", "float32", 20)),
    "fashion-mnist": ((2, "ring", "float32", 5), (4, "exponential", "lattice:8", 5), (4, "ring", "float32", 1),
                      (8, "ring", "lattice:4", 10), (6, "complete", "float32", 20)),
}  # fmt: skip
"""Agents, topology, codec, period, by task."""


def planned(task: str) -> list[dict[str, Any]]:
    """The rows of a plan for this task's settings."""
    listed = {name: ",".join(sorted({str(each[k]) for each in SETTINGS[task]})) for k, name in enumerate(FLAGS)}
    flags = [part for name, values in listed.items() for part in (f"--{name}", values)]
    command = [*AGENT, "plan", "--task", task, "--local", *flags, "--json"]
    return list(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["rows"])


FLAGS = ("agents", "topology", "codec", "every")


def trained_s(task: str, n: int, topology: str, codec: str, every: int, steps: int) -> float:
    """Seconds in which the slowest agent of a launch has taken these steps."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--topology", topology, "--codec", codec, "--every", f"{every}steps", "--steps", str(steps)]
        flags += ["--linger", "0", "--run-dir", f"{folder}/run"]
        command = [*AGENT, "launch", "-n", str(n), "--task", task, *flags]
        subprocess.run(command, check=True, capture_output=True)
        logs = [path.read_text() for path in Path(folder, "run", "agents").glob("*/log")]
        return max(float(re.search(r"trained \d+ steps in ([\d.]+) s", log)[1]) for log in logs)  # type: ignore[index]


def main() -> None:
    """One line a setting, and how many lie within."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of training, about")
    given = parser.parse_args()
    within = count = 0
    for task, settings in SETTINGS.items():
        rows = {tuple(row[name] for name in FLAGS): row for row in planned(task)}
        for setting in settings:
            row = rows[setting]
            steps = max(setting[3], round(row["steps"] * given.seconds / row["train_s"]))
            scale = steps / row["steps"]
            took_s = trained_s(task, *setting, steps)
            low_s, high_s = (row[f"train_s_{end}"] * scale for end in ("from", "to"))
            lies = low_s <= took_s <= high_s
            within, count = within + lies, count + 1
            name = f"{task}, {setting[0]} agents, {setting[1]}, {setting[2]}, every {setting[3]}"
            print(f"{name:55} {steps:6} steps: expected {row['train_s'] * scale:5.1f} s", end=" ")
            print(f"({low_s:.1f} to {high_s:.1f}), took {took_s:5.1f} s{'' if lies else '   outside'}", flush=True)
    print(f"{within} of {count} lie within the interval")


if __name__ == "__main__":
    main()
