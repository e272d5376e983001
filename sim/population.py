"""Runs a tape on the device: a loop over its steps, the learner vmapped over agents, models in slots of one array.

theta (slots, P) holds every version that is still read; opt_state and losses hold a row for each agent. Each step
gathers rows, mixes or trains them and scatters them back into the same, donated buffers. `Rounds` does the same for
synchronous gossip, where all agents train and then all mix: Theta <- W Theta.

Where there are several devices the lanes of a wave are shared out among them, and theta is kept on each; the devices
may belong to several processes (`jax.distributed`).
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from agents.learning.evaluation import EVALUATION_ROWS
from agents.learning.learner import Learner, TrainState
from sim.tape import Waves
from topology import Schedule, Topology, metropolis_hastings

Array = Any


class Setting(NamedTuple):
    """What a program is compiled for. local_steps: of one train, 0 for none. chunk: agents trained at a time at most.

    picked: how many agents of a group are evaluated at a snapshot; metrics: names of what is measured, "loss" too.
    """

    local_steps: int
    chunk: int
    picked: int
    metrics: tuple[str, ...]
    mesh: Mesh | None = None


class Inputs(NamedTuple):
    """What stays the same throughout a run, on the device.

    data, test: fields as arrays, test {} for none. seeds, numbers (agents,): of each agent, as the learner takes them.
    Agents are in groups of n that never meet, one after the other. weights (groups, n): of each in its group's
    consensus, their sum 1. picked (S, groups, picks): who of a group is evaluated at each snapshot. origin (groups, P):
    the consensus model at the start.
    """

    data: dict[str, Array]
    test: dict[str, Array]
    seeds: Array
    numbers: Array
    weights: Array
    picked: Array
    origin: Array


class Measured(NamedTuple):
    """A row for each snapshot. distance, drift (S, groups); picked {metric: (S, groups, picks)}; consensus {metric:
    (S, groups)}."""

    distance: Array
    drift: Array
    picked: dict[str, Array]
    consensus: dict[str, Array]

    @classmethod
    def empty(cls, snapshots: int, groups: int, setting: Setting) -> "Measured":
        """Room for so many snapshots."""
        room = partial(np.zeros, dtype=np.float32)
        return cls(
            room((snapshots, groups)),
            room((snapshots, groups)),
            {name: room((snapshots, groups, setting.picked)) for name in setting.metrics},
            {name: room((snapshots, groups)) for name in setting.metrics},
        )


class Swarm(NamedTuple):
    """The models of all agents, and what has been measured so far. losses (agents,): of the last local step."""

    theta: Array
    opt_state: Any
    losses: Array
    measured: Measured


def all_devices_mesh() -> Mesh | None:
    """One axis over every device of every process; None where there is just one."""
    devices = jax.devices()
    return Mesh(np.array(devices), ("agents",)) if len(devices) > 1 else None


@lru_cache(maxsize=8)
def tape_program(learner: Learner, setting: Setting) -> Any:
    """run(swarm, waves, rows, steps, inputs) -> swarm, jitted; rows int32 (steps, train, local_steps, batch_size)."""
    train_all, evaluate = _trainer(learner, setting), _evaluator(learner, setting)

    @partial(jax.jit, donate_argnums=0)
    def run(swarm: Swarm, waves: Waves, rows: Array, steps: Array, inputs: Inputs) -> Swarm:
        def one_step(s: Array, swarm: Swarm) -> Swarm:
            now = jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, s, keepdims=False), waves)
            theta = swarm.theta
            for q in range(now.mix_cur.shape[0]):
                cur, a, b = (_rows(theta, read[q]) for read in (now.mix_cur, now.mix_a, now.mix_b))
                theta = _put(theta, now.mix_out[q], cur + now.mix_coefficient[q][:, None] * (b - a))
            swarm = swarm._replace(theta=theta)
            if setting.local_steps:
                opt_state = jax.tree.map(lambda leaf: _rows(leaf, now.train_agent), swarm.opt_state)
                batch = lax.dynamic_index_in_dim(rows, s, keepdims=False)
                new = train_all(_rows(theta, now.train_cur), opt_state, batch, now.train_agent, now.train_step, inputs)
                who = jnp.where(now.train_out < theta.shape[0], now.train_agent, now.train_out)
                swarm = swarm._replace(
                    theta=_put(theta, now.train_out, new[0]),
                    opt_state=jax.tree.map(lambda leaf, rows: _put(leaf, who, rows), swarm.opt_state, new[1]),
                    losses=_put(swarm.losses, who, new[2]),
                )
            return lax.cond(
                now.snapshot >= 0,
                lambda swarm: evaluate(swarm, now.snapshot, now.snapshots, inputs),
                lambda swarm: swarm,
                swarm,
            )

        return lax.fori_loop(0, steps, one_step, swarm)

    return run


class Device(NamedTuple):
    """`Waves` as the device reads them: what `Waves` says, and the slots of a step's snapshot beside the step."""

    mix_cur: Array
    mix_a: Array
    mix_b: Array
    mix_out: Array
    mix_coefficient: Array
    train_cur: Array
    train_out: Array
    train_agent: Array
    train_step: Array
    snapshot: Array
    snapshots: Array


