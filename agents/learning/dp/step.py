"""Private steps of training: each example's gradient clipped, their sum noised, the optimizer's step with it.

What is clipped and what is added is all that bounds how much one example can show; neither the loss nor any example's
gradient reaches the optimizer otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from agents.learning.dp.mechanism import Draw, Mechanism
from agents.learning.step import TrainState
from agents.learning.task import Batch, Params, Task

PASS_BYTES = 1 << 28
"""About how much memory the gradients of the examples that are taken at a time may fill."""


def at_a_time(mechanism: Mechanism, parameters: int) -> int:
    """How many examples' gradients to take at once: all of nearly every step, if memory allows, and one on a CPU.

    A CPU computes them one after the other anyway, and keeps one in its cache: Fashion-MNIST's CNN took 10 ms a step of
    32 so, 24 ms all at once.
    """
    if jax.default_backend() == "cpu":
        return 1
    return max(1, min(mechanism.usual, PASS_BYTES // (4 * parameters)))


def private_gradient(
    task: Task, mechanism: Mechanism, parameters: int, lanes: int | None = None
) -> Callable[..., tuple[Params, jax.Array]]:
    """gradient(params, data, rows, size, key) -> (the noised gradient, the mean loss of the examples drawn).

    data: the shard's fields. rows: int32 (most,), of which the first `size` count. key: of the noise.
    lanes: how many examples to take at a time. The loss is not noised: it must not leave the machine.
    """
    lanes = lanes or at_a_time(mechanism, parameters)

    def of_example(params: Params, example: Batch, key: jax.Array) -> tuple[jax.Array, Params]:
        alone = {name: field[None] for name, field in example.items()}
        return jax.value_and_grad(lambda params: jnp.asarray(task.loss(params, alone, key), jnp.float32))(params)

    def gradient(
        params: Params, data: Batch, rows: jax.Array, size: jax.Array, key: jax.Array
    ) -> tuple[Params, jax.Array]:
        noise_key, loss_key = jax.random.split(key)
        leaves, structure = jax.tree.flatten(params)
        rows = jnp.pad(rows, (0, -rows.shape[0] % lanes))

        def one_pass(number: jax.Array, sums: tuple[list[jax.Array], jax.Array]) -> tuple[list[jax.Array], jax.Array]:
            counts = number * lanes + jnp.arange(lanes, dtype=jnp.int32) < size
            chosen = lax.dynamic_slice_in_dim(rows, number * lanes, lanes)
            examples = {name: field.at[chosen].get(mode="promise_in_bounds") for name, field in data.items()}
            keys = jax.random.split(jax.random.fold_in(loss_key, number), lanes)
            losses, gradients = jax.vmap(of_example, in_axes=(None, 0, 0))(params, examples, keys)
            clipped = clipped_sum(jax.tree.leaves(gradients), counts, mechanism.clip)
            return [a + b for a, b in zip(sums[0], clipped, strict=True)], sums[1] + jnp.sum(losses, where=counts)

        zero = [jnp.zeros_like(leaf) for leaf in leaves], jnp.zeros((), jnp.float32)
        total, loss = lax.fori_loop(0, (size + lanes - 1) // lanes, one_pass, zero)
        drawn = jax.random.normal(noise_key, (parameters,), jnp.float32)  # one draw, for each takes long to compile
        noise = jnp.split(
            mechanism.clip * mechanism.noise_multiplier * drawn, np.cumsum([leaf.size for leaf in leaves])
        )
        noised = [
            (leaf + part.reshape(leaf.shape)) / mechanism.batch_size
            for leaf, part in zip(total, noise[:-1], strict=True)
        ]
        return jax.tree.unflatten(structure, noised), loss / jnp.maximum(size, 1).astype(jnp.float32)

    return gradient


def clipped_sum(gradients: list[jax.Array], counts: jax.Array, clip: float) -> list[jax.Array]:
    """The sum of the gradients (examples, ...) that count, each clipped to this norm over all leaves.

    counts: bool (examples,). A gradient that is not finite counts as zero: there is no norm to clip it to.
    """
    for leaf in gradients:
        counts &= jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
    kept = [jnp.where(counts.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0) for leaf in gradients]
    with jax.default_matmul_precision("highest"):  # TF32 would let a clipped gradient be longer than the norm.
        clipped, _ = optax.per_example_global_norm_clip(kept, clip)
    return list(clipped)


def private_train(
    task: Task, transform: optax.GradientTransformationExtraArgs, mechanism: Mechanism, parameters: int
) -> Any:
    """train(state, data, draw, count) -> (state, losses (k,)): `count` private steps, as of `Learner.train`."""
    take_step = private_step(task, transform, mechanism, parameters)

    @partial(jax.jit, donate_argnums=0)
    def train(state: TrainState, data: Batch, draw: Draw, count: Any) -> tuple[TrainState, jax.Array]:
        def one_step(k: jax.Array, carry: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
            state, losses = carry
            key = jax.random.wrap_key_data(draw.keys[k], impl="threefry2x32")
            state, loss = take_step(state, data, draw.rows[k], draw.sizes[k], key)
            return state, losses.at[k].set(loss)

        start = state, jnp.zeros(draw.sizes.shape[0], jnp.float32)
        done: tuple[TrainState, jax.Array] = lax.fori_loop(0, count, one_step, start)
        return done

    return train


def private_step(
    task: Task, transform: optax.GradientTransformationExtraArgs, mechanism: Mechanism, parameters: int
) -> Any:
    """step(state, data, rows, size, key) -> (state, loss), with arguments as of `private_gradient`."""
    gradient_of = private_gradient(task, mechanism, parameters)

    def step(
        state: TrainState, data: Batch, rows: jax.Array, size: jax.Array, key: jax.Array
    ) -> tuple[TrainState, jax.Array]:
        gradient, loss = gradient_of(state.params, data, rows, size, key)
        with jax.numpy_dtype_promotion("standard"):  # as in an ordinary step
            updates, opt_state = transform.update(gradient, state.opt_state, state.params, grad=gradient)
        return TrainState(optax.apply_updates(state.params, updates), opt_state), loss

    return step
