"""Tasks and learners that simulations share: the same learner again means the same compiled programs again."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task
from agents.prepare import task_of
from agents.settings import Gossiping, Learning
from agents.submodel import parse
from agents.subnetworks import subnetworks, wider
from sim.device.whole import Whole


def task_and_learner(
    task: str | Path | Task,
    data: str | Path | None,
    optimizer: str | None,
    rate: float | None,
    steps: int,
    rule: str = "parameters",
    width: float = 1.0,
    submodel: str = "none",
) -> tuple[Task, Learner, Whole | None]:
    """What each agent trains, its learner for runs of so many steps, and what that is a subnetwork of, if it is one.

    Raises TaskError or NarrowError.
    """
    task = loaded(task, data)
    key = id(task), optimizer, rate, max(1, steps), rule, width, submodel
    if key not in _LEARNERS:
        while len(_LEARNERS) >= 8:
            del _LEARNERS[next(iter(_LEARNERS))]
        _LEARNERS[key] = task, _made(wider(task, width), submodel, optimizer, rate, max(1, steps), rule)
    return _LEARNERS[key][1]


def replayed_learner(learning: Learning, gossiping: Gossiping, steps: int) -> tuple[Task, Learner, Whole | None]:
    """The same of a real run with these settings. Raises TaskError or NarrowError."""
    chosen = learning.optimizer, learning.learning_rate, steps
    return _made(task_of(learning), gossiping.submodel, *chosen, gossiping.rule, learning.seed)


def _made(
    task: Task, submodel: str, optimizer: str | None, rate: float | None, steps: int, rule: str, seed: int = 0
) -> tuple[Task, Learner, Whole | None]:
    shared_out = parse(submodel)
    if shared_out is None:
        return task, make_learner(task, optimizer, rate, steps, seed, rule=rule), None
    narrow, map = subnetworks(task, shared_out.parts)
    learner = make_learner(narrow, optimizer, rate, steps, seed, rule=rule)
    return narrow, learner, Whole(make_learner(task, optimizer, rate, steps, seed, rule=rule), map)


_LEARNERS: dict[tuple[Any, ...], tuple[Task, tuple[Task, Learner, Whole | None]]] = {}
"""Seeds are no part of it: each agent brings its own. The loaded task is held beside, so its id stays its own."""


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
