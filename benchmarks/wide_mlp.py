"""A task of 1.9 M parameters on random data: what overlap.py trains."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents import Task

SIZES = [784, 1024, 1024, 64]
Params = list[dict[str, jax.Array]]


def init(key: jax.Array) -> Params:
    """One dict a layer."""
    shapes = zip(jax.random.split(key, len(SIZES) - 1), SIZES, SIZES[1:], strict=False)
    return [{"w": jax.random.uniform(k, (m, n), minval=-0.05, maxval=0.05), "b": jnp.zeros(n)} for k, m, n in shapes]


def logits(params: Params, x: jax.Array) -> jax.Array:
    """x: (batch, 784) to (batch, 64)."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"][None])
    return x @ params[-1]["w"] + params[-1]["b"][None]


def loss(params: Params, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch["x"]), batch["y"]).mean()


def metrics(params: Params, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The share of labels that are right."""
    return {"accuracy": (logits(params, batch["x"]).argmax(-1) == batch["y"]).mean(dtype=jnp.float32)}


random = np.random.default_rng(0)
data = {"x": random.random((4096, 784), np.float32), "y": random.integers(0, 64, 4096).astype(np.int32)}
task = Task(init, loss, metrics, data, data, batch_size=32, optimizer=optax.sgd(1e-3), name="wide-mlp")
