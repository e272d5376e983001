"""What an agent trains, made from its settings alone: task, shard and learner. Replay makes the same."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agents.fields import SettingsError, Shard
from agents.joining import BY_DEFAULT, OWN
from agents.learning.data import AnyPartition, deal, labels_or_count, load_rows, partition_name
from agents.learning.dp.accountant import noise_for
from agents.learning.dp.check import check_examples
from agents.learning.dp.mechanism import Mechanism
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.rule_names import with_values
from agents.learning.rules import Rule, rule_hash
from agents.learning.task import Task
from agents.settings import Learning
from agents.submodel import WHOLE, check_shards, parse
from agents.subnetworks import subnetwork, wider

EPOCHS = 20
"""How long an agent trains where neither steps nor epochs are given: passes over its shard."""


@dataclass(frozen=True)
class Prepared:
    """A shard, a learner and a number of steps, ready to train.

    data: the shard's fields, in this machine's memory. index: its number. samples: in it. steps: to train in all.
    mechanism: of private training, None without --dp. own: of the partition and the rule those that the task brings, as
        the manifest names them: by name and hash.
    """

    task: Task
    learner: Learner
    data: dict[str, np.ndarray[Any, Any]]
    index: int
    samples: int
    steps: int
    mechanism: Mechanism | None = None
    own: Mapping[str, str] = field(default_factory=dict)


def task_of(learning: Learning) -> Task:
    """The whole task, with the batch size and the width that the settings ask for. Raises TaskError."""
    task = wider(load_task(learning.task, learning.data), learning.width)
    return task if learning.batch_size is None else replace(task, batch_size=learning.batch_size)


def partition_of(learning: Learning, task: Task) -> AnyPartition:
    """How the data is cut into shards: as given, as the task says itself, or iid."""
    own: AnyPartition = BY_DEFAULT["partition"] if task.partition is None else task.partition
    return learning.partition or own


def rule_of(
    given: str | Rule | None, task: Task, every: int | None, boost: Callable[[], float] | None = None
) -> str | Rule:
    """How exchanges meet the optimizer: as given, as the task says itself, or as for parameters alone.

    every: local steps between two exchanges that an agent begins, None for a time in their place. boost: of the rule
    accelerated, on the agents' graph.
    """
    rule: str | Rule = given or task.rule or BY_DEFAULT["rule"]
    return with_values(rule, every, boost) if isinstance(rule, str) else rule


def part_of_task(learning: Learning, submodel: str, shard: Shard) -> Task:
    """What the agent with this shard trains of the task. Raises TaskError, NarrowError or SettingsError."""
    check_shards(submodel, shard.shards)
    task, shared_out = task_of(learning), parse(submodel)
    return task if shared_out is None else subnetwork(task, shared_out.parts, shared_out.part(shard))


def prepare(
    learning: Learning,
    shard: Shard,
    rule: str | None = None,
    every: int | None = None,
    submodel: str = WHOLE,
    boost: Callable[[], float] | None = None,
) -> Prepared:
    """Everything but compiling. rule: how exchanges meet the optimizer, None for the task's own.

    every: local steps between two exchanges that an agent begins, None for a time in their place. submodel: which part
    of the model is ours. boost: of the rule accelerated, on the agents' graph.

    Raises TaskError, NarrowError, DataError, SettingsError or PrivacyError.
    """
    task = part_of_task(learning, submodel, shard)
    train = task.train_data
    partition, followed = partition_of(learning, task), rule_of(rule, task, every, boost)
    dealt = deal(partition, labels_or_count(train), shard.shards, learning.seed)
    rows = dealt.of(shard.index)
    steps = total_steps(learning, len(dealt.rows), shard.shards, task.batch_size)
    mechanism = private(learning, task.batch_size, len(rows), steps)
    learner = make_learner(task, learning.optimizer, learning.learning_rate, steps, learning.seed, mechanism, followed)
    data = load_rows(train, rows)
    if mechanism is not None:
        check_examples(task, data)
    own = {} if isinstance(partition, str) else {"partition": f"{partition_name(partition)}{OWN}{dealt.hash}"}
    if not isinstance(followed, str):
        own["rule"] = f"{followed.name}{OWN}{rule_hash(followed)}"
    return Prepared(task, learner, data, shard.index, len(rows), steps, mechanism, own)


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
