"""Tasks and learners that simulations share: the same learner again means the same compiled programs again."""

import os
from functools import lru_cache
from pathlib import Path

from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.rules import Rule
from agents.learning.task import Task
from agents.prepare import rule_of


def task_and_learner(
    task: str | Path | Task,
    data: str | Path | None,
    optimizer: str | None,
    rate: float | None,
    steps: int,
    rule: str | Rule | None = None,
    every: int = 1,
) -> tuple[Task, Learner]:
    """The task and its learner for runs of so many steps. rule: None for the task's own; every: of so many
    local steps between two exchanges. Raises TaskError.
    """
    task = loaded(task, data)
    rule = rule_of(rule, task, every)
    key = id(task), optimizer, rate, max(1, steps), rule
    if key not in _LEARNERS:
        while len(_LEARNERS) >= 8:
            del _LEARNERS[next(iter(_LEARNERS))]
        _LEARNERS[key] = task, make_learner(task, optimizer, rate, max(1, steps), rule=rule)
    return _LEARNERS[key]


_LEARNERS: dict[tuple[int, str | None, float | None, int, str | Rule], tuple[Task, Learner]] = {}
"""Seeds are no part of it: each agent brings its own. A task is held beside its learner, so its id stays its own."""


def loaded(task: str | Path | Task, data: str | Path | None) -> Task:
    """The task itself; one by name or file is loaded once, and again when its file has changed."""
    if isinstance(task, Task):
        return task
    changed = os.path.getmtime(task) if os.path.isfile(task) else 0.0
    return _loaded_then(str(task), str(data) if data else None, changed)


@lru_cache(maxsize=8)
def _loaded_then(task: str, data: str | None, changed: float) -> Task:
    """The task as it was when its file was changed last."""
    return load_task(task, data)
