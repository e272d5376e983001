"""What an agent trains, made from its settings alone: task, shard and learner. Replay makes the same."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from agents.goal import Goal, goal_of
from agents.joining import BY_DEFAULT, OWN, boost_of
from agents.learning.check import check_metrics, check_params
from agents.learning.data import AnyPartition, deal, labels_or_count, load_rows, partition_name
from agents.learning.dp.accountant import noise_for
from agents.learning.dp.check import check_examples
from agents.learning.dp.mechanism import Mechanism
from agents.learning.learner import Learner, make_learner
from agents.learning.loading import load_task
from agents.learning.parameters import parameters
from agents.learning.part import Part
from agents.learning.rule_names import OF_ONE_MODEL, check_with, with_values
from agents.learning.rules import Rule, rule_hash
from agents.learning.task import Task
from agents.mixing.blocks import Blocks, blocks_of
from agents.mixing.capacities import NESTED
from agents.mixing.codec_names import steps_between
from agents.mixing.layout import Layout
from agents.mixing.nested import Slice
from agents.protocol.weighing import BY_SPEED
from agents.settings import Gossiping, Learning
from agents.submodel import (
    block_count,
    check_capacities,
    check_private_training,
    check_shards,
    check_slice,
    check_turns,
    subnetwork_count,
)
from agents.subnetworks import slice_of, subnetwork, wider
from agents.values import SettingsError, Shard
from transport.wire import MAX_INT

EPOCHS = 20
"""How long an agent trains where neither steps nor epochs are given: passes over its shard."""


@dataclass(frozen=True)
class Prepared:
    """A shard, a learner and a number of steps, ready to train.

    data: the shard's fields, in this machine's memory. index: its number. samples: in it. steps: to train in all.
    mechanism: of private training, None without --dp. own: of the partition and the rule those that the task brings, as
        the manifest names them: by name and hash. blocks: what of the model is exchanged. goal: by what the agent
        judges its models while it trains, None if it doesn't. slice: which part of a nested model it is, None for all
        of it.
    """

    task: Task
    learner: Learner
    data: dict[str, np.ndarray[Any, Any]]
    index: int
    samples: int
    steps: int
    blocks: Blocks
    mechanism: Mechanism | None = None
    own: Mapping[str, str] = field(default_factory=dict)
    goal: Goal | None = None
    slice: Slice | None = None


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
    """What the agent with this shard holds of the task. Raises TaskError, NarrowError or SettingsError."""
    check_shards(submodel, shard.shards)
    task, count = task_of(learning), subnetwork_count(submodel)
    return task if count == 1 else subnetwork(task, count, shard.index % count)


def trained_of(
    task: Task, private: Sequence[str], submodel: str, shard: int | None = None
) -> tuple[Blocks, Part | None]:
    """What of a task's model is exchanged, and what an agent trains of it; None for everything.

    shard: of the one agent that is compiled for, None for all at once. Raises ScopeError or TaskError.
    """
    layout = Layout((name, shape) for name, shape, _ in parameters(check_params(task)))
    blocks = blocks_of(layout, private, block_count(submodel))
    if blocks.count == 1:
        return blocks, None
    return blocks, Part(blocks.of_spans(layout.spans().values()), blocks.count, shard)


def prepare(learning: Learning, shard: Shard, gossiping: Gossiping | None = None) -> Prepared:
    """Everything but compiling. gossiping: which part of the model is ours, and how exchanges meet the optimizer.

    Raises TaskError, NarrowError, DataError, ScopeError, SettingsError or PrivacyError.
    """
    gossiping = gossiping or Gossiping()
    check_private_training(gossiping.submodel, learning.dp)
    check_turns(gossiping.turns, gossiping.submodel, shard.shards, gossiping.private)
    capacity, slice = gossiping.capacity.of(1)[0], None
    check_capacities(gossiping.submodel, [capacity], gossiping.private, gossiping.codec)
    task = part_of_task(learning, gossiping.submodel, shard)
    if gossiping.submodel == NESTED:
        task, slice = slice_of(task, capacity)
    train = task.train_data
    every = steps_between(gossiping.every.steps, gossiping.codec)
    boost = partial(boost_of, learning, gossiping, shard)
    partition, followed = partition_of(learning, task), rule_of(gossiping.rule, task, every, boost)
    if isinstance(followed, str):
        check_with(followed, gossiping.codec, gossiping.weigh == BY_SPEED)
    dealt = deal(partition, labels_or_count(train), shard.shards, learning.seed)
    rows = dealt.of(shard.index)
    steps = total_steps(learning, len(dealt.rows), shard.shards, task.batch_size)
    mechanism = private(learning, task.batch_size, len(rows), steps)
    blocks, part = trained_of(task, gossiping.private, gossiping.submodel, shard.index)
    chosen = learning.optimizer, learning.learning_rate, steps, learning.seed
    learner = make_learner(task, *chosen, mechanism, followed, part)
    _check_turns(gossiping.turns, learner.rule)
    check_slice(gossiping.submodel, slice, gossiping.private, gossiping.codec, len(learner.rule.vectors))
    data = load_rows(train, rows)
    if mechanism is not None:
        check_examples(task, data)
    own = {} if isinstance(partition, str) else {"partition": f"{partition_name(partition)}{OWN}{dealt.hash}"}
    if not isinstance(followed, str):
        own["rule"] = f"{followed.name}{OWN}{rule_hash(followed)}"
    goal = goal_for(learning, task)
    return Prepared(task, learner, data, shard.index, len(rows), steps, blocks, mechanism, own, goal, slice)


def goal_for(learning: Learning, task: Task) -> Goal | None:
    """By what models of this task are judged while they train. Raises SettingsError or TaskError; compiles nothing."""
    if learning.evaluate_every is None:
        return None
    return goal_of(learning, task.name, check_metrics(task, check_params(task), task.held_out[1]))


def can_replay(learning: Learning, gossiping: Gossiping) -> bool:
    """Whether a recording can be replayed: not what no seed draws."""
    return learning.dp is None and not gossiping.mask


def _check_turns(turns: int, rule: Rule) -> None:
    """Raises SettingsError where the rule keeps something of the subnetwork that an agent leaves."""
    if turns and rule.is_of_one_model:
        raise SettingsError(f"{OF_ONE_MODEL}: got rule {rule.name!r}")


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
    """Steps to train, at most as many as fit in a record.

    Epochs count passes over a shard of average size, so that all agents take as many steps.
    """
    if learning.steps is not None:
        return min(learning.steps, MAX_INT)
    return math.ceil(min((learning.epochs or EPOCHS) * samples / shards / batch_size, MAX_INT))
