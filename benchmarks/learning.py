"""How well swarms learn, and with how many bytes: rules, codecs and periods beside centralized training.

Each agent begins an exchange with a random other, or as --topology says, every so many steps; `bytes_ratio` is what
that sends, of what float32 exchanges with a random other at each step would. Centralized is the same model, steps and
batches with all gradients averaged each step. Seeds are 0, 1, ...; the merged model is the mean of all agents, by
samples, on the test data. Shards are of equal size.

    python benchmarks/learning.py --json                            all cases, an hour
    python benchmarks/learning.py --task digits --seeds 1           another task, quickly
    python benchmarks/learning.py --cases drift/lattice:4/2 --partitions dirichlet:0.1
    python benchmarks/learning.py --cases drift/lattice:3/1@base:2  where half of the agents begin, at each step
    python benchmarks/learning.py --optimizer sgd --learning-rate 0.3 --cases ema:0.99/float32/1      a constant rate
    python benchmarks/learning.py --keep docs/learning.json         what docs/learning.md shows, case by case
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents import Task, load_task
from agents.learning.tasks.idx import FASHION_MNIST
from sim import simulate

MOMENTUM = "momentum"
"""The optimizer of the table: its rate falls to zero along a cosine."""

PARTITIONS = ("iid", "dirichlet:1", "dirichlet:0.1", "dirichlet:0.01")
CASES = (
    "parameters/float32/1",
    "parameters/float32/5",
    "drift/float32/1",
    "drift/lattice:4/1",
    "drift/lattice:3/1",
    "drift/lattice:3/2",
    "drift/lattice:3/1@base:2",
    "parameters/lattice:3/1",
    "parameters/lattice:3/2",
)
"""Rule, codec, and local steps between two exchanges that an agent begins; the topology, if another than --topology."""


def task_of(name: str) -> Task:
    """mlp: 784-128-10 on Fashion-MNIST, as often seen in papers; cnn: the built-in model; digits."""
    if name == "digits":
        return load_task("digits")
    return load_task("fashion-mnist" if name == "cnn" else Path(__file__).with_name("fashion_mlp.py"))


def shares(kind: str) -> Any:
    """A function that deals equal shards whose labels are drawn from Dirichlet's distribution (Hsu et al. 2019,
    arXiv 1909.06335); of another kind its text."""
    if not kind.startswith("dirichlet:"):
        return kind

    def dealt(labels: Any, agents: int, seed: int) -> list[Any]:
        random = np.random.default_rng(seed)
        pools = [random.permutation(np.flatnonzero(labels == label)).tolist() for label in np.unique(labels)]
        rows: list[list[int]] = [[] for _ in range(agents)]
        drawn = random.dirichlet(np.full(len(pools), float(kind.split(":")[1])), size=agents)
        for k in random.permutation(len(labels)) % agents:  # A sample for one agent after the other.
            left = np.array([len(pool) for pool in pools]) > 0
            wanted = np.where(left, drawn[k], 0.0)
            chances = wanted if wanted.sum() > 1e-12 else left.astype(float)
            rows[k].append(pools[random.choice(len(pools), p=chances / chances.sum())].pop())
        return [np.array(each) for each in rows]

    return dealt


def merged(task: Task, given: argparse.Namespace, seed: int, partition: Any, **how: Any) -> tuple[float, float]:
    """The merged model's accuracy at the end, and the bytes sent, of those of float32 exchanges at each step.

    In these each agent begins one, which is two models. given: agents, steps, learning_rate. partition: as `simulate`
    takes it.
    """
    local_steps = how.pop("local_steps", 1)
    history = simulate(
        task,
        agents=given.agents,
        rounds=given.steps // local_steps,
        local_steps=local_steps,
        partition=partition,
        learning_rate=given.learning_rate,
        eval_every=given.steps,
        picked=1,
        seed=seed,
        progress=False,
        **{"optimizer": MOMENTUM, "topology": "complete", **how},
    )
    full = 2.0 * 4 * history.facts["parameters"] * given.agents * given.steps
    return float(history.consensus_accuracy[-1]), float(history.bytes[-1]) / full


SETTING = ("task", "partition", "topology", "agents", "steps", "learning_rate", "rule", "codec", "every")
"""What tells two results apart that stand side by side."""


def keep(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result into a file of them, in the place of an earlier one of the same setting."""
    if path is None or result.keys() & {"delay", "optimizer"}:  # The table is of momentum and no delay.
        return
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [other for other in kept if any(other[name] != result[name] for name in SETTING)] + [result]
    written = path.with_suffix(".writing")
    written.write_text(json.dumps(kept, indent=1) + "\n")
    written.replace(path)


