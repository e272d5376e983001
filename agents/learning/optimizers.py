"""Optimizers by name: optax's own, and momentum with the schedule that suits a run of known length."""

import optax

from agents.learning.errors import TaskError
from agents.learning.task import Task, positive

NAMED = (
    *("sgd", "adam", "adamw", "lion", "nadam", "nadamw", "radam", "rmsprop", "adagrad", "adadelta", "adabelief"),
    *("adamax", "adan", "amsgrad", "lamb", "lars", "novograd", "yogi"),
)
DEFAULT_LEARNING_RATES = {"sgd": 0.1, "momentum": 0.03, "lion": 1e-4}  # 1e-3 for all others


def momentum(learning_rate: float, total_steps: int | None) -> optax.GradientTransformation:
    """SGD with momentum 0.9; its rate falls to zero along a cosine if the run's length is known."""

    rate = learning_rate if total_steps is None else optax.cosine_decay_schedule(learning_rate, max(total_steps, 1))
    return optax.sgd(rate, momentum=0.9)


def make_optimizer(
    task: Task, name: str | None = None, learning_rate: float | None = None, total_steps: int | None = None
) -> optax.GradientTransformation:
    """The optimizer of a run: the one named here, or the task's own, or momentum. Raises TaskError."""
    if learning_rate is not None:
        learning_rate = positive("a learning rate", learning_rate)
    chosen = name or task.optimizer or "momentum"
    if not isinstance(chosen, str):
        if learning_rate is not None:
            raise TaskError(
                f"task {task.name!r} brings its own optimizer with its own learning rate: got {learning_rate} as well; "
                "name an optimizer too, such as adam, or leave the rate out"
            )
        made = chosen if isinstance(chosen, optax.GradientTransformation) else chosen(total_steps)
        if not isinstance(made, optax.GradientTransformation):
            raise TaskError(f"a task's optimizer must be an optax transformation: got {type(made).__name__}")
        return made
    own_rate = task.learning_rate if name in (None, task.optimizer) else None
    rate = learning_rate or own_rate or DEFAULT_LEARNING_RATES.get(chosen, 1e-3)
    if chosen == "momentum":
        return momentum(rate, total_steps)
    if chosen not in NAMED:
        raise TaskError(f"no optimizer is called {chosen!r}: name one of momentum, {', '.join(NAMED)}")
    return getattr(optax, chosen)(rate)
