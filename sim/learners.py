"""Tasks and learners that simulations share: the same learner again means the same compiled programs again."""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.joining import boost_of
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.part import Levels
from agents.learning.rules import Rule
from agents.learning.step import TrainState
from agents.learning.task import Task
from agents.mixing.blocks import Blocks, patterns
from agents.mixing.capacities import NESTED
from agents.mixing.codec_names import steps_between
from agents.mixing.layout import Layout
from agents.mixing.nested import Slice
from agents.prepare import part_of_task, rule_of, task_of, trained_of
from agents.settings import Gossiping, Learning
from agents.submodel import subnetwork_count
from agents.subnetworks import nested, slice_of, subnetworks, wider
from agents.values import Shard
from sim.device.whole import Whole


class Trained(NamedTuple):
    """What agents train: the task of each, its learner, and what of its model is exchanged, and trained by whom.

    whole: what the models are subnetworks of, None where each agent holds the whole one. levels: of a nested model, the
    level of each agent; () otherwise. slice: of a nested model, what one agent holds of it; None of all, or otherwise.
    """

    task: Task
    learner: Learner
    blocks: Blocks
    whole: Whole | None
    levels: tuple[int, ...] = ()
    slice: Slice | None = None


def trained(
    task: str | Path | Task,
    data: str | Path | None,
    optimizer: str | None,
    rate: float | None,
    steps: int,
    rule: str | Rule | None = None,
    every: int = 1,
    width: float = 1.0,
    submodel: str = "none",
    private: str = "",
    boost: Callable[[], float] | None = None,
    capacities: tuple[float, ...] = (),
) -> Trained:
    """What each agent trains, with a learner for runs of so many steps.

    rule: None for the task's own; every: of so many local steps between two exchanges. private: patterns of names.
    boost: of the rule accelerated. capacities: of each agent, with submodel "nested". Raises TaskError, NarrowError,
    UnknownRule or ScopeError.
    """
    task = loaded(task, data)
    rule = rule_of(rule, task, every, boost)
    key = id(task), optimizer, rate, max(1, steps), rule, width, submodel, private, capacities
    if key not in _LEARNERS:
        while len(_LEARNERS) >= 8:
            del _LEARNERS[next(iter(_LEARNERS))]
        chosen = optimizer, rate, max(1, steps)
        full = wider(task, width)
        made = _nested(full, capacities, *chosen, rule) if submodel == NESTED else None
        _LEARNERS[key] = task, made or _made(full, submodel, patterns(private), *chosen, rule)
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


def replayed(
    learning: Learning, gossiping: Gossiping, shard: Shard, steps: int, capacities: tuple[float, ...] = ()
) -> Trained:
    """The same of a real run with these settings. shard: of any of its agents. capacities: of all of them, if unlike.

    Raises TaskError, NarrowError or ScopeError.
    """
    task, chosen = task_of(learning), (learning.optimizer, learning.learning_rate, steps)
    rule = _rule(learning, gossiping, shard, task)
    if gossiping.submodel == NESTED:
        return _nested(task, capacities, *chosen, rule)
    return _made(task, gossiping.submodel, gossiping.private, *chosen, rule, learning.seed)


def agents_learner(learning: Learning, gossiping: Gossiping, shard: Shard, steps: int) -> Trained:
    """What one agent of a real run trained, with its own first weights. Raises TaskError."""
    task, slice = part_of_task(learning, gossiping.submodel, shard), None
    if gossiping.submodel == NESTED:
        task, slice = slice_of(task, gossiping.capacity.of(1)[0])
    rule = _rule(learning, gossiping, shard, task)
    blocks, part = trained_of(task, gossiping.private, gossiping.submodel, shard.index)
    chosen = learning.optimizer, learning.learning_rate, steps, learning.seed
    return Trained(task, make_learner(task, *chosen, rule=rule, part=part), blocks, None, slice=slice)


def _rule(learning: Learning, gossiping: Gossiping, shard: Shard, task: Task) -> str | Rule:
    every = steps_between(gossiping.every.steps, gossiping.codec)
    return rule_of(gossiping.rule, task, every, partial(boost_of, learning, gossiping, shard))


def _made(
    task: Task,
    submodel: str,
    private: Sequence[str],
    optimizer: str | None,
    rate: float | None,
    steps: int,
    rule: str | Rule,
    seed: int = 0,
) -> Trained:
    chosen, count = (optimizer, rate, steps, seed), subnetwork_count(submodel)
    full, map = task, None
    if count > 1:
        task, map = subnetworks(full, count)
    blocks, part = trained_of(task, private, submodel)
    learner = make_learner(task, *chosen, rule=rule, part=part)
    return Trained(task, learner, blocks, Whole(make_learner(full, *chosen, rule=rule), map) if map else None)


def _nested(
    task: Task, capacities: tuple[float, ...], optimizer: str | None, rate: float | None, steps: int, rule: str | Rule
) -> Trained:
    """All agents have the full model's shape, in the common order of coordinates, and 0 where they hold nothing.

    A hidden unit whose weights and bias are 0 is none, where units act through the weights behind them alone.
    """
    blocks = slice_of(task, min(capacities))[1].blocks  # Raises for a capacity that is none of the model's.
    map, levels = nested(task)[0], tuple(blocks.of_agent(0, capacity) or 0 for capacity in capacities)
    spans = Layout(map.parameters).spans()
    needed = [map.levels[spans[name]].reshape(shape).astype(np.int8) for name, shape in map.parameters]
    part = Levels(tuple(needed), levels)
    return Trained(
        task, make_learner(task, optimizer, rate, steps, 0, None, rule, part, map.order), blocks, None, levels
    )


_LEARNERS: dict[tuple[Any, ...], tuple[Task, Trained]] = {}
"""Seeds are no part of it: each agent brings its own. The loaded task is held beside, so its id stays its own."""


def loaded(task: str | Path | Task, data: str | Path | None) -> Task:
    """The task itself; one by name or file is loaded once, and again when its file has changed. Raises TaskError."""
    if not isinstance(task, str | Path):
        return load_task(task, data)
    changed = os.path.getmtime(task) if os.path.isfile(task) else 0.0
    return _loaded_then(str(task), str(data) if data else None, changed)


@lru_cache(maxsize=8)
def _loaded_then(task: str, data: str | None, changed: float) -> Task:
    """The task as it was when its file was changed last."""
    return load_task(task, data)