def parsed(case: str, topology: str) -> tuple[str, str, int, str]:
    """Rule, codec, whose name may contain a slash, local steps between two exchanges, and topology."""
    case, _, own = case.partition("@")
    rule, _, rest = case.partition("/")
    codec, _, every = rest.rpartition("/")
    return rule, codec, int(every), own or topology


def main() -> None:
    """Print a line for each case, or all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--task", choices=("mlp", "cnn", "digits"), default="mlp" if FASHION_MNIST.is_dir() else "digits"
    )
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--optimizer", default=MOMENTUM, help="by name; of the others' the rate is constant")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--delay", type=float, default=0.0, help="of each message, in periods between two exchanges")
    parser.add_argument("--topology", default="complete")
    parser.add_argument("--partitions", nargs="+", default=PARTITIONS)
    parser.add_argument("--cases", nargs="+", default=CASES, help="RULE/CODEC/EVERY, or RULE/CODEC/EVERY@TOPOLOGY")
    parser.add_argument("--json", action="store_true", help="a list of objects on stdout; lines on stderr")
    parser.add_argument("--keep", type=Path, help="a file of such objects, for each case once it is done")
    given = parser.parse_args()
    cases = [parsed(case, given.topology) for case in given.cases]
    task, seeds, found = task_of(given.task), range(given.seeds), []
    show = partial(print, file=sys.stderr if given.json else sys.stdout, flush=True)
    for partition in given.partitions:
        dealt = shares(partition)
        one = {"protocol": "synchronous", "weigh": "samples", "optimizer": given.optimizer}
        central = [merged(task, given, seed, dealt, **one)[0] for seed in seeds]
        show(f"{partition}: centralized {np.mean(central):.4f} +- {np.std(central):.4f}")
        for rule, codec, every, topology in cases:
            how = {"rule": rule, "codec": codec, "local_steps": every, "topology": topology, "delay": given.delay}
            how["optimizer"] = given.optimizer
            runs = [merged(task, given, seed, dealt, **how) for seed in seeds]
            accuracies = [accuracy for accuracy, _ in runs]
            found.append(
                {
                    "task": given.task,
                    "rule": rule,
                    "codec": codec,
                    "every": every,
                    "partition": partition,
                    "topology": topology,
                    "bytes_ratio": runs[0][1],
                    "merged_mean": float(np.mean(accuracies)),
                    "merged_std": float(np.std(accuracies)),
                    "centralized_mean": float(np.mean(central)),
                    "centralized_std": float(np.std(central)),
                    "seeds": given.seeds,
                    "agents": given.agents,
                    "steps": given.steps,
                    "learning_rate": given.learning_rate,
                    **({"delay": given.delay} if given.delay else {}),
                    **({} if given.optimizer == MOMENTUM else {"optimizer": given.optimizer}),
                }
            )
            keep(given.keep, found[-1])
            show(
                f"  {rule:12} {codec:10} every {every:>2} {topology:8}  bytes {found[-1]['bytes_ratio']:.3f}  merged "
                f"{found[-1]['merged_mean']:.4f} +- {found[-1]['merged_std']:.4f}  "
                f"({100 * (found[-1]['merged_mean'] - np.mean(central)):+.2f} points)"
            )
    if given.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
