"""What --dp costs a step of training: the built-in models, private against ordinary, batches of 32, in the same run.

Measured in turn, as what else runs on a machine comes and goes; the ratio is the median over the pairs. Steps are run
64 in one call, as an agent runs them, drawing their batches included.

    python benchmarks/private_step.py --json
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from command import parser_of, show

from agents.learning.dp.mechanism import Mechanism, PoissonBatches
from agents.learning.learner import make_learner
from agents.learning.task import Task
from agents.learning.tasks.models import classification, cnn, mlp
from agents.trainer import EpochBatches, ShardData

STEPS, BATCH, SAMPLES = 64, 32, 1024

MODELS = {"mlp": (mlp(64, 64, 10), (8, 8)), "cnn": (cnn(28, 28, 1, 10), (28, 28, 1))}
"""Those of digits and of Fashion-MNIST."""


def main() -> None:
    """Measure, and print one line or one JSON object."""
    options = parser_of(__doc__, repeats=7).parse_args()
    found: dict[str, float] = {}
    for name, ((init, apply), shape) in MODELS.items():
        random = np.random.default_rng(0)
        data = {"x": random.random((SAMPLES, *shape), np.float32), "y": random.integers(10, size=SAMPLES)}
        task = Task(init, *classification(apply), data, data, batch_size=BATCH)
        calls = ordinary(task), private(task)
        times = [[call() for call in calls] for _ in range(options.repeats)]
        found[f"{name}_ms"] = round(1e3 * statistics.median(plain for plain, _ in times), 3)
        found[f"{name}_private_ms"] = round(1e3 * statistics.median(noised for _, noised in times), 3)
        found[f"{name}_ratio"] = round(statistics.median(noised / plain for plain, noised in times), 2)
    show(found, options.json, "a private step takes {mlp_ratio} times an ordinary one (mlp), {cnn_ratio} times (cnn)")


def ordinary(task: Task) -> Callable[[], float]:
    """Seconds of a step."""
    learner = make_learner(task, "sgd", 0.1)
    data = jax.device_put(dict(task.train_data))
    return timed(learner, data, EpochBatches(ShardData(data, 0, SAMPLES), BATCH, 0, STEPS))


def private(task: Task) -> Callable[[], float]:
    """Seconds of a private step."""
    mechanism = Mechanism(SAMPLES, BATCH, clip=1.0, noise_multiplier=1.0)
    learner = make_learner(task, "sgd", 0.1, mechanism=mechanism)
    return timed(learner, jax.device_put(dict(task.train_data)), PoissonBatches(mechanism, STEPS))


def timed(learner: Any, data: Any, batches: Any) -> Callable[[], float]:
    """A function that takes STEPS steps, compiled, and gives the seconds of one."""
    learner.train(learner.init(0), data, *batches(0, 1))

    def call() -> float:
        state = jax.block_until_ready(learner.init(0))
        began_s = time.perf_counter()
        jax.block_until_ready(learner.train(state, data, *batches(0, STEPS)))
        return (time.perf_counter() - began_s) / STEPS

    return call


if __name__ == "__main__":
    main()
