"""A task: what to learn, and from which data. Any pure JAX model fits.

    task = Task(init, loss, metrics, train={"x": x, "y": y}, test={"x": x_test, "y": y_test})

    init(key) -> params                       any pytree of float32 arrays
    loss(params, batch, key) -> scalar        batch: the data's fields, `batch_size` rows of each
    metrics(params, batch) -> {name: scalar}  means over the batch, which are averaged over batches of the test data:
                                              a "perplexity" as the exponential of a mean, all else as it is

`check` (in check.py) tries a task on shapes alone, so a fault shows before anything compiles.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from operator import index
from typing import Any, SupportsIndex, TypeAlias

import jax
import optax

from agents.learning.data import AnyPartition, check_partition
from agents.learning.data.sources import Dataset
from agents.learning.errors import TaskError, cause
from agents.learning.rules import Rule
from agents.learning.rules import named as named_rule

Params: TypeAlias = Any
Batch: TypeAlias = dict[str, jax.Array]

OPTIONAL = ("narrow", "predict")
"""Functions of a task that it may lack."""


@dataclass(frozen=True, eq=False)
class Task:
    """What to learn, and from which data.

    train, test: dicts of array-likes whose first axis is the sample, or functions without arguments that return such
    dicts; these are called when the data is first needed, and once. Labels, where there are any, are the field "y".
    optimizer: an optax transformation; or a function of the run's total steps (None when the run has no end) that
    returns one, for schedules; or a name (see `optimizers.py`), which then learns at `learning_rate`.
    partition, rule: of one's own (`data/dealing.py`, `rules/rule.py`), used where a run is given none. A task file may
    define them beside `task` instead.
    validation: held-out data by which models are judged while they train, in place of the test data.
    narrow: narrow(share) is the same task with all hidden widths times share: 1/4 for a quarter of the hidden units, 2
    for twice as many (DESIGN 1.5).
    predict: predict(params, batch) is what the model gives out for a batch, (rows, ...), such as logits; training needs
    none, whoever uses the model does.
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
    partition: AnyPartition | None = None
    rule: Rule | str | None = None
    validation: Dataset | Callable[[], Dataset] | None = None
    narrow: "Callable[[float], Task] | None" = None
    predict: Callable[[Params, Batch], Any] | None = None

    def __post_init__(self) -> None:
        for field in ("init", "loss", "metrics", "narrow", "predict"):
            given = getattr(self, field)
            if not callable(given) and not (given is None and field in OPTIONAL):
                raise TaskError(f"Task({field}=...) must be a function: got {given!r:.60}")
        size = index(self.batch_size) if isinstance(self.batch_size, SupportsIndex) else 0
        if size < 1:
            raise TaskError(f"batch_size must be a positive integer: got {self.batch_size!r}")
        object.__setattr__(self, "batch_size", size)  # of NumPy's integers and numbers, too
        if self.learning_rate is not None:
            object.__setattr__(self, "learning_rate", positive("learning_rate", self.learning_rate))
        if self.partition is not None:
            check_partition(self.partition)
        if self.rule is not None:
            named_rule(self.rule)

    @cached_property
    def train_data(self) -> Dataset:
        """The training data, loaded when first asked for."""
        return _loaded("train", self.train)

    @cached_property
    def test_data(self) -> Dataset:
        """The test data, loaded when first asked for."""
        return _loaded("test", self.test)

    @cached_property
    def held_out(self) -> tuple[str, Dataset]:
        """By what models are judged while they train: "validation" and its data, or "test" where there is none."""
        return (
            ("test", self.test_data)
            if self.validation is None
            else ("validation", _loaded("validation", self.validation))
        )


def positive(name: str, value: Any) -> float:
    """The value as a float. Raises TaskError unless it is a positive number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < inf:
        raise TaskError(f"{name} must be a positive number: got {value!r:.40}")
    return number


def _loaded(field: str, data: Dataset | Callable[[], Dataset]) -> Dataset:
    """The dataset itself, its fields of equal length."""
    try:
        data = data() if callable(data) else data
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"{field}() failed to load the data: {cause(error)}") from error
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
