"""Real agents over sockets beside the simulator: the same task, rule, codec, period, partition and seeds.

Both merge eight agents after as many steps; the simulator's agents take turns at one speed, real ones each at its own.

    python benchmarks/live_learning.py --json                    Fashion-MNIST, about ten minutes
    python benchmarks/live_learning.py --task digits --steps 400
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from command import parser_of, show
from learning import merged

from agents import load_task

MLP = str(Path(__file__).with_name("fashion_mlp.py"))


def main() -> None:
    """Measure, and print one line or one JSON object."""
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--task", default=MLP)
    parser.add_argument("--agents", type=int, default=8)
    parser.add_argument("--topology", default="complete")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--rule", default="drift")
    parser.add_argument("--codec", default="lattice:3")
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--partition", default="dirichlet:0.1")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--overlap", choices=("yes", "no"), default="no", help="of real agents")
    parser.add_argument("--delay", type=float, default=0.0, help="of simulated messages, in periods")
    options = parser.parse_args()
    seeds = range(options.repeats)
    live, simulated = ([accuracy_of(options, seed) for seed in seeds] for accuracy_of in (launched, in_simulation))
    result = {
        "task": Path(options.task).stem,
        **{
            name: vars(options)[name] for name in ("agents", "topology", "steps", "rule", "codec", "every", "partition")
        },
        "live": live,
        "simulated": simulated,
        "live_mean": round(statistics.mean(live), 4),
        "simulated_mean": round(statistics.mean(simulated), 4),
        "simulated_std": round(statistics.pstdev(simulated), 4),
        "seeds": options.repeats,
    }
    line = (
        "{task}, {partition}, {rule}, {codec} every {every}: {live_mean:.4f} by real agents, {simulated_mean:.4f} +- "
    )
    show(result, options.json, line + "{simulated_std:.4f} simulated")


def launched(options: argparse.Namespace, seed: int) -> float:
    """The accuracy of the merged model of real agents."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["launch", "-n", options.agents, "--task", options.task, "--steps", options.steps, "--seed", seed]
        words += ["--topology", options.topology, "--partition", options.partition, "--rule", options.rule]
        words += ["--codec", options.codec, "--every", f"{options.every}steps", "--optimizer", "momentum"]
        words += ["--learning-rate", options.learning_rate, "--run-dir", f"{folder}/run", "--json"]
        words += ["--overlap", options.overlap]
        command = [sys.executable, "-m", "agents.command.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return float(json.loads(done.stdout)["consensus"]["accuracy"])


def in_simulation(options: argparse.Namespace, seed: int) -> float:
    """The same of simulated ones."""
    how = {"rule": options.rule, "codec": options.codec, "local_steps": options.every, "delay": options.delay}
    how["topology"] = options.topology
    return merged(load_task(options.task), options, seed, options.partition, **how)[0]


if __name__ == "__main__":
    main()
