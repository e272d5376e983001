"""The task of `make hospitals`: Fashion-MNIST and a small CNN, and local steps as long as a site's computer takes.

AGENTS_STEP_S in an agent's environment: seconds that its computer takes for a step, besides ours. So eight sites can
share a machine without being slow, and one can be twenty times slower than the others whatever machine this is. Without
Debian's dataset-fashion-mnist it is scikit-learn's digits, whose 360 test images tell less apart.
"""

import os
import time
from dataclasses import replace

import jax

from agents import Task, load_task
from agents.learning.task import Batch, Params
from agents.learning.tasks.idx import FASHION_MNIST

STEP_S = float(os.environ.get("AGENTS_STEP_S", "0"))


def task() -> Task:
    """The built-in task, at this site's pace."""
    built_in = load_task("idx" if FASHION_MNIST.is_dir() else "digits")

    def loss(params: Params, batch: Batch, key: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: time.sleep(STEP_S))
        return built_in.loss(params, batch, key)

    return replace(built_in, loss=loss) if STEP_S else built_in
