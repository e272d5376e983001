"""Optimizers by name, and those that a task brings: what optax offers trains, or is refused in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from agents.learning.errors import TaskError
from agents.learning.learner import make_learner
from agents.learning.optimizers import NAMED, make_optimizer
from agents.learning.task import Task

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 3)).astype(np.float32)
DATA = {"x": X, "y": X @ np.array([1, -2, 3], np.float32)}


def tiny(**changes) -> Task:
    """Least squares, with changes."""

    def loss(params, batch, key):
        return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2)

    return Task(lambda key: {"w": jnp.zeros(3)}, loss, lambda params, batch: {}, DATA, DATA, **changes)


@pytest.mark.parametrize("name", ["momentum", *NAMED])
def test_named_optimizers_train(name) -> None:
    transform = make_optimizer(tiny(), name, 0.1, total_steps=10)
    params = {"w": jnp.ones(3)}
    with jax.numpy_dtype_promotion("standard"):  # as the learner does
        updates, _ = transform.update(params, transform.init(params), params)
    assert np.all(updates["w"] < 0)


def test_the_optimizer_named_last_wins() -> None:
    def rate(task: Task, *choice) -> float:
        transform = make_optimizer(task, *choice)
        return -float(transform.update(jnp.ones(3), transform.init(jnp.ones(3)))[0][0])

    assert rate(tiny(optimizer="sgd", learning_rate=0.5)) == 0.5
    assert rate(tiny(optimizer="sgd", learning_rate=0.5), None, 0.25) == 0.25
    assert rate(tiny(optimizer="momentum", learning_rate=0.5), "sgd") == pytest.approx(0.1)
    assert rate(tiny(optimizer=optax.sgd(0.75))) == 0.75
    assert rate(tiny(optimizer=lambda steps: optax.sgd(1 / steps)), None, None, 4) == 0.25
    assert rate(tiny(learning_rate=0.5)) == 0.5


def test_impossible_optimizers_are_refused() -> None:
    with pytest.raises(TaskError, match="no optimizer is called 'adamm': name one of momentum, sgd, adam"):
        make_optimizer(tiny(), "adamm")
    with pytest.raises(TaskError, match=r"brings its own optimizer with its own learning rate: got 0.1 as well"):
        make_optimizer(tiny(optimizer=optax.sgd(1.0)), None, 0.1)
    with pytest.raises(TaskError, match=r"must be an optax transformation, .*: got int"):
        make_optimizer(tiny(optimizer=lambda steps: 3))
    with pytest.raises(TaskError, match="a learning rate must be a positive number: got 0"):
        make_optimizer(tiny(), "sgd", 0.0)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.chain(optax.adam(0.1), optax.contrib.reduce_on_plateau(patience=2)),
        optax.lbfgs(),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(8)),
        optax.polyak_sgd(),
        optax.MultiSteps(optax.sgd(0.1), every_k_schedule=3),
        optax.MultiSteps(optax.sgd(0.1), every_k_schedule=3).gradient_transformation(),
        optax.apply_if_finite(optax.adam(0.1), 3),
        optax.contrib.schedule_free_sgd(0.1),
        optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.01)),
        lambda steps: optax.MultiSteps(optax.adam(0.1), 2),
    ],
    ids=["plateau", "lbfgs", "backtracking", "polyak", "multi", "multi made", "finite", "free", "sam", "function"],
)
def test_transformations_that_need_the_loss_or_steps_of_their_own_train_and_compile_once(optimizer) -> None:
    learner = make_learner(tiny(optimizer=optimizer))
    state, losses = learner.init(0), []
    kinds = jax.tree.map(lambda leaf: (leaf.dtype, leaf.weak_type), state)
    for step in range(0, 40, 10):
        rows = np.arange(320, dtype=np.int32).reshape(10, 32) % 64
        state, chunk = learner.train(state, DATA, rows, 0, step)
        losses.append(chunk)
    assert losses[-1][-1] < 0.2 * losses[0][0]
    assert learner.train._cache_size() == 1
    assert jax.tree.map(lambda leaf: (leaf.dtype, leaf.weak_type), state) == kinds


def test_an_optimizer_with_a_random_key_in_its_state_trains() -> None:
    learner = make_learner(tiny(optimizer=optax.chain(optax.add_noise(0.01, 0.5, 3), optax.sgd(0.1))))
    _, losses = learner.train(learner.init(0), DATA, np.arange(960, dtype=np.int32).reshape(30, 32) % 64, 0, 0)
    assert losses[-1] < 0.2 * losses[0]


def growing() -> optax.GradientTransformation:
    return optax.GradientTransformation(
        lambda params: jnp.zeros(1), lambda updates, state, params=None: (updates, jnp.append(state, 0.0))
    )


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            optax.contrib.sophia(0.1),
            r"the optimizer failed: ValueError: obj_fn must be provided.*; besides the gradient",
        ),
        (lambda steps: 1 / 0, r"optimizer\(total_steps\) failed: \S+test_optimizers\.py, line \d+: ZeroDivisionError"),
        (growing(), r"keep its structure, shapes and dtypes .*: .* opt_state from float32\[1\] to float32\[2\]"),
    ],
)
def test_what_cannot_train_is_refused_in_one_line_before_it_compiles(optimizer, message) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        make_learner(tiny(optimizer=optimizer))
    assert "\n" not in str(caught.value)
