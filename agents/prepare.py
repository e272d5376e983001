"""What an agent trains, made from its settings alone: task, shard and learner. Replay makes the same."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.fields import SettingsError, Shard
from agents.learning.check import check_params
from agents.learning.data import labels_or_count, load_rows, samples, shard_rows
from agents.learning.dp.accountant import noise_for
from agents.learning.dp.check import check_examples
from agents.learning.dp.mechanism import Mechanism
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.parameters import parameters
from agents.learning.part import Part
from agents.learning.task import Task
from agents.mixing.blocks import Blocks, blocks_of, check_shards
from agents.mixing.layout import Layout
from agents.settings import Gossiping, Learning

EPOCHS = 20
"""How long an agent trains where neither steps nor epochs are given: passes over its shard."""


@dataclass(frozen=True)
class Prepared:
    """A shard, a learner and a number of steps, ready to train.

    data: the shard's fields, in this machine's memory. index: its number. samples: in it. steps: to train in all.
    mechanism: of private training, None without --dp. blocks: what of the model is exchanged.
    """

    task: Task
    learner: Learner
    data: dict[str, np.ndarray[Any, Any]]
    index: int
    samples: int
    steps: int
    blocks: Blocks
    mechanism: Mechanism | None = None


def task_of(learning: Learning) -> Task:
    """The task, with the batch size that the settings ask for. Raises TaskError."""
    task = load_task(learning.task, learning.data)
    return task if learning.batch_size is None else replace(task, batch_size=learning.batch_size)


def prepare(learning: Learning, shard: Shard, gossiping: Gossiping) -> Prepared:
    """Everything but compiling.

    Raises TaskError, DataError, ScopeError, SettingsError or PrivacyError.
    """
    task = task_of(learning)
    train = task.train_data
    rows = shard_rows(learning.partition, labels_or_count(train), shard.shards, shard.index, learning.seed)
    steps = total_steps(learning, samples(train), shard.shards, task.batch_size)
    mechanism = private(learning, task.batch_size, len(rows), steps)
    check_shards(gossiping.submodel, shard.shards)
    blocks, part = parts_of(task, gossiping.private, gossiping.submodel, shard.index)
    if part is not None and mechanism is not None:
        raise SettingsError(f"--dp trains the whole model: leave --submodel {gossiping.submodel} out")
    learner = make_learner(
        task, learning.optimizer, learning.learning_rate, steps, learning.seed, mechanism, gossiping.rule, part
    )
    data = load_rows(train, rows)
    if mechanism is not None:
        check_examples(task, data)
    return Prepared(task, learner, data, shard.index, len(rows), steps, blocks, mechanism)


def learner_of(learning: Learning, gossiping: Gossiping, shard: int, steps: int) -> tuple[Task, Learner, Blocks]:
    """What the agent of a shard trained without --dp, in so many steps: the task, the learner, what it exchanged."""
    task = task_of(learning)
    blocks, part = parts_of(task, gossiping.private, gossiping.submodel, shard)
    given = learning.optimizer, learning.learning_rate, steps, learning.seed
    return task, make_learner(task, *given, rule=gossiping.rule, part=part), blocks


def parts_of(task: Task, private: Sequence[str], submodel: str, shard: int | None = None) -> tuple[Blocks, Part | None]:
    """What of a task's model is exchanged, and what an agent trains of it; None for everything.

    shard: of the one agent that is compiled for, None for all at once. Raises ScopeError or TaskError.
    """
    layout = Layout((name, shape) for name, shape, _ in parameters(check_params(task)))
    blocks = blocks_of(layout, private, submodel)
    if blocks.count == 1:
        return blocks, None
    return blocks, Part(blocks.of_spans(layout.spans().values()), blocks.count, shard)


def private(learning: Learning, batch_size: int, samples: int, steps: int) -> Mechanism | None:
    """With how much noise so many steps on a shard of so many samples keep the budget; None if there is none.

    Raises SettingsError, PrivacyError.
    """
    budget = learning.dp
    if budget is None:
        return None
    if budget.delta >= 1 / samples:
        raise SettingsError(
            f"--dp {budget}: delta must be well below one in the shard's {samples} samples ({1 / samples:.1g}): with "
            "more, giving away one whole sample would pass for private"
        )
    drawn = min(batch_size, samples)
    noise = noise_for(budget.epsilon, budget.delta, drawn / samples, steps)
    return Mechanism(samples, drawn, learning.dp_clip, noise)


def total_steps(learning: Learning, samples: int, shards: int, batch_size: int) -> int:
    """Steps to train. Epochs count passes over a shard of average size, so that all agents take as many steps."""
    if learning.steps is not None:
        return learning.steps
    return math.ceil((learning.epochs or EPOCHS) * samples / shards / batch_size)
