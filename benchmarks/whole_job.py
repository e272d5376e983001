"""The whole job, command to assembled model: `agent launch -n 4 --task digits` for 20 epochs each, against one plain
JAX script (central.py) that imports, compiles and trains as many steps on the pooled data.

Run in turn, medians; each launch compiles anew.

    python benchmarks/whole_job.py --json
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from command import parser_of, show


def main() -> None:
    """Measure, and print one line or one JSON object."""
    options = parser_of(__doc__, repeats=5).parse_args()
    central, launch = [], []
    for _ in range(options.repeats):
        central.append(timed([sys.executable, str(Path(__file__).with_name("central.py"))]))
        with tempfile.TemporaryDirectory() as folder:
            command = [
                "launch",
                "-n",
                "4",
                "--task",
                "digits",
                "--epochs",
                "20",
                "--run-dir",
                f"{folder}/run",
                "--json",
            ]
            launch.append(timed([sys.executable, "-m", "agents.command.cli", *command]))
    central_s, launch_s = (statistics.median(seconds for seconds, _ in runs) for runs in (central, launch))
    report = json.loads(launch[-1][1])
    result = {
        "central_s": round(central_s, 3),
        "launch_s": round(launch_s, 3),
        "ratio": round(statistics.median(b / a for (a, _), (b, _) in zip(central, launch, strict=True)), 3),
        "central_accuracy": float(central[-1][1]),
        "launch_accuracy": round(report["consensus"]["accuracy"], 4),
    }
    show(result, options.json, "central {central_s:.2f} s, launch {launch_s:.2f} s: {ratio:.2f} times")


def timed(command: list[str]) -> tuple[float, str]:
    """Wall-clock seconds of a command, and what it printed."""
    began_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began_s, done.stdout


if __name__ == "__main__":
    main()
