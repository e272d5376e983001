"""Digits with Equinox: a module holds its arrays and its activation functions; only the arrays are params.

agent launch -n 4 --task examples/equinox_mlp.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from agents import Task


def build(key):
    return eqx.nn.MLP(in_size=64, out_size=10, width_size=64, depth=1, dtype=jnp.float32, key=key)


def init(key):
    return eqx.filter(build(key), eqx.is_inexact_array)


rest = eqx.partition(eqx.filter_eval_shape(build, jax.random.key(0)), lambda leaf: hasattr(leaf, "shape"))[1]


def logits(params, x):
    return jax.vmap(eqx.combine(params, rest))(x)


def loss(params, batch, key):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch["x"]), batch["y"]).mean()


def metrics(params, batch):
    return {"accuracy": (logits(params, batch["x"]).argmax(-1) == batch["y"]).mean()}


pixels, labels = load_digits(return_X_y=True)
x, y = (pixels / 16).astype(np.float32), labels.astype(np.int32)
train, test = {"x": x[360:], "y": y[360:]}, {"x": x[:360], "y": y[:360]}

task = Task(init, loss, metrics, train, test, optimizer=optax.adam(1e-2))
