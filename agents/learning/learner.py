"""The learner: pure, jitted functions made from a task. Pytrees inside a chunk of steps, theta at its boundary.

Each compiles once per shape: seeds, agents and steps are traced. All but `init` and `evaluate` can be vmapped.
"""

import hashlib
import json
import math
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from agents.learning.check import check
from agents.learning.data import samples
from agents.learning.optimizers import make_optimizer
from agents.learning.task import Batch, Params, Task

EVALUATION_ROWS = 256  # bounds an evaluation's memory; on a CPU three times as fast as 1024, which leaves the cache


class TrainState(NamedTuple):
    """What a learner carries from step to step."""

    params: Params
    opt_state: optax.OptState


class Parameter(NamedTuple):
    """One array of the params, in the order of theta."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Learner(NamedTuple):
    """The functions of a task. theta, delta: float32 (size,). `train`, `merge` and `replace` consume their state.

    init(seed) -> state: the same params from the same seed, everywhere.
    train(state, data, rows, agent, step, count=None, seed=...) -> (state, losses (k,)): `count` steps (None: k), the
        first of number `step`, on the batches rows, int32 (k, batch_size). data: the shard's fields as device arrays.
        count is traced, so one compiled program takes any number of steps up to k; the losses beyond it are 0.
        seed: in place of the learner's own, for a simulation of several at once.
    flatten(params) -> theta; unflatten(theta) -> params.
    merge(state, delta) -> state: theta + delta. replace(state, theta) -> state. The optimizer's state stays.
    measure(params, batch) -> {"loss": scalar, ...}: the metrics of one batch, on the device.
    evaluate(params, data) -> {"loss": float, ...}: over a whole dataset, batch by batch.
    spec, spec_hash: names, shapes and dtypes in theta's order, and their sha256. Equal hashes can exchange.
    """

    init: Callable[[int], TrainState]
    train: Callable[..., tuple[TrainState, jax.Array]]
    flatten: Callable[[Params], jax.Array]
    unflatten: Callable[[jax.Array], Params]
    merge: Callable[[TrainState, jax.Array], TrainState]
    replace: Callable[[TrainState, jax.Array], TrainState]
    measure: Callable[[Params, Batch], dict[str, jax.Array]]
    evaluate: Callable[[Params, Batch], dict[str, float]]
    spec: tuple[Parameter, ...]
    spec_hash: str
    size: int


def make_learner(
    task: Task,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    total_steps: int | None = None,
    seed: int = 0,
) -> Learner:
    """The learner of a task; optimizer and learning_rate, if given, take the place of the task's own.

    total_steps: the run's length, for schedules. seed: of the loss's keys, fold_in(fold_in(key(seed), agent), step).
    Raises TaskError; compiles nothing yet.
    """
    shapes = check(task)
    transform = make_optimizer(task, optimizer, learning_rate, total_steps)
    spec = parameters(shapes)
    sizes = [math.prod(parameter.shape) for parameter in spec]
    offsets = [0, *accumulate(sizes)]
    run_seed = np.uint32(seed % 2**32)

    @jax.jit
    def init(seed: jax.Array) -> TrainState:
        params = task.init(jax.random.key(seed))
        return TrainState(params, transform.init(params))

    @partial(jax.jit, donate_argnums=0)
    def train(
        state: TrainState,
        data: Batch,
        rows: jax.Array,
        agent: jax.Array,
        step: jax.Array,
        count: Any = None,
        seed: Any = run_seed,
    ) -> tuple[TrainState, jax.Array]:
        key = jax.random.fold_in(jax.random.key(seed), agent)

        def one_step(k: jax.Array, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
            state, losses = carry
            batch = {name: field.at[rows[k]].get(mode="promise_in_bounds") for name, field in data.items()}
            loss, gradient = jax.value_and_grad(task.loss)(state.params, batch, jax.random.fold_in(key, step + k))
            with jax.numpy_dtype_promotion("standard"):  # optax's Adam fails under the strict setting
                updates, opt_state = transform.update(gradient, state.opt_state, state.params)
            return TrainState(optax.apply_updates(state.params, updates), opt_state), losses.at[k].set(loss)

        steps = rows.shape[0] if count is None else count
        return lax.fori_loop(0, steps, one_step, (state, jnp.zeros(rows.shape[0])))

    @jax.jit
    def flatten(params: Params) -> jax.Array:
        return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(params)])

    @jax.jit
    def unflatten(theta: jax.Array) -> Params:
        parts = [theta[start:][:size] for start, size in zip(offsets, sizes, strict=False)]
        leaves = [part.reshape(parameter.shape) for part, parameter in zip(parts, spec, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    @partial(jax.jit, donate_argnums=0)
    def merge(state: TrainState, delta: jax.Array) -> TrainState:
        return state._replace(params=jax.tree.map(jnp.add, state.params, unflatten(delta)))

    @partial(jax.jit, donate_argnums=0, keep_unused=True)
    def replace(state: TrainState, theta: jax.Array) -> TrainState:
        return state._replace(params=unflatten(theta))

    def measure(params: Params, batch: Batch) -> dict[str, jax.Array]:
        metrics = task.metrics(params, batch)
        return metrics if "loss" in metrics else {"loss": task.loss(params, batch, jax.random.key(0)), **metrics}

    @partial(jax.jit, static_argnames="size")
    def measure_slice(params: Params, data: Batch, start: jax.Array, size: int) -> dict[str, jax.Array]:
        return measure(params, {name: lax.dynamic_slice_in_dim(field, start, size) for name, field in data.items()})

    def evaluate(params: Params, data: Batch) -> dict[str, float]:
        count = samples(data)
        size = -(-count // -(-count // EVALUATION_ROWS))
        starts = range(0, count, size)
        lengths = [min(size, count - start) for start in starts]
        data = jax.device_put(data)
        parts = [measure_slice(params, data, np.int32(start), n) for start, n in zip(starts, lengths, strict=True)]
        parts = jax.device_get(parts)
        return {name: float(np.average([part[name] for part in parts], weights=lengths)) for name in parts[0]}

    return Learner(
        init=lambda seed: init(np.uint32(seed % 2**32)),
        train=train,
        flatten=flatten,
        unflatten=unflatten,
        merge=merge,
        replace=replace,
        measure=measure,
        evaluate=evaluate,
        spec=spec,
        spec_hash=hashlib.sha256(json.dumps(spec).encode()).hexdigest(),
        size=offsets[-1],
    )


def parameters(shapes: Params) -> tuple[Parameter, ...]:
    """The arrays of a pytree of params, in ravel order."""
    return tuple(
        Parameter(jax.tree_util.keystr(path, simple=True, separator="/"), tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    )
