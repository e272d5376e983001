"""The learner: pure, jitted functions made from a task. Pytrees inside a chunk of steps, theta at its boundary.

Each compiles once per shape: seeds, agents and steps are traced. All but `init` and `evaluate` can be vmapped.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from agents.learning.check import check
from agents.learning.data import samples
from agents.learning.dp.check import check_private
from agents.learning.dp.mechanism import Mechanism
from agents.learning.dp.step import private_train
from agents.learning.evaluation import averaged, batches, measure, summands
from agents.learning.optimizers import make_optimizer
from agents.learning.parameters import Parameter, hash_of, in_float32, parameters
from agents.learning.part import Levels, Part
from agents.learning.rules import Rule, UnknownRule, check_followed, transformed
from agents.learning.rules import named as rule_named
from agents.learning.rules import parameters as parameters_alone
from agents.learning.step import TrainState, check_step, initial_state, training_step
from agents.learning.task import Batch, Params, Task


class Learner(NamedTuple):
    """The functions of a task. theta: float32 (size,), of NumPy or JAX. `train` and `replace` consume their state.

    init(seed) -> state: the same params from the same seed, everywhere.
    train(state, data, rows, agent, step, count=None, seed=...) -> (state, losses (k,)): `count` steps (None: k), the
        first of number `step`, on the batches rows, int32 (k, batch_size). data: the shard's fields as device arrays.
        count is traced, so one compiled program takes any number of steps up to k; the losses beyond it are 0.
        seed: in place of the learner's own, for a simulation of several at once. Of a private learner it is
        train(state, data, draw, count), for what `PoissonBatches` draws.
    flatten(params) -> theta; unflatten(theta) -> params.
    replace(state, theta) -> state: with these params; the optimizer's state stays.
    shared(state) -> what is exchanged: the params, or a tuple of them and of the rule's further vectors, as pytrees.
    exchanged(state, mixed, agent=0) -> state: exchanges have made this of what is shared; what the rule makes of that.
        What the agent doesn't train it takes over as it comes: the rule sees no movement there.
    final(state, agent=0) -> state: the agent has taken its last local step; what the rule makes of what it trains.
    params_of(mixed) -> the params in it; unpack(vector (V * size,)) -> mixed; `flatten` is its inverse.
    measure(params, batch) -> {"loss": scalar, ...}: the metrics of one batch, on the device.
    evaluate(params, data) -> {"loss": float, ...}: over a whole dataset, batch by batch.
    spec, spec_hash: names, shapes and dtypes in theta's order, and their sha256. Equal hashes can exchange.
    """

    init: Callable[[int], TrainState]
    train: Any
    flatten: Callable[[Params], jax.Array]
    unflatten: Callable[[Any], Params]
    replace: Callable[[TrainState, Any], TrainState]
    shared: Callable[[TrainState], Any]
    exchanged: Callable[..., TrainState]
    final: Callable[..., TrainState]
    params_of: Callable[[Any], Params]
    unpack: Callable[[Any], Any]
    measure: Callable[[Params, Batch], dict[str, jax.Array]]
    evaluate: Callable[[Params, Mapping[str, Any]], dict[str, float]]
    spec: tuple[Parameter, ...]
    spec_hash: str
    size: int
    rule: Rule

    @property
    def width(self) -> int:
        """Coordinates of all that is exchanged, V * size."""
        return self.size * len(self.rule.vectors)

    def vector(self, state: TrainState) -> jax.Array:
        """All that is exchanged, (V * size,): what `unpack` takes apart."""
        return self.flatten(self.shared(state))


def make_learner(
    task: Task,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    total_steps: int | None = None,
    seed: int = 0,
    mechanism: Mechanism | None = None,
    rule: str | Rule = parameters_alone.name,
    part: Part | Levels | None = None,
    order: np.ndarray[Any, np.dtype[np.int64]] | None = None,
) -> Learner:
    """The learner of a task; optimizer and learning_rate, if given, take the place of the task's own.

    total_steps: the run's length, for schedules. seed: of the loss's keys, fold_in(fold_in(key(seed), agent), step).
    mechanism: how it trains privately, None if it doesn't. rule: how exchanges meet the optimizer, by name or a Rule.
    part: what the agent of a shard trains, None for everything. order (P,): of each coordinate of theta, where params
    have it, one after the other; None for their own order. Raises TaskError or UnknownRule; compiles nothing yet.
    """
    shapes = check(task)
    followed = rule_named(rule)  # Of the same hash however long a run is, which the transformation may depend on.
    own = make_optimizer(task, optimizer, learning_rate, total_steps)
    transform = transformed(rule_named(rule, total_steps), own)
    spec = parameters(shapes)
    sizes = [math.prod(parameter.shape) for parameter in spec]
    offsets = [0, *accumulate(sizes)]
    if mechanism is None:
        check_step(task, transform, shapes)
    else:
        check_private(task, transform, mechanism, shapes, offsets[-1])
    check_followed(followed, transform, shapes)
    take_step, alone = training_step(task, transform, part), followed.beside is None
    if isinstance(part, Levels) and not alone:
        raise UnknownRule(
            f"rule {followed.name} exchanges {', '.join(followed.vectors)} of whole models: leave out --submodel "
            "nested, or take a rule that exchanges theta alone, such as parameters or drift"
        )
    run_seed = np.uint32(seed % 2**32)

    @jax.jit
    def init(seed: jax.Array) -> TrainState:
        return initial_state(transform, in_float32(task.init(jax.random.key(seed))))

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
            state, loss = take_step(state, batch, jax.random.fold_in(key, step + k), agent)
            return state, losses.at[k].set(loss)

        steps = rows.shape[0] if count is None else count
        start = state, jnp.zeros(rows.shape[0], jnp.float32)
        done: tuple[TrainState, jax.Array] = lax.fori_loop(0, steps, one_step, start)
        return done

    @jax.jit
    def flatten(params: Params) -> jax.Array:
        theta = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(params)])
        return theta if order is None else theta[order]

    @jax.jit
    def unflatten(theta: jax.Array) -> Params:
        theta = theta if order is None else jnp.zeros_like(theta).at[order].set(theta, unique_indices=True)
        parts = [theta[start:][:size] for start, size in zip(offsets, sizes, strict=False)]
        leaves = [part.reshape(parameter.shape) for part, parameter in zip(parts, spec, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    @partial(jax.jit, donate_argnums=0, keep_unused=True)
    def replace(state: TrainState, theta: jax.Array) -> TrainState:
        return state._replace(params=unflatten(theta))

    def shared(state: TrainState) -> Any:
        return state.params if followed.beside is None else (state.params, *followed.beside(state.opt_state))

    def exchanged(state: TrainState, mixed: Any, agent: Any = 0) -> TrainState:
        if followed.exchanged is None:
            return state._replace(params=mixed)
        before = shared(state)
        if part is not None:
            pairs = [(before, mixed)] if alone else zip(before, mixed, strict=True)
            kept = tuple(part.kept(own, came, agent) for own, came in pairs)
            before = kept[0] if alone else kept
        opt_state, after = followed.exchanged(state.opt_state, before, mixed)
        came = mixed if alone else mixed[0]
        return TrainState(after if part is None else part.kept(after, came, agent), opt_state)

    def final(state: TrainState, agent: Any = 0) -> TrainState:
        if followed.final is None:
            return state
        opt_state, params = followed.final(state.opt_state, state.params)
        return TrainState(params if part is None else part.kept(params, state.params, agent), opt_state)

    @jax.jit
    def unpack(vector: jax.Array) -> Any:
        return tuple(unflatten(part) for part in jnp.split(vector, len(followed.vectors)))

    @partial(jax.jit, static_argnames="size")
    def measure_slice(params: Params, data: Batch, start: jax.Array, size: int) -> dict[str, jax.Array]:
        batch = {name: lax.dynamic_slice_in_dim(field, start, size) for name, field in data.items()}
        return measure(task, params, batch)

    def evaluate(params: Params, rows: Mapping[str, Any]) -> dict[str, float]:
        data, lengths = jax.device_put(dict(rows)), [length for _, length in batches(samples(rows))]
        parts = [measure_slice(params, data, np.int32(start), length) for start, length in batches(samples(rows))]
        parts = [summands(part, np) for part in jax.device_get(parts)]
        means = {name: np.average([part[name] for part in parts], weights=lengths) for name in parts[0]}
        return {name: float(value) for name, value in averaged(means, np).items()}

    return Learner(
        init=lambda seed: init(np.uint32(seed % 2**32)),
        train=train if mechanism is None else private_train(task, transform, mechanism, offsets[-1]),
        flatten=flatten,
        unflatten=unflatten,
        replace=replace,
        shared=shared,
        exchanged=jax.jit(exchanged) if followed.exchanged else exchanged,
        final=jax.jit(final) if followed.final else final,
        params_of=lambda mixed: mixed if alone else mixed[0],
        unpack=unflatten if alone else unpack,
        measure=partial(measure, task),
        evaluate=evaluate,
        spec=spec,
        spec_hash=hash_of(spec),
        size=offsets[-1],
        rule=followed,
    )