@lru_cache(maxsize=8)
def rounds_program(learner: Learner, setting: Setting) -> Any:
    """run(swarm, mixing, rows, first, rounds, snapshot, inputs) -> swarm, jitted: rounds of synchronous gossip.

    theta (agents, P). rows int32 (R, agents, local_steps, batch_size). first: number of the first round.
    snapshot (R,): which is taken after each round, -1 for none.
    """
    train_all, evaluate = _trainer(learner, setting), _evaluator(learner, setting)

    @partial(jax.jit, donate_argnums=0)
    def run(
        swarm: Swarm, mixing: Any, rows: Array, first: Array, rounds: Array, snapshot: Array, inputs: Inputs
    ) -> Swarm:
        agents = jnp.arange(swarm.theta.shape[0])

        def one_round(r: Array, swarm: Swarm) -> Swarm:
            if setting.local_steps:
                batch = lax.dynamic_index_in_dim(rows, r, keepdims=False)
                step = jnp.full(agents.shape, (first + r) * setting.local_steps)
                swarm = Swarm(*train_all(swarm.theta, swarm.opt_state, batch, agents, step, inputs), swarm.measured)
            swarm = swarm._replace(theta=mix(mixing, swarm.theta, first + r))
            return lax.cond(
                snapshot[r] >= 0,
                lambda swarm: evaluate(swarm, snapshot[r], agents, inputs),
                lambda swarm: swarm,
                swarm,
            )

        return lax.fori_loop(0, rounds, one_round, swarm)

    return run


class Neighborhoods(NamedTuple):
    """A period of sparse mixing matrices: neighbors, weights (period, agents, degree); weight 0 where there is none."""

    neighbors: Array
    weights: Array


MAX_DEGREE = 64
"""Up to this degree each agent gathers its neighbors; beyond it W is a dense matrix."""


def mixing_of(topologies: Sequence[Topology]) -> Any:
    """What `mix` takes: `Neighborhoods`, or dense matrices (period, groups, n, n); a topology for each group of n."""
    each = [list(one) if isinstance(one, Schedule) else [metropolis_hastings(one)] for one in topologies]
    period, n = math.lcm(*map(len, each)), each[0][0].shape[0]
    matrices = [[some[r % len(some)] for some in each] for r in range(period)]
    degree = max(int(np.diff(W.indptr).max(initial=1)) for some in each for W in some)
    if degree > MAX_DEGREE:
        return np.array([[W.toarray() for W in now] for now in matrices], np.float32)
    agents = n * len(each)
    neighbors = np.tile(np.arange(agents, dtype=np.int32)[:, None], (period, 1, degree))
    weights = np.zeros((period, agents, degree), np.float32)
    for r, now in enumerate(matrices):
        for group, W in enumerate(now):
            row = np.repeat(np.arange(n), np.diff(W.indptr))
            place = np.arange(len(row)) - W.indptr[row]
            neighbors[r, group * n + row, place] = group * n + W.indices
            weights[r, group * n + row, place] = np.where(W.indices == row, 0, W.data)
    return Neighborhoods(neighbors, weights)


