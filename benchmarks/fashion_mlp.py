"""The task of benchmarks/learning.py: Fashion-MNIST by an MLP 784-128-10, as often seen in papers."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from agents import load_task
from agents.learning.tasks.models import classification, mlp

init, apply = mlp(784, 128, 10)


def normalized(params: Any, x: Any) -> Any:
    """Logits of images with values of 0 to 255."""
    return apply(params, x.astype(jnp.float32) / 255 - 0.2861)


loss, metrics = classification(normalized)
task = replace(
    load_task("fashion-mnist"), init=init, loss=loss, metrics=metrics, name="fashion-mnist, 784-128-10", narrow=None
)
