"""Looks whether an agent has something to train, and whether its settings and model are those of a swarm it would join.

Both load the task, and bring JAX.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from agents.joining import AgentSettings, take_over
from agents.learning.check import check_params
from agents.learning.parameters import hash_of, parameters
from agents.observe.machine import PROBLEM, WELL, Finding
from agents.prepare import part_of_task, prepare
from agents.settings import Gossiping, Learning
from agents.values import Shard
from topology.errors import GossamerError
from transport.messages import Welcome


def trainable(learning: Learning, gossiping: Gossiping, shard: Shard) -> Finding:
    """Whether there is all that an agent with these settings trains: task, data, shard, a part of the model."""
    try:
        found = prepare(learning, shard, gossiping)
    except (GossamerError, OSError) as error:
        return Finding("task", PROBLEM, str(error), "mend this first: `agent run` would end with the same line")
    of = f"{found.learner.size} parameters, {found.samples} samples of shard {shard}, {found.steps} steps"
    return Finding("task", WELL, f"{learning.task}: {of}")


def agreement(mine: AgentSettings, welcome: Welcome) -> Iterator[Finding]:
    """Whether our settings agree with those that all agents share, our model with theirs, and then `trainable`."""
    placing = mine[2]
    if "shard" not in placing.given:  # Which one is no question of whether we could join.
        shards = welcome.settings.get("shards")
        placing = replace(placing, shard=Shard(0, shards if isinstance(shards, int) and shards > 0 else 1))
    try:
        learning, gossiping, placing = take_over((mine[0], mine[1], placing), welcome.run, welcome.settings, {})
        spec = parameters(check_params(part_of_task(learning, gossiping.submodel, placing.shard)))
    except GossamerError as error:
        yield Finding("settings", PROBLEM, str(error), "give what the swarm has, or leave it out to take it over")
        return
    if hash_of(spec) != welcome.model:
        sizes = f"{sum(prod(each.shape) for each in spec)} parameters here, {welcome.parameters} there"
        advice = "give --task, --width and --data as the swarm has them"
        yield Finding("settings", PROBLEM, f"task {learning.task} makes another model: {sizes}", advice)
        return
    yield Finding("settings", WELL, f"they agree with the swarm's, and so does the model of task {learning.task}")
    yield trainable(learning, gossiping, placing.shard)
