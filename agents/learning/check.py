"""A trial of a task on shapes alone, so that a fault shows before anything compiles."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.data.sources import Rows
from agents.learning.errors import TaskError, cause
from agents.learning.task import Params, Task


def check(task: Task) -> Params:
    """The shapes of a task's params. Raises TaskError unless task and data fit together; compiles nothing."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = check_params(task)
    train, test = (
        {field: _batch_shape(rows, task.batch_size) for field, rows in data.items()}
        for data in (task.train_data, task.test_data)
    )
    loss = _traced(task.loss, "loss(params, batch, key)", params, train, key)
    if not _is_scalar(loss):
        raise TaskError(f"loss must return one float32 scalar, the mean over the batch: got {_described(loss)}")
    metrics = _traced(task.metrics, "metrics(params, batch)", params, test)
    if not isinstance(metrics, dict) or not all(map(_is_scalar, metrics.values())):
        raise TaskError(f'metrics must return a dict of scalars such as {{"accuracy": ...}}: got {_described(metrics)}')
    return params


def check_params(task: Task) -> Params:
    """The shapes of a task's params, without a look at its data. Raises TaskError unless all are float32 arrays."""
    params = _traced(task.init, "init(key)", jax.eval_shape(lambda: jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        raise TaskError("init(key) must return a pytree of float32 arrays: got one without arrays")
    for path, leaf in leaves:
        if leaf.dtype != jnp.float32:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise TaskError(
                f"params must be float32: init(key) gives {name!r} as {leaf.dtype}; keep params float32 (the loss may "
                "cast them), and arrays that are not trained out of them"
            )
    return params


def _batch_shape(rows: Rows, batch_size: int) -> jax.ShapeDtypeStruct:
    """A batch of a field as the device sees it."""
    return jax.ShapeDtypeStruct((batch_size, *rows.shape[1:]), jax.dtypes.canonicalize_dtype(np.dtype(rows.dtype)))


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
