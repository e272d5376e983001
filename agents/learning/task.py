"""A task: what to learn, and from which data. Any pure JAX model fits.

    task = Task(init, loss, metrics, train={"x": x, "y": y}, test={"x": x_test, "y": y_test})

    init(key) -> params                       any pytree of float32 arrays
    loss(params, batch, key) -> scalar        batch: the data's fields, `batch_size` rows of each
    metrics(params, batch) -> {name: scalar}  means over the batch

`check` tries a task on shapes alone, so a fault shows before anything compiles.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents.learning.data.sources import Dataset, Rows
from agents.learning.errors import TaskError, one_line

Params: TypeAlias = Any
Batch: TypeAlias = dict[str, jax.Array]


@dataclass(frozen=True, eq=False)
class Task:
    """What to learn, and from which data.

    train, test: dicts of array-likes whose first axis is the sample, or functions without arguments that return such
    dicts; these are called when the data is first needed, and once. Labels, where there are any, are the field "y".
    optimizer: an optax transformation; or a function of the run's total steps (None when the run has no end) that
    returns one, for schedules; or a name (see `optimizers.py`), which then learns at `learning_rate`.
    """

    init: Callable[[jax.Array], Params]
    loss: Callable[[Params, Batch, jax.Array], jax.Array]
    metrics: Callable[[Params, Batch], dict[str, jax.Array]]
    train: Dataset | Callable[[], Dataset]
    test: Dataset | Callable[[], Dataset]
    batch_size: int = 32
    optimizer: optax.GradientTransformation | Callable[[int | None], optax.GradientTransformation] | str | None = None
    name: str = "task"
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        for field in ("init", "loss", "metrics"):
            if not callable(getattr(self, field)):
                raise TaskError(f"Task({field}=...) must be a function: got {getattr(self, field)!r:.60}")
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise TaskError(f"batch_size must be a positive integer: got {self.batch_size!r}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise TaskError(f"learning_rate must be positive: got {self.learning_rate!r}")

    @cached_property
    def train_data(self) -> Dataset:
        """The training data, loaded when first asked for."""
        return _loaded("train", self.train)

    @cached_property
    def test_data(self) -> Dataset:
        """The test data, loaded when first asked for."""
        return _loaded("test", self.test)


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


def _loaded(field: str, data: Dataset | Callable[[], Dataset]) -> Dataset:
    """The dataset itself, its fields of equal length."""
    try:
        data = data() if callable(data) else data
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"{field}() failed to load the data: {one_line(error)}") from error
    expected = f"Task({field}=...) must be a dict of arrays whose first axis is the sample, or a function returning one"
    if not isinstance(data, Mapping) or not data:
        raise TaskError(f"{expected}: got {type(data).__name__} {data!r:.40}")
    for name, rows in data.items():
        if not getattr(rows, "shape", ()) or not hasattr(rows, "dtype"):
            raise TaskError(f"{expected}: its {name!r} is a {type(rows).__name__}; try numpy.asarray")
    lengths = {name: rows.shape[0] for name, rows in data.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise TaskError(f"{field} data must have the same number of samples in each field, at least one: got {counts}")
    return data


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
        raise TaskError(f"{name} failed{given and ' on a batch of '}{given}: {one_line(error)}") from error


def _is_scalar(value: Any) -> bool:
    return getattr(value, "shape", None) == () and jnp.issubdtype(value.dtype, jnp.floating)


def _described(value: Any) -> str:
    """Shapes in one line, such as {x: float32[32,64], y: int32[32]}."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_described(part)}" for name, part in value.items()) + "}"
    if hasattr(value, "shape"):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return type(value).__name__
