"""Agents that train a part of the model: the others' layers stay as they are, whatever the optimizer."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from agents import load_task
from agents.learning.data import load_rows
from agents.learning.learner import make_learner
from agents.learning.part import Part

BLOCKS = (0, 0, 1, 1)  # hidden/bias, hidden/weights, output/bias, output/weights
OPTIMIZERS = {
    "sgd": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.01),
    "decaying": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01, weight_decay=0.1)),
}


def trained(shard, part, optimizer=None, steps=5):
    """Params before and after some steps."""
    task = replace(load_task("digits"), optimizer=optimizer or OPTIMIZERS["sgd"])
    learner = make_learner(task, part=part)
    state = learner.init(0)
    before = jax.tree.map(np.array, state.params)
    rows = np.random.default_rng(0).integers(0, 1000, (steps, task.batch_size)).astype(np.int32)
    data = jax.device_put(load_rows(task.train_data, slice(None)))
    state, _ = learner.train(state, data, rows, np.int32(shard), np.int32(0))
    return jax.tree.leaves(before), jax.tree.leaves(jax.tree.map(np.array, state.params))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("shard", range(4))
def test_of_a_step_only_the_own_block_moves(shard, optimizer):
    before, after = trained(shard, Part(BLOCKS, 2, shard), optimizer)
    for block, one, other in zip(BLOCKS, before, after, strict=True):
        assert (one.tobytes() == other.tobytes()) == (block != shard % 2)


def test_compiled_for_one_shard_or_for_all_it_is_the_same():
    for shard in range(2):
        for one, other in zip(
            trained(shard, Part(BLOCKS, 2, shard))[1], trained(shard, Part(BLOCKS, 2))[1], strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_what_is_in_no_block_is_trained_by_all():
    before, after = trained(0, Part((-1, 0, 1, 1), 2, 0))
    assert [one.tobytes() != other.tobytes() for one, other in zip(before, after, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_no_gradient_is_computed_of_what_is_frozen():
    """Of a hidden layer that is frozen no product of its inputs and of what comes back is taken."""

    def products(part):
        task = load_task("digits")
        learner = make_learner(task, "sgd", 0.1, part=part)
        data = {name: jax.ShapeDtypeStruct(rows.shape, rows.dtype) for name, rows in task.train_data.items()}
        state = jax.eval_shape(lambda: learner.init(0))
        scalar = jax.ShapeDtypeStruct((), np.int32)
        rows = jax.ShapeDtypeStruct((1, task.batch_size), np.int32)
        return learner.train.lower(state, data, rows, scalar, scalar).compile().as_text().count(" dot(")

    assert products(Part(BLOCKS, 2, 1)) < products(None)
