"""A task file whose model is a line through 200 samples of three values: it trains in milliseconds."""

LINE = """
import jax.numpy as jnp, numpy as np
from agents import Task
x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
data = {"x": x, "y": x @ np.array([1, -2, 3], np.float32)}
def loss(params, batch, key):
    return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2)
task = Task(lambda key: {"w": jnp.zeros(3)}, loss, lambda params, batch: {}, data, data, batch_size=20)
"""
