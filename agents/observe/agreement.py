"""Looks whether an agent's settings and its model are those of a swarm that it would join."""

from dataclasses import replace
from math import prod

from agents.joining import AgentSettings, take_over
from agents.learning.check import check_params
from agents.learning.parameters import hash_of, parameters
from agents.observe.machine import PROBLEM, WELL, Finding
from agents.prepare import part_of_task
from agents.values import Shard
from topology.errors import GossamerError
from transport.messages import Welcome


def agreement(mine: AgentSettings, welcome: Welcome) -> Finding:
    """Whether our settings agree with those that all agents share, and our model with theirs."""
    placing = mine[2]
    if "shard" not in placing.given:  # Which one is no question of whether we could join.
        shards = welcome.settings.get("shards")
        placing = replace(placing, shard=Shard(0, shards if isinstance(shards, int) and shards > 0 else 1))
    try:
        learning, gossiping, placing = take_over((mine[0], mine[1], placing), welcome.run, welcome.settings, {})
        spec = parameters(check_params(part_of_task(learning, gossiping.submodel, placing.shard)))
    except GossamerError as error:
        return Finding("settings", PROBLEM, str(error), "give what the swarm has, or leave it out to take it over")
    if hash_of(spec) != welcome.model:
        sizes = f"{sum(prod(each.shape) for each in spec)} parameters here, {welcome.parameters} there"
        advice = "give --task, --width and --data as the swarm has them"
        return Finding("settings", PROBLEM, f"task {learning.task} makes another model: {sizes}", advice)
    return Finding("settings", WELL, f"they agree with the swarm's, and so does the model of task {learning.task}")
