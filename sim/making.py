"""Makes a simulation that is ready to start: what each agent holds, begins with, trains on and weighs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.learning.data import AnyPartition
from agents.learning.learner import Learner
from agents.learning.task import Task
from agents.mixing.blocks import Blocks
from sim.device.memory import check_memory, trained_at_once
from sim.device.whole import Parts, Whole
from sim.ending import TRAINED
from sim.history import History
from sim.learners import still, turn_steps
from sim.shards import Shards
from sim.simulation import Simulation
from sim.starting import start

PICKED = 64
"""How many agents are evaluated at a snapshot, where there are more."""


def make_simulation(
    task: Task,
    learner: Learner,
    agents: int,
    *,
    moments: np.ndarray,
    seeds: Sequence[int],
    partition: AnyPartition = "iid",
    local_steps: int = 1,
    by_samples: bool = True,
    shares: np.ndarray | None = None,
    codec: str = "float32",
    blocks: Blocks | None = None,
    init: Any = None,
    picked: int | None = None,
    agents_per_chunk: int | None = None,
    shards_of: tuple[int, np.ndarray] | None = None,
    parts_of: Sequence[int] | None = None,
    kept: np.ndarray | None = None,
    resume: History | None = None,
    whole: Whole | None = None,
    joins: np.ndarray | None = None,
    levels: tuple[int, ...] = (),
    turns: np.ndarray | None = None,
) -> "Simulation":
    """A simulation that is ready to start, of so many agents for each seed. See `simulate` for the rest.

    shares (groups * agents,): of its weight, what each agent has; None for all of it.
    moments: the rounds after which it is evaluated, ascending. shards_of: (how many shards there are, which of them
    each agent has); None for one each. parts_of (agents,): the subnetwork that each holds; None for that of its shard.
    kept: the moments whose models are kept, None for none. resume: what it goes on from, of one seed. whole: what the
    agents' models are subnetworks of. joins (groups * agents,): when each agent comes; None where all are there.
    blocks: what of an agent's model is exchanged, and who trains what. levels: of a nested model, that of each agent.
    turns (S,): at each moment, how often agents have gone to other subnetworks; None where they don't.

    Raises SimulationError or DataError.
    """
    kept = np.empty(0) if kept is None else kept
    check_memory(learner, agents, len(seeds), len(kept))
    parts, indices = shards_of or (agents, None)
    turn = turn_steps(learner, local_steps)
    shards = Shards(task, partition, parts, seeds, indices) if turn else None
    numbers = np.arange(agents) if indices is None else indices
    partial = None if blocks is None or blocks.is_whole else blocks
    of = (numbers % (whole.map.count if whole else 1)).tolist() if parts_of is None else parts_of
    held = Parts(tuple(of), whole, partial, levels)
    if resume is not None:
        init = resume.theta if resume.ending is None else resume.ending.arrays.get(TRAINED, resume.theta)
    theta = [start(learner, agents, local_steps, seed, init, held) for seed in seeds]
    weights = shards.sizes.astype(float) if shards and local_steps and by_samples else np.ones(len(seeds) * agents)
    weights = weights if shares is None else weights * shares
    chunk = trained_at_once(task, learner, len(seeds) * agents, turn, agents_per_chunk)
    chosen = min(picked or PICKED, agents)
    learner, test = (learner, task.test_data) if local_steps else (still(learner), None)
    given = task, learner, shards, test, theta, weights, moments, chunk, chosen, seeds, turn, codec, held, kept
    return Simulation(*given, resume.ending if resume else None, joins, turns)
