"""The models of all simulated agents on the device, what they train on, and what is measured of them.

Agents are in groups that never meet: those of one seed, one after the other. Where there are several devices, the lanes
of a wave are shared out among them, and theta is kept on each; the devices may belong to several processes
(`jax.distributed`).
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sim.device.whole import Parts

Array = Any


class Static(NamedTuple):
    """What a program is compiled for. local_steps: of one train, 0 for none. chunk: agents trained at a time at most.

    picked: how many agents of a group are evaluated at a snapshot; metrics: names of what is measured, "loss" too.
    parts: which subnetwork each agent of a group holds, and what it trains and exchanges of it. adopts: whether some
    take over models, which is compiled for codecs in which that isn't an exchange.
    """

    local_steps: int
    chunk: int
    picked: int
    metrics: tuple[str, ...]
    codec: str = "float32"
    mesh: Mesh | None = None
    parts: Parts = Parts((0,))
    adopts: bool = False


class Inputs(NamedTuple):
    """What stays the same throughout a run, on the device.

    data, test: fields as arrays, test {} for none. seeds, numbers (agents,): of each agent, as the learner takes them.
    weights (groups, n): of each of a group's n agents in its consensus, their sum 1; (groups, n, B) for B blocks.
    picked (S, groups, picks): who of a group is evaluated at each snapshot. origin (groups, P): the consensus model at
    the start; of subnetworks theirs, one after the other. kept (S,): as which of the kept ones all models are copied at
    each snapshot; as many as there are for none. late (agents,): who takes over a model before its first step.
    came (groups, n): the first snapshot at which each counts in the consensus, (groups, 0) where all do from the start.
    holder (S, agents): who trains each model at each snapshot, (0, 0) where that is the agent of its number.
    """

    data: dict[str, Array]
    test: dict[str, Array]
    seeds: Array
    numbers: Array
    weights: Array
    picked: Array
    origin: Array
    kept: Array
    late: Array
    came: Array
    holder: Array


class Measured(NamedTuple):
    """Measurements, a row for each snapshot.

    distance, drift (S, groups); picked {metric: (S, groups, picks)}; consensus {metric: (S, groups)}."""

    distance: Array
    drift: Array
    picked: dict[str, Array]
    consensus: dict[str, Array]

    @classmethod
    def empty(cls, snapshots: int, groups: int, static: Static) -> "Measured":
        """Room for so many snapshots."""
        room = partial(np.zeros, dtype=np.float32)
        return cls(
            room((snapshots, groups)),
            room((snapshots, groups)),
            {name: room((snapshots, groups, static.picked)) for name in static.metrics},
            {name: room((snapshots, groups)) for name in static.metrics},
        )


class Population(NamedTuple):
    """The models of all agents, and what has been measured so far.

    theta (slots, V * P), learned: versions of models, with the vectors that are exchanged beside them, and what the
    codec has learned with each of them, a row for each.
    opt_state: a row for each agent. losses (agents,): of the last local step. kept (K, agents, P): models over time.
    """

    theta: Array
    opt_state: Any
    losses: Array
    measured: Measured
    learned: Any = ()
    kept: Array = ()


def with_room(population: Population, slots: int) -> Population:
    """The same models with room for so many versions."""
    more = slots - population.theta.shape[0]
    if more <= 0:
        return population
    theta, learned = jax.tree.map(
        lambda rows: jnp.pad(rows, ((0, more), *[(0, 0)] * (rows.ndim - 1))), (population.theta, population.learned)
    )
    return population._replace(theta=theta, learned=learned)


def all_devices_mesh() -> Mesh | None:
    """One axis over every device of every process; None where there is just one."""
    devices = jax.devices()
    return Mesh(np.array(devices), ("agents",)) if len(devices) > 1 else None


def on_device(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays on the device; on each, where there are several."""
    if mesh is None:
        return jax.device_put(tree)
    everywhere = NamedSharding(mesh, PartitionSpec())

    def replicated(leaf: Any) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, everywhere, leaf.__getitem__)

    return jax.tree.map(replicated, tree)
