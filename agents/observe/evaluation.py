"""How well a vector does on a task's test data, and which task that is."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.learning.data import samples
from agents.learning.errors import TaskError, cause
from agents.learning.evaluation import batches
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.parameters import Parameter
from agents.learning.task import Task
from agents.learning.tasks import BUILT_IN
from agents.mixing.capacities import NESTED, steps_down
from agents.mixing.narrow import NarrowError, Subnetworks
from agents.mixing.nested import Nested
from agents.observe.card import Metrics, MismatchError
from agents.observe.pieces import most_parameters
from agents.submodel import WHOLE, subnetwork_count
from agents.subnetworks import nested, subnetworks, wider
from topology.errors import GossamerError


class EvaluationError(GossamerError, RuntimeError):
    """A task's own functions failed on a vector. One line: the exception, and where in whose file."""

    code = "G204"


def judging(task: Task, width: float, submodel: str, evaluates: bool) -> "Judge":
    """The judge of this task at another width. Raises as `Judge` does."""
    return Judge(wider(task, width), submodel, evaluates)


class Judge:
    """Metrics of a vector on the task's test data; compiled when it is made.

    submodel: how the model is divided. map: how its parts make it up, None where each agent holds all of it.
    learner: of the whole model. evaluates: whether there is anything to judge; else it knows names and shapes alone.
    Raises TaskError, NarrowError if the subnetworks don't make up the model, and MismatchError if it is too large.
    """

    def __init__(self, task: Task, submodel: str = WHOLE, evaluates: bool = True) -> None:
        self.learner: Learner = make_learner(task)
        self.task, self.evaluates = task.name, evaluates
        self.map: Subnetworks | Nested | None = None
        self._of_agents = self.learner
        self._slices: list[Task] = []
        self._of_slices = {0: self.learner}
        self._whole = self._held = task
        if (count := subnetwork_count(submodel)) > 1:
            if self.learner.size > most_parameters():
                raise MismatchError(f"a model of {self.learner.size} parameters is more than this machine holds twice")
            self._held, self.map = subnetworks(task, count)
            self._of_agents = make_learner(self._held)
        elif submodel == NESTED:
            self.map, self._slices = nested(task)
        if not evaluates:
            return
        self._data = jax.device_put({name: np.asarray(value[:]) for name, value in task.test_data.items()})
        with suppress(EvaluationError):  # It is raised again once the model is on disk.
            self._try(self.map)

    @property
    def held(self) -> tuple[Parameter, ...]:
        """The parameters that an agent holds."""
        return self._of_agents.spec

    @property
    def model(self) -> str:
        """The hash of what an agent holds."""
        return self._of_agents.spec_hash

    def _try(self, map: Subnetworks | Nested | None) -> None:
        """Compile; and see that a model of equal subnetworks computes what each of them does."""
        if not isinstance(map, Subnetworks):
            self(np.zeros(self.learner.size, np.float32))
            return
        theta = np.asarray(self._of_agents.flatten(self._of_agents.init(0).params))
        theta = theta + np.random.default_rng(0).uniform(-0.1, 0.1, theta.shape).astype(np.float32)
        one, all = self.of_agent(theta), self(map.assemble(np.stack([theta] * map.count), np.ones(map.count)))
        for name, value in one.items():
            if not np.isclose(value, all[name], rtol=0.02, atol=0.02):
                raise NarrowError(
                    f"{map.count} equal subnetworks of task {self.task} must make up a model that computes the same: "
                    f"got {name} {all[name]:.4g} of it and {value:.4g} of each; units of some layer are not where one "
                    "axis, or the layer before, shows them"
                )

    def check(self, model: str, parameters: int) -> None:
        """Raises MismatchError if the task's model isn't this one. model: its hash."""
        if self.model != model:
            raise MismatchError(
                f"the swarm's model has {parameters} parameters (hash {model[:8]}), that of task "
                f"{self.task} {self._of_agents.size} ({self.model[:8]}): give --task as the swarm has it"
            )

    def __call__(self, theta: np.ndarray[Any, np.dtype[np.float32]]) -> Metrics:
        """Of the whole model. Raises EvaluationError."""
        return self._judged(self.learner, theta)

    def of_agent(self, theta: np.ndarray[Any, np.dtype[np.float32]], capacity: float = 1.0) -> Metrics:
        """Of what an agent holds. capacity: of a nested model. Raises EvaluationError."""
        if not isinstance(self.map, Nested):
            return self._judged(self._of_agents, theta)
        block, down = self.map.blocks.of_agent(0, capacity), steps_down(capacity)
        assert block is not None and down is not None, "whose capacity is none of the model's is left out before"
        return self._judged(self._slice(down), self.map.narrowed(theta, block))

    def _slice(self, down: int) -> Learner:
        """The learner of the slice that is the whole, halved so often."""
        if down not in self._of_slices:
            self._of_slices[down] = make_learner(self._slices[down])
        return self._of_slices[down]

    def outputs(
        self, theta: np.ndarray[Any, np.dtype[np.float32]], capacity: float = 1.0
    ) -> np.ndarray[Any, Any] | None:
        """What the model of an agent gives out for the test data, (rows, ...); None of a task that has no predict.

        Raises EvaluationError.
        """
        if self._held.predict is None:
            return None
        task, learner = self._held, self._of_agents
        if isinstance(self.map, Nested):
            block, down = self.map.blocks.of_agent(0, capacity), steps_down(capacity)
            assert block is not None and down is not None, "whose capacity is none of the model's is left out before"
            task, learner = self._slices[down] if down else self._whole, self._slice(down)
            theta = self.map.narrowed(theta, block)
        try:
            params, predict = learner.unflatten(jax.device_put(theta)), _compiled(task)
            spans = [slice(start, start + size) for start, size in batches(samples(self._data))]
            each = [predict(params, {name: rows[span] for name, rows in self._data.items()}) for span in spans]
            return np.concatenate([np.asarray(outputs) for outputs in each])
        except Exception as error:
            raise EvaluationError(f"predict of task {self.task} failed: {cause(error)}") from error

    def accuracy(self, outputs: np.ndarray[Any, Any], rows: slice = slice(None)) -> float | None:
        """How often the largest output is that of the label; None of no classes. rows: of the test data."""
        labels = np.asarray(self._data["y"]) if "y" in self._data else np.zeros(0)
        if not np.issubdtype(labels.dtype, np.integer) or outputs.ndim != labels.ndim + 1:
            return None
        return float(np.mean(outputs.argmax(axis=-1)[rows] == labels[rows]))

    def _judged(self, learner: Learner, theta: np.ndarray[Any, np.dtype[np.float32]]) -> Metrics:
        try:
            return learner.evaluate(learner.unflatten(jax.device_put(theta)), self._data)
        except Exception as error:
            raise EvaluationError(f"the metrics of task {self.task} failed: {cause(error)}") from error


@lru_cache(maxsize=8)
def _compiled(task: Task) -> Any:
    """The task's predict, compiled."""
    assert task.predict is not None, "it was looked at before"
    return jax.jit(task.predict)


def judge_of(
    task: str | None,
    data: str | None,
    names: Iterable[str],
    model: str,
    parameters: int,
    notify: Callable[[str], None],
    made: "Callable[[Task], Judge]" = Judge,
) -> Judge | None:
    """The judge of the task that our user gave, else of a built-in one that agents name. Raises TaskError.

    model: the hash of the swarm's model, of this many parameters. made: the judge of a task.
    """
    if task is None:
        return judge_by_name(names, data, model, parameters, notify, made)
    return made(load_task(task, data))


def judge_by_name(
    names: Iterable[str],
    data: str | None,
    model: str,
    parameters: int,
    notify: Callable[[str], None],
    made: "Callable[[Task], Judge]" = Judge,
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
            judge = made(load_task(name, data))
            judge.check(model, parameters)
            return judge
        except (TaskError, NarrowError, MismatchError) as error:
            notify(f"not evaluated as task {name}: {error}")
    return None
