"""How well a vector does on a task's test data, and which task that is."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.learning.errors import TaskError, cause
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task
from agents.learning.tasks import BUILT_IN
from agents.observe.card import Metrics, MismatchError
from topology.errors import GossamerError


class EvaluationError(GossamerError, RuntimeError):
    """A task's own functions failed on a vector. One line: the exception, and where in whose file."""

    code = "G204"


class Judge:
    """Metrics of a vector on the task's test data; compiled when it is made."""

    def __init__(self, task: Task) -> None:
        self.learner: Learner = make_learner(task)
        self.task = task.name
        self._data = jax.device_put({name: np.asarray(value[:]) for name, value in task.test_data.items()})
        with suppress(EvaluationError):  # It is raised again once the model is on disk.
            self(np.zeros(self.learner.size, np.float32))

    def check(self, model: str, parameters: int) -> None:
        """Raises MismatchError if the task's model isn't this one. model: its hash."""
        if self.learner.spec_hash != model:
            raise MismatchError(
                f"the swarm's model has {parameters} parameters (hash {model[:8]}), that of task "
                f"{self.task} {self.learner.size} ({self.learner.spec_hash[:8]}): give --task as the swarm has it"
            )

    def __call__(self, theta: np.ndarray[Any, np.dtype[np.float32]]) -> Metrics:
        """Raises EvaluationError."""
        try:
            return self.learner.evaluate(self.learner.unflatten(jax.device_put(theta)), self._data)
        except Exception as error:
            raise EvaluationError(f"the metrics of task {self.task} failed: {cause(error)}") from error


def judge_of(
    task: str | None, data: str | None, names: Iterable[str], model: str, parameters: int, notify: Callable[[str], None]
) -> Judge | None:
    """The judge of the task that our user gave, else of a built-in one that agents name. Raises TaskError.

    model: the hash of the swarm's model, of this many parameters.
    """
    if task is None:
        return judge_by_name(names, data, model, parameters, notify)
    return Judge(load_task(task, data))


def judge_by_name(
    names: Iterable[str], data: str | None, model: str, parameters: int, notify: Callable[[str], None]
) -> Judge | None:
    """The judge of the first built-in task of these names that has this model; None, and a line why, if none has.

    names: the tasks that members or checkpoints name. They may name anything, so a name chooses among our own
    tasks and does nothing else: no file that it names is opened. data: the path of the data, from our user as well.
    """
    named = sorted(set(names) - {""})
    built_in = [name for name in named if name in BUILT_IN]
    if not named:
        notify("no member names the task that the swarm trains: pass --task as the swarm has it to evaluate")
    elif not built_in:
        file = Path(named[0]).name[:80]
        notify(f"the swarm's task {file!r} is a file: pass --task {file} to evaluate")
    for name in built_in:
        try:
            judge = Judge(load_task(name, data))
            judge.check(model, parameters)
            return judge
        except (TaskError, MismatchError) as error:
            notify(f"not evaluated as task {name}: {error}")
    return None
