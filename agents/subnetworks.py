"""The task of one subnetwork: the narrow model of a task, which begins as its part of the full one (DESIGN 1.5)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from agents.learning.check import check_params
from agents.learning.errors import TaskError, cause
from agents.learning.parameters import Parameter, in_float32, parameters
from agents.learning.task import Params, Task
from agents.mixing.narrow import NarrowError, Subnetworks


def wider(task: Task, factor: float) -> Task:
    """The task with all hidden widths times factor. Raises TaskError."""
    if factor == 1:
        return task
    made = _narrow(task, factor, f"width {factor:g}")
    return replace(made, batch_size=task.batch_size, partition=task.partition, rule=task.rule)


def subnetworks(task: Task, count: int) -> tuple[Task, Subnetworks]:
    """The task of one of `count` subnetworks, whichever, and how they make up the model. Nothing is compiled.

    It has the narrow model with its own first weights; all else is the task's. Raises TaskError or NarrowError.
    """
    made = _narrow(task, 1 / count, f"submodel width:{count}")
    task_of_one = replace(task, init=made.init, loss=made.loss, metrics=made.metrics, predict=made.predict, narrow=None)
    return task_of_one, Subnetworks(_shapes(task), _shapes(task_of_one), count)


def subnetwork(task: Task, count: int, k: int) -> Task:
    """The task of subnetwork k of `count`, whose first weights are its part of the full model's. Raises as above."""
    narrow, map = subnetworks(task, count)
    return replace(narrow, init=partial(_first, task.init, narrow.init, map, k))


def _first(
    full: Callable[[Any], Params], narrow: Callable[[Any], Params], map: Subnetworks, k: int, key: Any
) -> Params:
    """The first weights of subnetwork k."""
    theta = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(in_float32(full(key)))])
    begun, (leaves, tree) = map.begin(theta, k), jax.tree.flatten(jax.eval_shape(narrow, key))
    parts = jnp.split(begun, list(accumulate(leaf.size for leaf in leaves))[:-1])
    return jax.tree.unflatten(tree, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def _narrow(task: Task, share: float, asked: str) -> Task:
    if task.narrow is None:
        raise TaskError(
            f"{asked} needs a task whose hidden widths can change, and task {task.name} has no narrow: give "
            "Task(..., narrow=...), a function of a share that returns the task with hidden widths times that"
        )
    try:
        made = task.narrow(share)
    except (TaskError, NarrowError) as error:
        raise TaskError(f"{asked}: {error}") from error
    except Exception as error:
        raise TaskError(f"{asked}: narrow({share:g}) failed: {cause(error)}") from error
    if not isinstance(made, Task):
        raise TaskError(f"{asked}: narrow({share:g}) must return a Task: got {type(made).__name__}")
    return made


def _shapes(task: Task) -> Sequence[tuple[str, tuple[int, ...]]]:
    spec: tuple[Parameter, ...] = parameters(check_params(task))
    return [(parameter.name, parameter.shape) for parameter in spec]
