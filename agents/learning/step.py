"""One step of training: the loss's gradient on a batch, and what the optimizer makes of it."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax

from agents.learning.check import batch_shapes, key_shape
from agents.learning.errors import TaskError, cause
from agents.learning.part import Levels, Part
from agents.learning.task import Batch, Params, Task


class TrainState(NamedTuple):
    """What a learner carries from step to step."""

    params: Params
    opt_state: optax.OptState


Step: TypeAlias = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, jax.Array]]


def initial_state(transform: optax.GradientTransformationExtraArgs, params: Params) -> TrainState:
    """The state before the first step. No array has a weak type, as none has after it: so a step compiles once."""

    def without_weak_type(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf

    return TrainState(params, jax.tree.map(without_weak_type, transform.init(params)))


def training_step(
    task: Task, transform: optax.GradientTransformationExtraArgs, part: Part | Levels | None = None
) -> Callable[..., tuple[TrainState, jax.Array]]:
    """step(state, batch, key, shard=0) -> (state, loss): the loss is a float32 scalar, of the params before the step.

    part: what the agent of that shard trains, None for everything.
    """
    takes = inspect.signature(transform.update).parameters.values()
    names = {parameter.name for parameter in takes}
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes)

    def step(state: TrainState, batch: Batch, key: jax.Array, shard: Any = 0) -> tuple[TrainState, jax.Array]:
        def loss_of(params: Params) -> jax.Array:
            params = params if part is None else part.frozen(params, shard)
            return jnp.asarray(task.loss(params, batch, key), jnp.float32)

        loss, gradient = jax.value_and_grad(loss_of)(state.params)
        more = {"value": loss, "grad": gradient, "value_fn": loss_of}  # optax's names for what some optimizers need
        more = {name: value for name, value in more.items() if takes_all or name in names}
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam fails under the strict setting
            updates, opt_state = transform.update(gradient, state.opt_state, state.params, **more)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params if part is None else part.kept(params, state.params, shard), opt_state), loss

    return step


def check_step(task: Task, transform: optax.GradientTransformationExtraArgs, params: Params) -> None:
    """Raise TaskError unless a step can be taken after a step: on shapes alone, compiling nothing."""
    batch, key = batch_shapes(task.train_data, task.batch_size), key_shape()
    try:
        state = jax.eval_shape(partial(initial_state, transform), params)
        after, _ = jax.eval_shape(training_step(task, transform), state, batch, key)
    except Exception as error:
        raise TaskError(_fault(error, task, params, batch, key)) from error
    if _kinds(after) != _kinds(state):
        raise TaskError(
            "an optimizer's state must keep its structure, shapes and dtypes from step to step, and params theirs: "
            f"the task's optimizer changes {_changed(state, after)}"
        )


def _fault(error: Exception, task: Task, *inputs: Any) -> str:
    """Whether it was the loss's gradient that failed, or else the optimizer."""
    try:
        jax.eval_shape(jax.grad(lambda *inputs: jnp.asarray(task.loss(*inputs), jnp.float32)), *inputs)
    except Exception:
        return f"the loss has no gradient: {cause(error)}"
    given = "besides the gradient an update is given params and optax's value, grad and value_fn"
    return f"the optimizer failed: {cause(error)}; {given}"


def _kinds(tree: Any) -> tuple[Any, list[Any]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _changed(before: TrainState, after: TrainState) -> str:
    """The first array that is not what it was, or else the structure."""
    pairs = zip(*map(jax.tree_util.tree_leaves_with_path, (before, after)), strict=False)
    for (path, one), (_, other) in pairs:
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return f"{name} from {one.dtype}{list(one.shape)} to {other.dtype}{list(other.shape)}"
    return "the structure of its state"
