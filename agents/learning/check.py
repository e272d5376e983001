"""A trial of a task on shapes alone, so that a fault shows before anything compiles."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.data.sources import Dataset, samples
from agents.learning.errors import TaskError, cause
from agents.learning.evaluation import batches
from agents.learning.parameters import in_float32, parameters
from agents.learning.task import Params, Task


def check(task: Task) -> Params:
    """The shapes of a task's params. Raises TaskError unless task and data fit together; compiles nothing.

    The metrics, and the loss if it is evaluated with them, are tried on every size of batch that an evaluation has.
    """
    params = check_params(task)
    _check_loss(task, params, batch_shapes(task.train_data, task.batch_size))
    check_metrics(task, params, task.test_data)
    return params


def check_metrics(task: Task, params: Params, data: Dataset) -> list[str]:
    """The names of what an evaluation on this data gives, sorted. params: their shapes. Raises TaskError."""
    names = {"loss"}
    for size in sorted({length for _, length in batches(samples(data))}):
        batch = batch_shapes(data, size)
        metrics = _traced(task.metrics, "metrics(params, batch)", params, batch)
        named = isinstance(metrics, dict) and all(isinstance(name, str) for name in metrics)
        if not named or not all(map(_is_scalar, metrics.values())):
            expected = 'metrics must return a dict of float32 scalars such as {"accuracy": ...}, means over the batch'
            raise TaskError(f"{expected}: got {_described(metrics)}")
        if "loss" not in metrics:
            _check_loss(task, params, batch)
        names |= metrics.keys()
    return sorted(names)


def check_params(task: Task) -> Params:
    """The shapes of a task's params, without a look at its data.

    Raises TaskError unless all are arrays of floats, of one number at least together.
    """
    shapes = _traced(task.init, "init(key)", key_shape())
    found = parameters(shapes)
    if not found:
        raise TaskError("init(key) must return a pytree of float32 arrays: got one without arrays")
    if not any(prod(shape) for _, shape, _ in found):
        raise TaskError(
            f"params must hold a number to train: init(key) gives arrays of size 0 alone, {_described(shapes)}"
        )
    for name, _, dtype in found:
        if dtype not in ("float32", "float64"):  # of float64 it is known what was meant: 64-bit JAX was switched on
            raise TaskError(
                f"params must be float32: init(key) gives {name!r} as {dtype}; keep params float32 (the loss may "
                "cast them), and arrays that are not trained out of them"
            )
    return jax.eval_shape(in_float32, shapes)


def batch_shapes(data: Dataset, size: int) -> dict[str, Any]:
    """A batch of so many samples as the device sees it. Raises TaskError for what isn't numbers."""
    shapes = {}
    for field, rows in data.items():
        dtype = np.dtype(rows.dtype)
        if dtype.kind not in "biufcV":  # bfloat16 is V
            raise TaskError(f"a batch holds numbers: the data's field {field!r} is {dtype}; encode it as integers")
        try:
            seen = jax.dtypes.canonicalize_dtype(dtype)
            shapes[field] = jax.eval_shape(partial(jnp.zeros, (size, *rows.shape[1:]), seen))
        except TypeError:  # Of another byte order, of more than 64 bits, or a record.
            raise TaskError(
                f"a batch holds numbers that JAX has: the data's field {field!r} is {dtype}; convert it to float32 or "
                "int32, say"
            ) from None
    return shapes


def key_shape() -> Any:
    """What a random key is, for a trial."""
    return jax.eval_shape(lambda: jax.random.key(0))


def _check_loss(task: Task, params: Params, batch: dict[str, Any]) -> None:
    loss = _traced(task.loss, "loss(params, batch, key)", params, batch, key_shape())
    if not _is_scalar(loss):
        raise TaskError(f"loss must return one float32 scalar, the mean over the batch: got {_described(loss)}")


def _traced(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
    """The shapes a user's function returns; what it raises becomes one line."""
    try:
        return jax.eval_shape(function, *arguments)
    except TaskError:
        raise
    except Exception as error:
        given = ", ".join(_described(argument) for argument in arguments[1:2])
        raise TaskError(f"{name} failed{given and ' on a batch of '}{given}: {cause(error)}") from error


def _is_scalar(value: Any) -> bool:
    return getattr(value, "shape", None) == () and jnp.issubdtype(value.dtype, jnp.floating)


def _described(value: Any) -> str:
    """Shapes in one line, such as {x: float32[32,64], y: int32[32]}."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_described(part)}" for name, part in value.items()) + "}"
    if hasattr(value, "shape"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return type(value).__name__