def mix(mixing: Any, theta: Array, round: Array) -> Array:
    """W Theta for the matrix of this round, of each group: theta (agents, P)."""
    if not isinstance(mixing, Neighborhoods):
        W = lax.dynamic_index_in_dim(mixing, round % mixing.shape[0], keepdims=False)
        groups = theta.reshape(*W.shape[:2], -1)
        return jnp.matmul(W, groups, precision=lax.Precision.HIGHEST).reshape(theta.shape)
    r = round % mixing.weights.shape[0]
    neighbors, weights = (lax.dynamic_index_in_dim(part, r, keepdims=False) for part in mixing)
    moved = theta
    for k in range(weights.shape[1]):
        moved = moved + weights[:, k, None] * (_rows(theta, neighbors[:, k]) - theta)
    return moved


def _rows(array: Array, index: Array) -> Array:
    return array.at[index].get(mode="promise_in_bounds")


def _put(array: Array, index: Array, rows: Array) -> Array:
    """Rows go where index says; beyond the end, nowhere. No two go to the same place."""
    return array.at[index].set(rows, mode="drop", unique_indices=True)


def _trainer(learner: Learner, setting: Setting) -> Any:
    """(theta (L, P), opt_state, rows, agent, step (L,), inputs) -> (theta, opt_state, loss (L,))."""

    def train_one(lane: Any, data: dict[str, Array]) -> Any:
        theta, opt_state, rows, seed, number, step = lane
        state = TrainState(learner.unflatten(theta), opt_state)
        state, losses = learner.train(state, data, rows, number, step, None, seed)
        return learner.flatten(state.params), state.opt_state, losses[-1]

    def train_all(theta: Array, opt_state: Any, rows: Array, agent: Array, step: Array, inputs: Inputs) -> Any:
        lanes = theta, opt_state, rows, _rows(inputs.seeds, agent), _rows(inputs.numbers, agent), step
        return _each(train_one, lanes, inputs.data, setting)

    return train_all


def _each(function: Any, lanes: Any, data: Any, setting: Setting) -> Any:
    """function(lane, data) of every lane: vmapped, at most `chunk` at a time, shared out among the devices."""
    count = len(jax.tree.leaves(lanes)[0])
    if setting.mesh is not None:
        missing = -count % setting.mesh.size
        whole = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1].repeat(missing, 0)]), lanes)
        over, everywhere = PartitionSpec("agents"), PartitionSpec()
        alone = partial(_each, function, setting=setting._replace(mesh=None))
        parts = jax.shard_map(alone, mesh=setting.mesh, in_specs=(over, everywhere), out_specs=over, check_vma=False)(
            whole, data
        )
        replicated = NamedSharding(setting.mesh, everywhere)
        return jax.tree.map(lambda leaf: lax.with_sharding_constraint(leaf, replicated)[:count], parts)

    def one(lane: Any) -> Any:
        return function(lane, data)

    if setting.chunk == 1:
        return lax.map(one, lanes)  # Not vmapped: a convolution of many filters by many agents is slow on a CPU.
    if setting.chunk >= count:
        return jax.vmap(one)(lanes)
    return lax.map(one, lanes, batch_size=setting.chunk)


