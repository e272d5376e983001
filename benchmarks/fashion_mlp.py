"""The task of benchmarks/learning.py: Fashion-MNIST by an MLP 784-128-10, as often seen in papers."""

from typing import Any

import jax.numpy as jnp

from agents import load_task
from agents.learning.tasks.models import Model, classification, mlp, of_any_width, widths


def model(share: float) -> Model:
    """The MLP with 128 hidden units times share, of images with values of 0 to 255."""
    (hidden,) = widths(share, 128)
    init, apply = mlp(784, hidden, 10)

    def normalized(params: Any, x: Any) -> Any:
        return apply(params, x.astype(jnp.float32) / 255 - 0.2861)

    return init, *classification(normalized)


of = load_task("fashion-mnist")
facts = {"optimizer": of.optimizer, "learning_rate": of.learning_rate, "batch_size": of.batch_size}
task = of_any_width(model, of.train_data, of.test_data, name="fashion-mnist, 784-128-10", **facts)
