"""What a simulation takes of the device's memory, and how many agents are trained at a time to stay within it."""

import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from agents.learning.data import load_rows
from agents.learning.learner import Learner
from agents.learning.task import Task
from sim.checks import SimulationError

MEMORY_SHARE = 0.8
"""Of the memory that is free, how much a simulation may take."""

BESIDE_BYTES = 600
"""What an agent takes beside its models: its name, neighbors, clock, events of a round or two; measured on rings."""

TRAINING_BYTES = 1 << 29
"""What training may take besides the models themselves, if agents_per_chunk is left open."""


def check_memory(learner: Learner, agents: int, groups: int, kept: int = 0) -> None:
    """Raise SimulationError if so many models don't fit. kept: snapshots that are kept, here and on the device."""
    of_one = 3 * 4 * learner.width + BESIDE_BYTES
    free, needed = free_bytes(), groups * agents * of_one
    most = int(MEMORY_SHARE * free / of_one)
    if needed > MEMORY_SHARE * free:
        raise SimulationError(
            f"{groups * agents:,} models of {learner.size:,} parameters take about {needed / 1e9:.1f} GB on their way, "
            f"and {free / 1e9:.1f} GB are free: set agents to {most:,} or fewer"
        )
    each = 2 * 4 * groups * agents * learner.width
    if kept and needed + kept * each > MEMORY_SHARE * free:
        raise SimulationError(
            f"{kept} snapshots of {groups * agents:,} models of {learner.size:,} parameters take about "
            f"{kept * each / 1e9:.1f} GB beside the {needed / 1e9:.1f} GB of the run, and {free / 1e9:.1f} GB are "
            f"free: keep {max(0, int((MEMORY_SHARE * free - needed) / each))} or fewer, by rounds: snapshots=[...]"
        )


def check_evaluations(agents: int, groups: int, rounds: float, every: float | None) -> None:
    """Raise SimulationError if a history evaluated every so many rounds doesn't fit, before its moments are made."""
    of_one, free = 8 * groups * (8 + 4 * agents), MEMORY_SHARE * free_bytes()
    count = 0.0 if every is None else rounds / every
    if count * of_one > free:
        raise SimulationError(
            f"{count:,.0f} evaluations of {groups * agents:,} agents take about {count * of_one / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB may be taken: set eval_every to {1.01 * rounds * of_one / free:.3g} or more"
        )


def free_bytes() -> float:
    """What the device, or for a CPU this machine, has free."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return float(stats["bytes_limit"] - stats.get("bytes_in_use", 0)) * jax.local_device_count()
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return math.inf


def trained_at_once(task: Task, learner: Learner, agents: int, local_steps: int, asked: int | None) -> int:
    """How many agents are trained at a time."""
    if asked is not None:
        return min(asked, agents)
    if not local_steps:
        return agents
    if jax.default_backend() == "cpu" and _has_convolutions(learner, task):
        return 1
    least = 16 * learner.width * agents
    if least < TRAINING_BYTES // 8:
        return agents
    data = load_rows(task.train_data, slice(0, 1))
    each = training_bytes(learner, learner.init(0), (local_steps, task.batch_size), data) + 16 * learner.width
    return max(1, min(agents, TRAINING_BYTES // max(1, each)))


def training_bytes(learner: Learner, state: Any, rows: Sequence[int], data: dict[str, Any]) -> int:
    """What training one agent takes on the device besides its model: measured by compiling it for one."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state, data))
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    train: Any = learner.train
    lowered = train.lower(shapes[0], shapes[1], jax.ShapeDtypeStruct(tuple(rows), jnp.int32), scalar, scalar)
    memory = lowered.compile().memory_analysis()
    return int(memory.temp_size_in_bytes) if memory is not None else 0


def room_for(count: int) -> int:
    """Room for so many versions and some to spare, in steps of an eighth: programs are rarely compiled again."""
    step = 2 ** max(0, math.floor(math.log2(max(count, 1))) - 3)
    return (count // step + 1) * step


def _has_convolutions(learner: Learner, task: Task) -> bool:
    batch = load_rows(task.train_data, slice(0, 1))
    jaxpr = jax.make_jaxpr(task.loss)(learner.init(0).params, batch, jax.random.key(0))
    return "conv_general_dilated" in str(jaxpr)
