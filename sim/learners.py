"""Tasks and learners that simulations share: the same learner again means the same compiled programs again."""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from agents.fields import Shard
from agents.joining import boost_of
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.rules import Rule
from agents.learning.step import TrainState
from agents.learning.task import Task
from agents.mixing.codec_names import steps_between
from agents.prepare import part_of_task, rule_of, task_of
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
    rule: str | Rule | None = None,
    every: int = 1,
    width: float = 1.0,
    submodel: str = "none",
    boost: Callable[[], float] | None = None,
) -> tuple[Task, Learner, Whole | None]:
    """What each agent trains, its learner for runs of so many steps, and what that is a subnetwork of, if it is one.

    rule: None for the task's own; every: of so many local steps between two exchanges. boost: of the rule accelerated.
    Raises TaskError, NarrowError or UnknownRule.
    """
    task = loaded(task, data)
    rule = rule_of(rule, task, every, boost)
    key = id(task), optimizer, rate, max(1, steps), rule, width, submodel
    if key not in _LEARNERS:
        while len(_LEARNERS) >= 8:
            del _LEARNERS[next(iter(_LEARNERS))]
        _LEARNERS[key] = task, _made(wider(task, width), submodel, optimizer, rate, max(1, steps), rule)
    return _LEARNERS[key][1]


def turn_steps(learner: Learner, local_steps: int) -> int:
    """Local steps of a turn: without training one, that `still` doesn't take, for a rule that follows exchanges."""
    return local_steps or int(learner.rule.exchanged is not None)


@lru_cache(maxsize=8)
def still(learner: Learner) -> Learner:
    """The learner without training: only what its rule makes of exchanges is done."""

    def train(state: TrainState, data: Any, rows: Any, *_: Any) -> tuple[TrainState, jax.Array]:
        return state, jnp.zeros(rows.shape[0], jnp.float32)

    return learner._replace(train=train)


def replayed_learner(
    learning: Learning, gossiping: Gossiping, shard: Shard, steps: int
) -> tuple[Task, Learner, Whole | None]:
    """The same of a real run with these settings. shard: of any of its agents. Raises TaskError or NarrowError."""
    task, chosen = task_of(learning), (learning.optimizer, learning.learning_rate, steps)
    every = steps_between(gossiping.every.steps, gossiping.codec)
    rule = rule_of(gossiping.rule, task, every, partial(boost_of, learning, gossiping, shard))
    return _made(task, gossiping.submodel, *chosen, rule, learning.seed)


def agents_learner(learning: Learning, gossiping: Gossiping, shard: Shard, steps: int) -> tuple[Task, Learner]:
    """What one agent of a real run trained, with its own first weights, and its learner. Raises TaskError."""
    task = part_of_task(learning, gossiping.submodel, shard)
    every = steps_between(gossiping.every.steps, gossiping.codec)
    rule = rule_of(gossiping.rule, task, every, partial(boost_of, learning, gossiping, shard))
    return task, make_learner(task, learning.optimizer, learning.learning_rate, steps, learning.seed, rule=rule)


def _made(
    task: Task, submodel: str, optimizer: str | None, rate: float | None, steps: int, rule: str | Rule, seed: int = 0
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
