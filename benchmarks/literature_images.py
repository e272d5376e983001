"""What the reproductions on images share: Fashion-MNIST, 16,000 of its images, an MLP 784-32-10, equal shards."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import jax.numpy as jnp
from learning import shares

from agents import Task, load_task
from agents.learning.tasks.idx import FASHION_MNIST
from agents.learning.tasks.models import classification, mlp
from sim import History, sweep

MISSING = f"no {FASHION_MNIST}: Debian's package dataset-fashion-mnist has it"
AGENTS, SAMPLES = 16, 16000


def present() -> bool:
    """Whether the images are here."""
    return FASHION_MNIST.is_dir()


@cache
def small_task() -> Task:
    """Some of Fashion-MNIST by an MLP 784-32-10."""
    init, apply = mlp(784, 32, 10)
    loss, metrics = classification(lambda params, x: apply(params, x.astype(jnp.float32) / 255 - 0.2861))
    whole = load_task("fashion-mnist")
    some = {name: rows[:SAMPLES] for name, rows in whole.train_data.items()}
    return replace(whole, init=init, loss=loss, metrics=metrics, train=some, name="784-32-10", narrow=None)


@cache
def _dealt(alpha: str, agents: int, seed: int) -> list[Any]:
    rows: list[Any] = shares(f"dirichlet:{alpha}")(small_task().train_data["y"], agents, seed)
    return rows


def dealt(alpha: str) -> Callable[..., list[Any]]:
    """A partition into equal shards, labels by Dirichlet's distribution, dealt once for each seed."""
    return lambda labels, agents, seed: _dealt(alpha, agents, seed)


def trained(seeds: Any, steps: int, alpha: str, **how: Any) -> list[History]:
    """AGENTS agents after so many steps of batch 32, momentum 0.9, cosine from 0.05, evaluated at the end."""
    histories = sweep(
        small_task(),
        seeds=seeds,
        agents=AGENTS,
        rounds=steps,
        partition=dealt(alpha),
        optimizer="momentum",
        learning_rate=0.05,
        eval_every=steps,
        picked=AGENTS,
        progress=False,
        **how,
    )
    return list(histories.values())
