"""Tasks and learners that simulations share: the same learner again means the same compiled programs again."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task
from agents.mixing.blocks import WHOLE, patterns
from agents.prepare import parts_of


def task_and_learner(
    task: str | Path | Task,
    data: str | Path | None,
    optimizer: str | None,
    rate: float | None,
    steps: int,
    rule: str = "parameters",
    part: tuple[str, str] = ("", WHOLE),
) -> tuple[Task, Learner]:
    """The task and its learner for runs of so many steps. part: private, submodel. Raises TaskError or ScopeError."""
    task = loaded(task, data)
    key = id(task), optimizer, rate, max(1, steps), rule, *part
    if key not in _LEARNERS:
        while len(_LEARNERS) >= 8:
            del _LEARNERS[next(iter(_LEARNERS))]
        _, trained = parts_of(task, patterns(part[0]), part[1])
        _LEARNERS[key] = task, make_learner(task, optimizer, rate, max(1, steps), rule=rule, part=trained)
    return _LEARNERS[key]


_LEARNERS: dict[tuple[Any, ...], tuple[Task, Learner]] = {}
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
