"""Digits in plain JAX.

agent launch -n 4 --task examples/plain_jax.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from agents import Task


def init(key):
    drawn = jax.random.uniform(key, (64 * 64 + 64 * 10,), jnp.float32, -0.3, 0.3)  # one draw compiles fastest
    return {
        "hidden": {"w": drawn[: 64 * 64].reshape(64, 64), "b": jnp.zeros((1, 64), jnp.float32)},
        "output": {"w": drawn[64 * 64 :].reshape(64, 10), "b": jnp.zeros((1, 10), jnp.float32)},
    }


def logits(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["output"]["w"] + params["output"]["b"]


def loss(params, batch, key):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch["x"]), batch["y"]).mean()


def metrics(params, batch):
    return {"accuracy": (logits(params, batch["x"]).argmax(-1) == batch["y"]).mean()}


pixels, labels = load_digits(return_X_y=True)
x, y = (pixels / 16).astype(np.float32), labels.astype(np.int32)
train, test = {"x": x[360:], "y": y[360:]}, {"x": x[:360], "y": y[:360]}

task = Task(init, loss, metrics, train, test, optimizer=optax.adam(1e-2))
