"""What a run goes on from: what must be the same, and where its event source stood."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.learning.data import AnyPartition, partition_name, samples
from agents.learning.learner import Learner
from agents.learning.rules import rule_hash
from agents.learning.task import Task
from sim.checks import SimulationError
from sim.ending import SOURCE, Ending, hash_of
from sim.shards import Shards
from sim.sources.carried import Carried
from sim.sources.own import Checked
from sim.sources.source import EventSource
from topology import Schedule, Topology


def told_by_model(task: Task, learner: Learner) -> dict[str, Any]:
    """Of what a task makes of a run's settings, what decides whether models fit at all."""
    return {"task": task.name, "model": learner.spec_hash}


def told_by_task(
    task: Task, learner: Learner, network: Topology, partition: AnyPartition, shards: Shards | None
) -> dict[str, Any]:
    """What the task and the seed make of a run's settings, as `Ending.settings` holds it."""
    graphs, weights = (network.graphs, network.weights) if isinstance(network, Schedule) else ((network,), ())
    arcs = hash_of(*(part for graph in graphs for part in (graph.indptr, graph.indices)), *weights)
    return told_by_model(task, learner) | {
        "samples": samples(task.train_data) if shards else 0,
        "batch_size": task.batch_size,
        "topology": f"{type(network).__name__}@{arcs}",
        "partition": f"{partition_name(partition)}@{shards.hash if shards else ''}",
        "rule": f"{learner.rule.name}@{rule_hash(learner.rule)}",
    }


def goes_on(source: EventSource) -> bool:
    """Whether a source can tell where it stands, and stand there again."""
    return source.goes_on if isinstance(source, Checked) else isinstance(source, Carried)


def state_of(sources: Sequence[EventSource]) -> dict[str, np.ndarray[Any, Any]]:
    """Where the source of one seed stands; nothing for synchronous gossip, which needs none."""
    return sources[0].state() if sources and isinstance(sources[0], Checked | Carried) else {}


def restore(source: EventSource, ending: Ending) -> None:
    """Let a source stand where that of the ending stood. Raises SimulationError if it can't."""
    if not isinstance(source, Checked | Carried) or not goes_on(source):
        raise SimulationError("a protocol that a run goes on with has the methods state() and restore(state)")
    source.restore(ending.of(SOURCE))