def _evaluator(learner: Learner, setting: Setting) -> Any:
    """(swarm, snapshot, slots (agents,), inputs) -> swarm with what was measured then."""
    few = setting._replace(mesh=None, chunk=min(setting.chunk, max(1, setting.picked)))

    def evaluate(swarm: Swarm, snapshot: Array, slots: Array, inputs: Inputs) -> Swarm:
        theta, groups = swarm.theta, inputs.weights.shape[0]

        def one(group: Any) -> Measured:
            slots, weights, picked, origin = group
            if groups == 1:  # Over slots: no copy of all the models.
                weights, models = jnp.zeros(theta.shape[0]).at[slots].add(weights), theta
            else:
                models = _rows(theta, slots)
            mean = jnp.matmul(weights, models, precision=lax.Precision.HIGHEST)
            distance = jnp.sqrt(jnp.vdot(weights, jnp.sum(jnp.square(models - mean[None]), axis=1)))
            drift = jnp.sqrt(jnp.sum(jnp.square(mean - origin)))
            if not setting.metrics:
                return Measured(distance, drift, {}, {})
            chosen = _rows(slots, picked)
            each = _each(lambda slot, test: score(learner, theta[slot], test), chosen, inputs.test, few)
            merged = score(learner, mean, inputs.test)
            return Measured(
                distance,
                drift,
                {name: each[name] for name in setting.metrics},
                {name: merged[name] for name in setting.metrics},
            )

        now = slots.reshape(groups, -1), inputs.weights, _rows(inputs.picked, snapshot), inputs.origin
        found = lax.map(one, now)
        measured = jax.tree.map(lambda all, new: all.at[snapshot].set(new), swarm.measured, found)
        return swarm._replace(measured=measured)

    return evaluate


def score(learner: Learner, theta: Array, test: dict[str, Array]) -> dict[str, Array]:
    """The task's metrics over all the test data, a slice at a time: theta (P,) -> {"loss": scalar, ...}."""
    params = learner.unflatten(theta)
    count = len(jax.tree.leaves(test)[0])
    size = -(-count // max(1, round(count / EVALUATION_ROWS)))
    whole = count // size
    sliced = {name: field[: whole * size].reshape(whole, size, *field.shape[1:]) for name, field in test.items()}
    total = jax.tree.map(lambda part: part.sum(0) * size, lax.map(lambda part: learner.measure(params, part), sliced))
    if rest := count - whole * size:
        last = learner.measure(params, {name: field[whole * size :] for name, field in test.items()})
        total = jax.tree.map(lambda a, b: a + b * rest, total, last)
    return jax.tree.map(lambda part: part / count, total)


def for_device(waves: Waves, steps: int, rows: np.ndarray, first: int) -> tuple[Device, np.ndarray]:
    """A tape's waves and batches, with room for so many steps. first: number of the tape's first snapshot."""
    beside = np.zeros((len(waves.snapshot), waves.snapshots.shape[1]), np.int32)
    taken = waves.snapshot >= 0
    beside[taken] = waves.snapshots[waves.snapshot[taken]]
    waves = waves._replace(snapshot=np.where(taken, waves.snapshot + first, -1), snapshots=beside)
    padding = steps - len(taken)

    def padded(column: np.ndarray) -> np.ndarray:
        return np.pad(column, [(0, padding)] + [(0, 0)] * (column.ndim - 1))

    return Device(*(padded(getattr(waves, name)) for name in Device._fields)), padded(rows)


def grown(swarm: Swarm, slots: int) -> Swarm:
    """The same models with room for so many versions."""
    more = slots - swarm.theta.shape[0]
    return swarm._replace(theta=jnp.pad(swarm.theta, ((0, more), (0, 0)))) if more > 0 else swarm


def device_bytes(learner: Learner, state: Any, rows: Sequence[int], data: dict[str, Any]) -> int:
    """What training one agent takes on the device besides its model: measured by compiling it for one."""
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (state, data))
    scalar = jax.ShapeDtypeStruct((), jnp.int32)
    lowered = learner.train.lower(shapes[0], shapes[1], jax.ShapeDtypeStruct(tuple(rows), jnp.int32), scalar, scalar)
    memory = lowered.compile().memory_analysis()
    return int(memory.temp_size_in_bytes) if memory is not None else 0


def slots_for(count: int) -> int:
    """Room for so many versions and some to spare, in steps of an eighth: programs are rarely compiled again."""
    step = 2 ** max(0, math.floor(math.log2(max(count, 1))) - 3)
    return (count // step + 1) * step
