"""The built-in tasks' models: pure functions that start fast on a CPU, at compiling as at running.

Their init makes one uniform draw for all weights: on a CPU each draw costs a third of a second to compile.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from agents.learning.data.sources import Dataset
from agents.learning.errors import TaskError
from agents.learning.task import Batch, Task

Layers: TypeAlias = dict[str, dict[str, jax.Array]]
Init: TypeAlias = Callable[[jax.Array], Layers]
Apply: TypeAlias = Callable[[Layers, jax.Array], jax.Array]
Loss: TypeAlias = Callable[..., jax.Array]
Metrics: TypeAlias = Callable[..., dict[str, jax.Array]]
Predict: TypeAlias = Callable[[Layers, Batch], jax.Array]
Model: TypeAlias = tuple[Init, Loss, Metrics] | tuple[Init, Loss, Metrics, Predict]
"""Init, loss and metrics of a task, and what its model gives out, where that is known."""


def dense_layers(sizes: dict[str, tuple[int, int]]) -> Init:
    """Init of named dense layers of (inputs, outputs): He's uniform weights (arXiv 1502.01852), biases zero."""

    def init(key: jax.Array) -> Layers:
        drawn = jax.random.uniform(key, (sum(map(math.prod, sizes.values())),), jnp.float32, minval=-1.0, maxval=1.0)
        layers, start = {}, 0
        for name, (inputs, outputs) in sizes.items():
            weights = drawn[start:][: inputs * outputs].reshape(inputs, outputs) * math.sqrt(6 / inputs)
            layers[name] = {"bias": jnp.zeros(outputs, jnp.float32), "weights": weights}
            start += inputs * outputs
        return layers

    return init


def dense(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """x: (..., inputs) to (..., outputs)."""
    return x @ layer["weights"] + jnp.broadcast_to(layer["bias"], (*x.shape[:-1], layer["bias"].size))


def of_any_width(
    model: Callable[[float], Model], train: Dataset, test: Dataset, share: float = 1, **facts: Any
) -> Task:
    """A task whose hidden widths are its model's times share, and whose narrow makes others. facts: more fields."""
    init, loss, metrics, *predict = model(share)

    def narrow(more: float) -> Task:
        return of_any_width(model, train, test, share * more, **facts)

    return Task(init, loss, metrics, train, test, narrow=narrow, predict=predict[0] if predict else None, **facts)


def widths(share: float, *full: int) -> list[int]:
    """Hidden widths times share. Raises TaskError, which names them all, unless each is a whole number of units."""
    found = [round(width * share) for width in full]
    if any(some < 1 or abs(some - width * share) > 1e-6 * some for some, width in zip(found, full, strict=True)):
        parts = round(1 / share) if share < 1 else 0
        times = f"1/{parts}" if parts and abs(parts * share - 1) < 1e-6 else f"{share:g}"
        raise TaskError(
            f"hidden widths must stay whole, positive numbers of units: got {', '.join(map(str, full))} times {times}"
        )
    return found


def mlp(inputs: int, hidden: int, outputs: int) -> tuple[Init, Apply]:
    """One hidden layer; x: (batch, ...), flattened."""

    def apply(params: Layers, x: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(dense(params["hidden"], x.reshape(x.shape[0], -1)))
        return dense(params["output"], hidden)

    return dense_layers({"hidden": (inputs, hidden), "output": (hidden, outputs)}), apply


def cnn(height: int, width: int, channels: int, outputs: int, share: float = 1) -> tuple[Init, Apply]:
    """Two convolutions and one hidden layer; x: (batch, height, width, channels). share: hidden widths times this.

    6x6 with stride 2 to 16 channels, 2x2 with stride 2 to 32, then 64 dense. Both convolutions are matrix products, of
    2x2 blocks and 3x3 of these: so a step of 32 Fashion-MNIST images took 2 ms on one core, 24 with XLA's convolutions.
    """
    rows, columns = -(-height // 4), -(-width // 4)

    def apply(params: Layers, x: jax.Array) -> jax.Array:
        x = jnp.pad(x, ((0, 0), (2, 4 * rows - height + 2), (2, 4 * columns - width + 2), (0, 0)))
        x = jax.nn.relu(dense(params["convolution_1"], windows(blocks(x, 2), 3)))
        x = jax.nn.relu(dense(params["convolution_2"], blocks(x, 2)))
        x = jax.nn.relu(dense(params["hidden"], x.reshape(x.shape[0], -1)))
        return dense(params["output"], x)

    first, second, hidden = widths(share, 16, 32, 64)
    layers = {
        "convolution_1": (36 * channels, first),
        "convolution_2": (4 * first, second),
        "hidden": (rows * columns * second, hidden),
        "output": (hidden, outputs),
    }
    return dense_layers(layers), apply


def blocks(x: jax.Array, size: int) -> jax.Array:
    """Square blocks side by side: (batch, h, w, channels) to (batch, h / size, w / size, size * size * channels)."""
    n, height, width, channels = x.shape
    x = x.reshape(n, height // size, size, width // size, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, height // size, width // size, size * size * channels)


def windows(x: jax.Array, size: int) -> jax.Array:
    """All square windows: (batch, h, w, channels) to (batch, h - size + 1, w - size + 1, size * size * channels)."""
    rows, columns = x.shape[1] - size + 1, x.shape[2] - size + 1
    return jnp.concatenate([x[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)], axis=-1)


def predicting(apply: Apply) -> Predict:
    """What a task's model gives out for a batch: apply, of the field "x"."""
    return lambda params, batch: apply(params, batch["x"])


def classification(apply: Apply) -> tuple[Loss, Metrics]:
    """Loss and metrics of a model whose outputs are logits (batch, classes), for labels y: (batch,)."""

    def loss(params: Layers, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        labels = batch["y"].astype(jnp.int32)
        each: jax.Array = optax.softmax_cross_entropy_with_integer_labels(apply(params, batch["x"]), labels)
        return each.mean()

    def metrics(params: Layers, batch: Batch) -> dict[str, jax.Array]:
        right = apply(params, batch["x"]).argmax(axis=-1) == batch["y"].astype(jnp.int32)
        return {"accuracy": right.mean(dtype=jnp.float32), "loss": loss(params, batch)}

    return loss, metrics


def regression(apply: Apply) -> tuple[Loss, Metrics]:
    """Loss and metrics, the mean squared error, of a model for values y: (batch, ...)."""

    def loss(params: Layers, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        return jnp.mean((apply(params, batch["x"]).reshape(batch["y"].shape) - batch["y"]) ** 2)

    return loss, lambda params, batch: {"loss": loss(params, batch)}
