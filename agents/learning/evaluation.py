"""Evaluation: a task's metrics and its loss, as means over a dataset that is taken in batches."""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from agents.learning.task import Batch, Params, Task

EVALUATION_ROWS = 256  # bounds an evaluation's memory; on a CPU three times as fast as 1024, which leaves the cache

GEOMETRIC = {"perplexity"}
"""Metrics whose mean is the geometric one: the exponential of a mean is no mean of exponentials."""


def summands(metrics: Mapping[str, Any], xp: ModuleType = jnp) -> dict[str, Any]:
    """What of each batch's metrics is averaged, weighted by the batches' lengths."""
    return {name: xp.log(value) if name in GEOMETRIC else value for name, value in metrics.items()}


def averaged(means: Mapping[str, Any], xp: ModuleType = jnp) -> dict[str, Any]:
    """The metrics of all batches, from the means of `summands`."""
    return {name: xp.exp(value) if name in GEOMETRIC else value for name, value in means.items()}


def measure(task: Task, params: Params, batch: Batch) -> dict[str, jax.Array]:
    """The metrics of one batch, {"loss": float32 scalar, ...}; the loss is the task's unless its metrics have one."""
    found = task.metrics(params, batch)
    if "loss" not in found:
        found = {"loss": task.loss(params, batch, jax.random.key(0)), **found}
    return {name: jnp.asarray(value, jnp.float32) for name, value in found.items()}


def batches(count: int) -> Iterator[tuple[int, int]]:
    """Start and length of each batch of an evaluation of so many samples: all of one length, but for the last."""
    size = -(-count // -(-count // EVALUATION_ROWS))
    for start in range(0, count, size):
        yield start, min(size, count - start)
