"""Nested slices beside whole models: memory and time of a step at each capacity, and what a swarm of them learns.

A step is the compiled one of an agent alone, measured in turn in one process; memory is that of parameters and the
optimizer's state. Swarms are simulated, 4 agents on the complete graph, an exchange each 10 steps.

    python benchmarks/capacity.py --width 64 --seeds 0
    python benchmarks/capacity.py --seeds 3 --partition dirichlet:0.3
"""

import time
from typing import Any

import jax
import numpy as np
from command import parser_of, show

from agents import Task, load_task
from agents.learning.data import samples
from agents.learning.learner import make_learner
from agents.subnetworks import slice_of, wider
from sim import simulate

SHARES = (1.0, 0.5, 0.25, 0.125)
SWARMS = ((1, 1, 1, 1), (1, 0.5, 0.5, 1), (1, 0.25, 0.25, 1), (1, 0.5, 0.25, 0.125))
STEPS = 20


def main() -> None:
    """Measure, and print a line for each capacity and each swarm, or JSON objects."""
    parser = parser_of(__doc__, repeats=10)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=60, help="of 10 steps each")
    parser.add_argument("--partition", default="iid")
    parser.add_argument("--seeds", type=int, default=2, help="of each swarm; 0 for none")
    options = parser.parse_args()
    for each in alone(wider(load_task(options.task), options.width), options.repeats):
        held = "capacity {capacity:g}: {parameters:,} parameters, {megabytes:.2f} MB, "
        show(each, options.json, held + "a step {step_ms:.2f} ms ({ratio:.2f})")
    how = {"agents": 4, "topology": "complete", "local_steps": 10, "submodel": "nested", "progress": False}
    how |= {"partition": options.partition, "rounds": options.rounds, "width": options.width}
    for swarm in SWARMS if options.seeds else ():
        ends = [simulate(options.task, capacity=swarm, seed=seed, **how) for seed in range(options.seeds)]
        found = {
            "capacities": ",".join(f"{share:g}" for share in swarm),
            "merged": [round(float(end.consensus_accuracy[-1]), 4) for end in ends],
            "agents": [[round(float(each), 3) for each in end.accuracy[-1]] for end in ends],
        }
        show(found, options.json, "{capacities}: merged {merged}, agents {agents}")


def alone(task: Task, repeats: int) -> list[dict[str, Any]]:
    """Memory and a step of an agent at each capacity: the shortest time, and as a ratio to the whole model's."""
    data = jax.device_put({name: np.asarray(rows[:4096]) for name, rows in task.train_data.items()})
    rows = np.random.default_rng(0).integers(0, min(4096, samples(task.train_data)), (STEPS, task.batch_size), np.int32)
    learners = [make_learner(slice_of(task, share)[0]) for share in SHARES]
    states = [learner.init(0) for learner in learners]
    bytes = [sum(leaf.nbytes for leaf in jax.tree.leaves(state)) for state in states]
    times: list[list[float]] = [[] for _ in SHARES]
    for _ in range(repeats + 2):
        for k, learner in enumerate(learners):
            began_s = time.perf_counter()
            states[k], losses = learner.train(states[k], data, rows, np.int32(0), np.int32(0))
            losses.block_until_ready()
            times[k].append((time.perf_counter() - began_s) / STEPS)
    steps = [min(each[2:]) for each in times]  # What others take of the cores is no step of ours.
    return [
        {
            "capacity": share,
            "parameters": learner.size,
            "megabytes": size / 1e6,
            "step_ms": 1e3 * step_s,
            "ratio": step_s / steps[0],
        }
        for share, learner, size, step_s in zip(SHARES, learners, bytes, steps, strict=True)
    ]


if __name__ == "__main__":
    main()
