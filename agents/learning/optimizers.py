"""Optimizers by name: optax's own, and momentum with the schedule that suits a run of known length."""

from typing import Any

import optax

from agents.learning.errors import TaskError, cause
from agents.learning.task import Task, positive

NAMED = (
    *("sgd", "adam", "adamw", "lion", "nadam", "nadamw", "radam", "rmsprop", "adagrad", "adadelta", "adabelief"),
    *("adamax", "adan", "amsgrad", "lamb", "lars", "novograd", "yogi"),
)
TRANSFORMATIONS = (optax.GradientTransformation, optax.MultiSteps)
DEFAULT_LEARNING_RATES = {"sgd": 0.1, "momentum": 0.03, "lion": 1e-4}  # 1e-3 for all others


def momentum(learning_rate: float, total_steps: int | None) -> optax.GradientTransformation:
    """SGD with momentum 0.9; its rate falls to zero along a cosine if the run's length is known."""

    rate = learning_rate if total_steps is None else optax.cosine_decay_schedule(learning_rate, max(total_steps, 1))
    return optax.sgd(rate, momentum=0.9)


def make_optimizer(
    task: Task, name: str | None = None, learning_rate: float | None = None, total_steps: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a run: the one named here, or the task's own, or momentum. Raises TaskError.

    Its update takes `value`, `grad` and `value_fn`, which line searches and rates that fall on a plateau need.
    """
    return optax.with_extra_args_support(_chosen(task, name, learning_rate, total_steps))


def _chosen(
    task: Task, name: str | None, learning_rate: float | None, total_steps: int | None
) -> optax.GradientTransformation:
    if learning_rate is not None:
        learning_rate = positive("a learning rate", learning_rate)
    chosen = name or task.optimizer or "momentum"
    if not isinstance(chosen, str):
        if learning_rate is not None:
            raise TaskError(
                f"task {task.name!r} brings its own optimizer with its own learning rate: got {learning_rate} as well; "
                "name an optimizer too, such as adam, or leave the rate out"
            )
        return _transformation(chosen, total_steps)
    own_rate = task.learning_rate if name in (None, task.optimizer) else None
    rate = learning_rate or own_rate or DEFAULT_LEARNING_RATES.get(chosen, 1e-3)
    if chosen == "momentum":
        return momentum(rate, total_steps)
    if chosen not in NAMED:
        raise TaskError(f"no optimizer is called {chosen!r}: name one of momentum, {', '.join(NAMED)}")
    made: optax.GradientTransformation = getattr(optax, chosen)(rate)
    return made


def _transformation(optimizer: Any, total_steps: int | None) -> optax.GradientTransformation:
    """The transformation that a task's optimizer is or makes."""
    if not isinstance(optimizer, TRANSFORMATIONS) and callable(optimizer):
        try:
            optimizer = optimizer(total_steps)
        except Exception as error:
            raise TaskError(f"optimizer(total_steps) failed: {cause(error)}") from error
    if isinstance(optimizer, optax.MultiSteps):
        return optimizer.gradient_transformation()
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TaskError(
            "a task's optimizer must be an optax transformation, a function of the total steps that returns one, or a "
            f"name: got {type(optimizer).__name__}"
        )
    return optimizer
