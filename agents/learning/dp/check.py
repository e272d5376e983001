"""A trial of private training: on shapes, and whether the loss is a mean over the examples of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents.learning.check import batch_shapes
from agents.learning.dp.mechanism import Mechanism
from agents.learning.dp.step import private_step
from agents.learning.errors import TaskError, cause
from agents.learning.step import initial_state
from agents.learning.task import Batch, Params, Task

TRIALS = 8
"""How often four examples are tried: a loss may happen to be nearly separable for some."""

TOLERANCE = 0.02
"""Of the largest loss: what a loss in bfloat16 may seem to depend on a batch for its rounding."""


def check_private(
    task: Task, transform: optax.GradientTransformationExtraArgs, mechanism: Mechanism, params: Params, size: int
) -> None:
    """Raise TaskError unless a private step can be taken: on shapes alone, compiling nothing. size: parameters."""
    data = batch_shapes(task.train_data, mechanism.samples)
    draw = jax.eval_shape(lambda: (jnp.zeros(mechanism.most, np.int32), jnp.zeros((), np.int32)))
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    try:
        state = jax.eval_shape(partial(initial_state, transform), params)
        jax.eval_shape(private_step(task, transform, mechanism, size), state, data, *draw, key)
    except Exception as error:
        raise TaskError(
            "--dp takes each example's gradient by itself and gives the optimizer their noised mean alone, never the "
            f"loss (optax's value, value_fn): {cause(error)}; give another optimizer, or a loss of a batch of one"
        ) from error


def check_examples(task: Task, data: Mapping[str, Any]) -> None:
    """Raise TaskError unless the loss is a mean over examples. data: the shard's fields, of which a few are tried.

    Of a mean, swapping one example changes the loss by the same amount whatever the other one is, under the same random
    key. Normalization over the batch, and losses that compare its examples, don't keep to that.
    """
    samples = next(iter(data.values())).shape[0]
    rows = np.random.default_rng(0).integers(samples, size=(TRIALS, 4))
    examples = {name: np.asarray(field[:])[rows] for name, field in data.items()}
    interaction, largest = jax.device_get(_interaction(task, examples))
    if not math.isfinite(interaction) or interaction > TOLERANCE * max(float(largest), 1e-6):
        raise TaskError(
            "--dp needs a loss that is a mean over the examples of a batch, so that each one's part can be bounded: "
            "this one depends on which examples come together, as with batch normalization or a contrastive loss; "
            "normalize each example by itself (layer or group norm), or train without --dp"
        )


def _interaction(task: Task, examples: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    """How far two examples' parts in the loss depend on each other, and the largest loss.

    examples: (TRIALS, 4, ...).
    """

    def measured(examples: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        params = _anywhere(task.init(jax.random.key(0)))
        pairs = jnp.array([[0, 1], [2, 1], [0, 3], [2, 3]])

        def loss(rows: jax.Array, four: Batch) -> jax.Array:
            batch = {name: field[rows] for name, field in four.items()}
            return jnp.asarray(task.loss(params, batch, jax.random.key(1)), jnp.float32)

        losses = jax.vmap(lambda four: jax.vmap(lambda rows: loss(rows, four))(pairs))(examples)
        return jnp.abs(losses @ jnp.array([1.0, -1.0, -1.0, 1.0])).max(), jnp.abs(losses).max()

    found: tuple[jax.Array, jax.Array] = jax.jit(measured)(examples)
    return found


def _anywhere(params: Params) -> Params:
    """Params at some distance of the first ones, where no layer is zero and the loss depends on all of them."""
    leaves, structure = jax.tree.flatten(params)
    drawn = np.random.default_rng(2)
    moved: list[Any] = [
        leaf + drawn.normal(size=leaf.shape, scale=max(4, math.prod(leaf.shape[:-1])) ** -0.5).astype(np.float32)
        for leaf in leaves
    ]
    return jax.tree.unflatten(structure, moved)
