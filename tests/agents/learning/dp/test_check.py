"""Tasks that can't be trained privately are refused in one line; those that can are not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.learning.dp.check import check_examples
from agents.learning.dp.mechanism import Mechanism
from agents.learning.errors import TaskError
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task

DATA = {"x": np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32), "y": np.arange(30) % 3}
MECHANISM = Mechanism(samples=30, batch_size=6, clip=1.0, noise_multiplier=1.0)


def init(key):
    return {"a": jax.random.normal(key, (8, 16)) / 3, "b": jnp.zeros((16, 3))}


def forward(params, x, middle=lambda h: h):
    return jax.nn.relu(middle(x @ params["a"])) @ params["b"]


def mean_loss(logits, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), batch["y"]).mean()


def normalized(axis):
    def middle(h):
        return (h - h.mean(axis, keepdims=True)) / (h.std(axis, keepdims=True) + 1e-3)

    return lambda params, batch, key: mean_loss(forward(params, batch["x"], middle), batch)


def dropout(params, batch, key):
    def middle(h):
        return h * jax.random.bernoulli(key, 0.5, h.shape).astype(h.dtype)

    return mean_loss(forward(params, batch["x"], middle), batch)


def coarse(params, batch, key):
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    return mean_loss(forward(low, batch["x"].astype(jnp.bfloat16)), batch)


def contrastive(params, batch, key):
    z = forward(params, batch["x"])
    similar = z @ z.T
    return (jax.nn.logsumexp(similar, axis=1) - jnp.diag(similar)).mean()


def made(loss, **changes) -> Task:
    return Task(init, loss, lambda params, batch: {}, DATA, DATA, batch_size=6, **changes)


@pytest.mark.parametrize("loss", [normalized(1), dropout, coarse], ids=["layer norm", "dropout", "bfloat16"])
def test_a_mean_over_examples_is_taken(loss):
    check_examples(made(loss), DATA)


@pytest.mark.parametrize("loss", [normalized(0), contrastive], ids=["batch norm", "contrastive"])
def test_a_loss_of_the_whole_batch_is_refused(loss):
    with pytest.raises(TaskError, match=r"--dp needs a loss that is a mean over the examples.*batch normalization"):
        check_examples(made(loss), DATA)


def test_a_task_of_ours_is_taken():
    task = load_task("digits")
    check_examples(task, {name: field[:100] for name, field in task.train_data.items()})


def test_a_loss_that_takes_no_batch_of_one_is_refused():
    def loss(params, batch, key):
        return batch["x"].reshape(6, 8).mean() * params["a"].mean()

    whole = replace(made(loss), metrics=lambda params, batch: {"loss": params["a"].mean()})
    with pytest.raises(TaskError, match=r"--dp takes each example's gradient by itself.*reshape.*a loss of a batch of"):
        make_learner(whole, mechanism=MECHANISM)


def test_an_optimizer_that_asks_for_the_loss_is_refused_since_the_loss_is_not_noised():
    chained = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())
    with pytest.raises(TaskError, match=r"never the loss \(optax's value, value_fn\).*another optimizer"):
        make_learner(made(dropout, optimizer=chained), mechanism=MECHANISM)
    make_learner(made(dropout, optimizer="adam"), mechanism=MECHANISM)


def test_one_sample_is_enough():
    check_examples(made(dropout), {name: field[:1] for name, field in DATA.items()})
    make_learner(replace(made(dropout), batch_size=1), mechanism=Mechanism(1, 1, 1.0, 1.0))
