"""What slow agents cost a swarm, and why: their data, their steps, or their learning rate, which falls by steps too.

Simulated, 8 agents, merged accuracy in points below the swarm in which all are at speed 1:

    slow      two are slow; their learning rate falls as slowly as they step, and is still high when the others' is zero
    schedule  the same, but theirs falls as that of the others, as far in each step as the others fall meanwhile
    without   the slow ones aren't there, and what they would have held is seen by nobody
    weighing  as slow, but agents weigh by their speed as well (--weigh speed)

    python benchmarks/straggling.py --seeds 5
    python benchmarks/straggling.py --seeds 3 --hidden 64 --rate 0.1 --steps 4000
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import parser_of, show

from agents import Task, load_task
from agents.learning.task import Batch, Params
from agents.learning.tasks.models import classification, mlp
from sim import simulate

EVERY = 5
MOMENTUM = 0.9
PACE = "pace"
"""A field of the data: how many steps of the others go by in one step of the agent that holds it.

And a parameter that is always 0: its gradient is the field, which so reaches the optimizer.
"""


class Falling(NamedTuple):
    """The optimizer's state. passed: steps that the others have taken. trace: momentum, in the params' shapes."""

    passed: jax.Array
    trace: Any


def falling(rate: float) -> Callable[[int | None], optax.GradientTransformation]:
    """Momentum whose rate falls to zero along a cosine, as the built-in tasks', in steps of the others."""

    def made(total: int | None) -> optax.GradientTransformation:
        def init(params: Params) -> Falling:
            return Falling(jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))

        def update(gradient: Any, state: Falling, params: Params | None = None) -> tuple[Any, Falling]:
            pace = gradient[PACE]
            gradient = {**gradient, PACE: jnp.zeros_like(pace)}
            now = rate * (1 + jnp.cos(jnp.pi * jnp.minimum(state.passed / (total or 1), 1.0))) / 2
            trace = jax.tree.map(lambda old, new: MOMENTUM * old + new, state.trace, gradient)
            return jax.tree.map(lambda each: -now * each, trace), Falling(state.passed + pace, trace)

        return optax.GradientTransformation(init, update)

    return made


def paced(task: Task, rate: float, rows: np.ndarray, pace: np.ndarray) -> Task:
    """The task on these rows of its training data, each with the pace of who holds it."""

    def model(params: Params) -> Params:
        return {name: each for name, each in params.items() if name != PACE}

    def loss(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        return task.loss(model(params), batch, key) + params[PACE] * batch[PACE].mean()

    train = {name: np.asarray(values[:])[rows] for name, values in task.train_data.items()} | {PACE: pace}
    return replace(
        task,
        init=lambda key: task.init(key) | {PACE: jnp.zeros(())},
        loss=loss,
        metrics=lambda params, batch: task.metrics(model(params), batch),
        train=train,
        optimizer=falling(rate),
        learning_rate=None,
        narrow=None,
        predict=None,
    )


def task_of(name: str, hidden: int) -> Task:
    """The task; hidden: with one hidden layer of so many units in place of its own model, 0 for its own."""
    task = load_task(name)
    if not hidden:
        return task
    x, y = task.train_data["x"], np.asarray(task.train_data["y"][:])
    init, apply = mlp(int(np.prod(x.shape[1:])), hidden, int(y.max()) + 1)
    scale = 255 if x.dtype == np.uint8 else 1
    loss, metrics = classification(lambda params, x: apply(params, x.astype(jnp.float32) / scale))
    return replace(task, init=init, loss=loss, metrics=metrics)


def merged(task: Task, given: argparse.Namespace, speeds: list[float], seed: int, case: str) -> float:
    """The accuracy of the merged model at the end; agents that are not there have the speed 0."""
    count = len(task.train_data["y"])
    parts = np.array_split(np.random.default_rng(seed).permutation(count), len(speeds))
    there = [number for number, speed in enumerate(speeds) if speed]
    pace = [1 / speeds[number] if case == "schedule" else 1.0 for number in there]
    rows = np.concatenate([parts[number] for number in there])
    sizes = [len(parts[number]) for number in there]
    ends = np.cumsum(sizes)
    history = simulate(
        paced(task, given.rate, rows, np.repeat(np.float32(pace), sizes)),
        agents=len(there),
        topology=given.topology,
        rounds=max(1, given.steps // EVERY),
        local_steps=EVERY,
        speeds=[speeds[number] for number in there],
        weigh="speed" if case == "weighing" else "samples",
        partition=[range(end - size, end) for end, size in zip(ends, sizes, strict=True)],
        seed=seed,
        eval_every=max(1, given.steps // EVERY),
        progress=False,
    )
    return float(history.consensus_accuracy[-1])


def main() -> None:
    """Simulate, and print a line for each case, or JSON objects."""
    parser = parser_of(__doc__, repeats=1)
    parser.add_argument("--task", default="idx", help="one whose params are a dict, with labels y")
    parser.add_argument("--hidden", type=int, default=0, help="units of one hidden layer; 0: the task's own model")
    parser.add_argument("--rate", type=float, default=0.03, help="learning rate at the start")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--topology", default="exponential")
    parser.add_argument("--speeds", default="1,0.05,1,1,0.4,1,1,1", help="of all agents, with commas between")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    task, speeds = task_of(given.task, given.hidden), [float(each) for each in given.speeds.split(",")]
    cases = {
        "even": [1.0] * len(speeds),
        "slow": speeds,
        "schedule": speeds,
        "without": [float(speed == 1) for speed in speeds],
        "weighing": speeds,
    }
    found = {
        case: np.array([merged(task, given, of, seed, case) for seed in range(given.seeds)])
        for case, of in cases.items()
    }
    for case, accuracy in found.items():
        below = 100 * (found["even"] - accuracy)
        result = {
            "case": case,
            "accuracy": [round(float(each), 4) for each in accuracy],
            "mean": round(float(accuracy.mean()), 4),
            "points_below": round(float(below.mean()), 2),
            "spread": round(float(below.std(ddof=1)), 2) if given.seeds > 1 else 0.0,
        }
        show(result, given.json, "{case:9}{mean:.4f}  {points_below:.2f} points below ± {spread:.2f}  {accuracy}")


if __name__ == "__main__":
    main()
