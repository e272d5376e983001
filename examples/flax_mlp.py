"""Digits with Flax: a Linen module's `init` and `apply` are all a task needs; dropout draws from the step's own key.

agent launch -n 4 --task examples/flax_mlp.py
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from agents import Task


class Model(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(64)(x))
        x = nn.Dropout(0.1, deterministic=not train)(x)
        return nn.Dense(10)(x)


model = Model()


def loss(params, batch, key):
    logits = model.apply(params, batch["x"], train=True, rngs={"dropout": key})
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()


def metrics(params, batch):
    logits = model.apply(params, batch["x"])
    return {
        "accuracy": (logits.argmax(-1) == batch["y"]).mean(),
        "loss": optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean(),
    }


pixels, labels = load_digits(return_X_y=True)
x, y = (pixels / 16).astype(np.float32), labels.astype(np.int32)
train, test = {"x": x[360:], "y": y[360:]}, {"x": x[:360], "y": y[:360]}

task = Task(lambda key: model.init(key, jnp.zeros((1, 64))), loss, metrics, train, test, optimizer=optax.adam(1e-2))
