"""The task of a subnetwork or slice: a narrow model of a task that begins as its part of the full one (DESIGN 1.5)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from agents.learning.check import check_params
from agents.learning.errors import TaskError, cause
from agents.learning.parameters import Parameter, hash_of, in_float32, parameters
from agents.learning.task import Params, Task
from agents.mixing.capacities import CAPACITIES, steps_down
from agents.mixing.narrow import NarrowError, Subnetworks
from agents.mixing.nested import Nested, Places, Slice


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


def nested(task: Task) -> tuple[Nested, list[Task]]:
    """A model's slices, and the task of each: of capacity 1, 1/2 and so on, as small as the model's widths allow.

    Raises TaskError or NarrowError if there is none of 1/2. Nothing is compiled.
    """
    tasks = [task]
    for parts in (round(1 / capacity) for capacity in CAPACITIES[1:]):
        try:
            made = _narrow(task, 1 / parts, f"submodel nested, capacity 1/{parts}")
            Subnetworks(_shapes(task), _shapes(made), parts)
        except (TaskError, NarrowError):
            if len(tasks) == 1:
                raise
            break  # Who asks for less than there is gets the reason from `slice_of`.
        tasks.append(replace(task, init=made.init, loss=made.loss, metrics=made.metrics, narrow=None))
    return Nested(_shapes(task), [_shapes(each) for each in tasks[1:]]), tasks


def slice_of(task: Task, capacity: float) -> tuple[Task, Slice]:
    """The task of an agent of this capacity, which begins as its slice of the full model's first weights, and that.

    Raises TaskError or NarrowError.
    """
    map, tasks = nested(task)
    block = map.blocks.of_agent(0, capacity)
    if block is None:
        parts = round(1 / capacity)
        made = _narrow(task, capacity, f"capacity {capacity:g}")
        Subnetworks(_shapes(task), _shapes(made), parts)
        raise TaskError(f"capacity {capacity:g}: narrow(1/{parts // 2}) must work as well, whose slice holds this one")
    narrow, spec = tasks[steps_down(capacity) or 0], parameters(check_params(task))
    begun = narrow if capacity == 1 else replace(narrow, init=partial(_sliced, task.init, narrow.init, map.held(block)))
    return begun, Slice(capacity, map.blocks.held(block), map.places(block), map.blocks, hash_of(spec))


def _sliced(full: Callable[[Any], Params], narrow: Callable[[Any], Params], held: Places, key: Any) -> Params:
    """The first weights of a slice: those of the full model that it holds."""
    return _shaped(_vector(full(key))[held], jax.eval_shape(narrow, key))


def _vector(params: Params) -> jax.Array:
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(in_float32(params))])


def _shaped(theta: jax.Array, shapes: Params) -> Params:
    """The params of these shapes whose vector this is."""
    leaves, tree = jax.tree.flatten(shapes)
    parts = jnp.split(theta, list(accumulate(leaf.size for leaf in leaves))[:-1])
    return jax.tree.unflatten(tree, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def _first(
    full: Callable[[Any], Params], narrow: Callable[[Any], Params], map: Subnetworks, k: int, key: Any
) -> Params:
    """The first weights of subnetwork k."""
    return _shaped(map.begin(_vector(full(key)), k), jax.eval_shape(narrow, key))


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
