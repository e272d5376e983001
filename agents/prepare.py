"""What an agent trains, made from its settings alone: task, shard and learner. Replay makes the same."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.fields import Shard
from agents.learning.data import labels_or_count, load_rows, samples, shard_rows
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task
from agents.settings import Learning

EPOCHS = 20
"""How long an agent trains where neither steps nor epochs are given: passes over its shard."""


@dataclass(frozen=True)
class Prepared:
    """A shard, a learner and a number of steps, ready to train.

    data: the shard's fields, in this machine's memory. index: its number. samples: in it. steps: to train in all.
    """

    task: Task
    learner: Learner
    data: dict[str, np.ndarray[Any, Any]]
    index: int
    samples: int
    steps: int


def task_of(learning: Learning) -> Task:
    """The task, with the batch size that the settings ask for. Raises TaskError."""
    task = load_task(learning.task, learning.data)
    return task if learning.batch_size is None else replace(task, batch_size=learning.batch_size)


def prepare(learning: Learning, shard: Shard) -> Prepared:
    """Everything but compiling. Raises TaskError, DataError or SettingsError."""
    task = task_of(learning)
    train = task.train_data
    rows = shard_rows(learning.partition, labels_or_count(train), shard.shards, shard.index, learning.seed)
    steps = total_steps(learning, samples(train), shard.shards, task.batch_size)
    learner = make_learner(task, learning.optimizer, learning.learning_rate, steps, seed=learning.seed)
    return Prepared(task, learner, load_rows(train, rows), shard.index, len(rows), steps)


def total_steps(learning: Learning, samples: int, shards: int, batch_size: int) -> int:
    """Steps to train. Epochs count passes over a shard of average size, so that all agents take as many steps."""
    if learning.steps is not None:
        return learning.steps
    return math.ceil((learning.epochs or EPOCHS) * samples / shards / batch_size)
