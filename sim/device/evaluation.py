"""Measures a population at a snapshot: consensus distance, drift, and the task's metrics of agents and their mean."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from agents.learning.evaluation import averaged, batches, summands
from agents.learning.learner import Learner
from sim.device.lanes import each_lane, rows_of
from sim.device.population import Array, Inputs, Measured, Population, Static

COPIED_BYTES = 64 << 20
"""Models that take no more than this are copied out of their slots to be measured, which is faster."""

_MATMUL = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


def evaluator(learner: Learner, static: Static) -> Any:
    """(population, snapshot, slots (agents,), inputs) -> what has been measured, with this snapshot: `Measured`."""
    parts = static.parts
    few = static._replace(mesh=None, chunk=min(static.chunk, max(1, static.picked)))

    def with_own(lane: Any, data: Any) -> Any:
        """Of an agent's model with what is exchanged merged."""
        (agent, slot), (theta, means, test) = lane, data
        return score(learner, parts.completed(means, agent, theta[slot]), test)

    def evaluate(population: Population, snapshot: Array, slots: Array, inputs: Inputs) -> Measured:
        theta, groups = _of_theta(population.theta, learner.size), inputs.weights.shape[0]

        def one(group: Any) -> Measured:
            slots, weights, picked, origin, came = group
            if inputs.holder.size:
                weights = weights[inputs.holder[snapshot]]
            here = snapshot >= came
            if here.size:
                weights = jnp.where(here.reshape(-1, *[1] * (weights.ndim - 1)), weights, 0)
                weights = weights / weights.sum()

            def models(members: Any, some: Array) -> tuple[Array, Array]:
                if (
                    groups == 1 and 4 * slots.size * theta.shape[1] > COPIED_BYTES
                ):  # Over slots: no copy of all of them.
                    over = jnp.zeros((theta.shape[0], *some.shape[1:]))
                    return theta, over.at[slots[members]].add(some)
                return rows_of(theta, slots[members]), some

            means, distance = parts.consensus(models, weights, _MATMUL)
            moved = jnp.where(parts.exchanged, means - origin.reshape(means.shape), 0)
            drift = jnp.sqrt(jnp.sum(jnp.square(moved)))
            if not static.metrics:
                return Measured(distance, drift, {}, {})
            chosen = rows_of(slots, picked)
            each = each_lane(lambda slot, test: score(learner, theta[slot], test), chosen, inputs.test, few)
            if parts.keeps:
                completed = each_lane(with_own, (picked, chosen), (theta, means, inputs.test), few)
                there = rows_of(here, picked) if here.size else None
                merged = jax.tree.map(lambda each: jnp.mean(each, where=there), completed)
            else:
                merged = score(parts.learner(learner), parts.assembled(means, weights), inputs.test)
            return Measured(
                distance,
                drift,
                {name: each[name] for name in static.metrics},
                {name: merged[name] for name in static.metrics},
            )

        now = slots.reshape(groups, -1), inputs.weights, rows_of(inputs.picked, snapshot), inputs.origin, inputs.came
        found = lax.map(one, now)
        measured: Measured = jax.tree.map(lambda all, new: all.at[snapshot].set(new), population.measured, found)
        return measured

    return evaluate


def _of_theta(rows: Array, size: int) -> Array:
    """Theta's part of rows of all that is exchanged."""
    return rows if rows.shape[1] == size else rows[:, :size]


def keep(population: Population, snapshot: Array, slots: Array, inputs: Inputs) -> Array:
    """The kept models, with those of this snapshot if it is one to keep; snapshot: -1 for none."""
    kept, theta = population.kept, population.theta
    if not kept.shape[0]:
        return kept
    row = inputs.kept[jnp.maximum(snapshot, 0)]
    times = jnp.where((snapshot >= 0) & (row < kept.shape[0]), 1, 0)  # A loop writes in place; a branch would copy all.
    return lax.fori_loop(
        0, times, lambda _, kept: kept.at[row].set(_of_theta(rows_of(theta, slots), kept.shape[2])), kept
    )


def score(learner: Learner, theta: Array, test: dict[str, Array]) -> dict[str, Array]:
    """The task's metrics over all the test data, a slice at a time: theta (P,) -> {"loss": scalar, ...}."""
    params = learner.unflatten(theta)
    count = len(jax.tree.leaves(test)[0])
    _, size = next(batches(count))
    whole = count // size
    sliced = {name: field[: whole * size].reshape(whole, size, *field.shape[1:]) for name, field in test.items()}

    def measured(part: dict[str, Array]) -> dict[str, Array]:
        return summands(learner.measure(params, part))

    total = jax.tree.map(lambda part: part.sum(0) * size, lax.map(measured, sliced))
    if rest := count - whole * size:
        last = measured({name: field[whole * size :] for name, field in test.items()})
        total = jax.tree.map(lambda a, b: a + b * rest, total, last)
    return averaged(jax.tree.map(lambda part: part / count, total))


def metric_names(learner: Learner, test: dict[str, Any]) -> tuple[str, ...]:
    """What the task measures, sorted; nothing without test data."""
    if not test:
        return ()
    shapes = jax.eval_shape(
        learner.measure,
        jax.eval_shape(lambda: learner.init(0).params),
        {name: field[:1] for name, field in test.items()},
    )
    return tuple(sorted(shapes))
