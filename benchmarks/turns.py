"""Independent subnetworks whose agents take turns: who trains which one changes every so many rounds.

Sixteen simulated agents train one of four subnetworks each; in each round every agent takes a local step and begins an
exchange with a random other that trains the same one. Every so many rounds the agents of a subnetwork pass it on to
those of the next, whose shards it has not seen yet; 0 is for never, as --submodel width:4 has it. Shards are of equal
size. What is printed is the assembled model's accuracy on the test data at the end, of seeds 0, 1, ...

    python benchmarks/turns.py --task mlp --partitions iid dirichlet:0.1 --every 0 20 100 300
"""

import json

import numpy as np
from command import parser_of
from learning import shares, task_of

from agents import Task
from sim import simulate

AGENTS, PARTS = 16, 4


def assembled(task: Task, partition: str, every: int, rounds: int, rate: float, seed: int) -> float:
    """The accuracy at the end. every: rounds until agents pass their subnetworks on, 0 for never."""
    history = simulate(
        task,
        agents=AGENTS,
        topology="complete",
        submodel=f"width:{PARTS}",
        turns=every or None,
        rounds=rounds,
        partition=shares(partition),
        optimizer="sgd",
        learning_rate=rate,
        eval_every=rounds,
        picked=1,
        seed=seed,
        progress=False,
    )
    return float(history.consensus_accuracy[-1])


def main() -> None:
    """Print a line for each case, or all of them as JSON."""
    parser = parser_of(__doc__, repeats=3)
    parser.add_argument("--task", choices=("mlp", "cnn", "digits"), default="digits")
    parser.add_argument("--partitions", nargs="+", default=["iid", "dirichlet:0.1"])
    parser.add_argument("--every", nargs="+", type=int, default=[0, 20, 100, 300], help="rounds; 0 for never")
    parser.add_argument("--rounds", type=int, default=1200)
    parser.add_argument("--learning-rate", type=float, default=0.2)
    given = parser.parse_args()
    task, found = task_of(given.task), []
    for partition in given.partitions:
        for every in given.every:
            runs = [
                assembled(task, partition, every, given.rounds, given.learning_rate, seed)
                for seed in range(given.repeats)
            ]
            found.append({"task": given.task, "partition": partition, "every": every, "seeds": given.repeats})
            found[-1] |= {"assembled_mean": float(np.mean(runs)), "assembled_std": float(np.std(runs))}
            if not given.json:
                line = "{task}, {partition}, every {every}: {assembled_mean:.4f} +- {assembled_std:.4f}"
                print(line.format(**found[-1]), flush=True)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
