"""The learner's laws, on digits or on models small enough to reckon by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents.learning.data import batch_rows, load_rows
from agents.learning.evaluation import EVALUATION_ROWS
from agents.learning.learner import make_learner
from agents.learning.loading import load_task
from agents.learning.task import Task
from agents.learning.tasks.models import classification, cnn, mlp

BATCH, SAMPLES = 16, 100


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits")


@pytest.fixture(scope="module")
def shard(digits: Task) -> dict[str, jax.Array]:
    return jax.device_put(load_rows(digits.train_data, slice(0, SAMPLES)))


def noisy(task: Task) -> Task:
    """The same task with a loss that draws from its key."""

    def loss(params, batch, key):
        kept = jax.random.bernoulli(key, 0.8, batch["x"].shape)
        return task.loss(params, {**batch, "x": jnp.where(kept, batch["x"], 0.0)}, key)

    return Task(task.init, loss, task.metrics, task.train, task.test)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_one_agent_alone_is_ordinary_training_bit_for_bit(digits, shard, optimizer) -> None:
    """Invariant 3: chunks of 10 steps against one loop over all of them, written without the learner."""
    task, steps, seed, agent = noisy(digits), 60, 5, 2
    learner = make_learner(task, optimizer, 0.01, total_steps=steps, seed=seed)
    state, losses = learner.init(0), []
    for step in range(0, steps, 10):
        state, chunk = learner.train(state, shard, batch_rows(seed, agent, step, 10, BATCH, SAMPLES), agent, step)
        losses.append(chunk)

    rate = optax.cosine_decay_schedule(0.01, steps)
    transform = optax.sgd(rate, momentum=0.9) if optimizer == "momentum" else optax.adam(0.01)

    @jax.jit
    def plain(params, opt_state, data, rows):
        def step(carry, now):
            params, opt_state = carry
            rows, step = now
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), agent), step)
            batch = {"x": data["x"][rows], "y": data["y"][rows]}
            loss, gradient = jax.value_and_grad(task.loss)(params, batch, key)
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = transform.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        return jax.lax.scan(step, (params, opt_state), (rows, jnp.arange(steps)))

    params = jax.jit(lambda: task.init(jax.random.key(0)))()
    rows = batch_rows(seed, agent, 0, steps, BATCH, SAMPLES)
    (params, _), expected = plain(params, transform.init(params), shard, rows)
    np.testing.assert_array_equal(np.concatenate(losses), expected)
    jax.tree.map(np.testing.assert_array_equal, state.params, params)


def test_every_agent_and_step_has_its_own_key(digits, shard) -> None:
    learner = make_learner(noisy(digits), "sgd", 1e-9)
    rows = np.zeros((3, BATCH), np.int32)
    losses = np.stack([learner.train(learner.init(0), shard, rows, agent, 7)[1] for agent in (0, 1)])
    assert len(np.unique(losses)) == 6
    again = learner.train(learner.init(0), shard, rows[:2], 0, 8)[1]
    np.testing.assert_allclose(again, losses[0, 1:], rtol=1e-5)


def test_agents_train_under_vmap_as_alone(digits, shard) -> None:
    learner = make_learner(digits, total_steps=20)
    agents, step = np.arange(3), 4
    rows = np.stack([batch_rows(0, agent, step, 5, BATCH, SAMPLES) for agent in agents])
    states = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), learner.init(0))
    together, losses = jax.vmap(learner.train, in_axes=(0, None, 0, 0, None))(states, shard, rows, agents, step)
    thetas = jax.vmap(learner.flatten)(together.params)
    for agent in agents:
        alone, alone_losses = learner.train(learner.init(0), shard, rows[agent], agent, step)
        np.testing.assert_allclose(losses[agent], alone_losses, rtol=1e-5)
        np.testing.assert_allclose(thetas[agent], learner.flatten(alone.params), atol=1e-6)


def test_nothing_recompiles_as_agents_steps_and_values_change(digits, shard) -> None:
    learner = make_learner(digits)
    state = learner.init(0)
    for agent, step in ((0, 0), (1, 10), (1000, 2**20)):
        state, _ = learner.train(state, shard, batch_rows(0, agent, step, 2, BATCH, SAMPLES), agent, step)
        state = learner.replace(state, np.asarray(learner.flatten(state.params)))
    assert learner.train._cache_size() == learner.replace._cache_size() == 1


def test_training_consumes_its_state(digits, shard) -> None:
    learner = make_learner(digits)
    state = learner.init(0)
    learner.train(state, shard, np.zeros((1, BATCH), np.int32), 0, 0)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize("count", [1, EVALUATION_ROWS, EVALUATION_ROWS + 1, 3 * EVALUATION_ROWS + 7])
def test_evaluation_in_batches_is_the_mean_over_all_samples(count) -> None:
    values = np.random.default_rng(0).normal(size=count).astype(np.float32)
    task = Task(
        init=lambda key: {"w": jnp.zeros(())},
        loss=lambda params, batch, key: jnp.mean(batch["x"] ** 2) + params["w"],
        metrics=lambda params, batch: {"mean": batch["x"].mean(), "perplexity": jnp.exp(batch["x"].mean())},
        train={"x": values},
        test={"x": values},
    )
    learner = make_learner(task)
    results = learner.evaluate(learner.init(0).params, {"x": values})
    mean = np.mean(values)
    expected = {"loss": np.mean(values**2), "mean": mean, "perplexity": np.exp(mean)}
    assert results == pytest.approx(expected, abs=1e-5)


def test_spec_hash_tells_models_apart(digits) -> None:
    def learner(hidden: int):
        init, apply = mlp(64, hidden, 10)
        return make_learner(Task(init, *classification(apply), digits.train, digits.test))

    assert learner(64).spec_hash == make_learner(digits).spec_hash != learner(32).spec_hash
    assert learner(32).size == 64 * 32 + 32 + 32 * 10 + 10


@pytest.mark.parametrize("size", [(12, 12), (28, 28), (13, 9)])
def test_the_cnn_is_the_convolutions_it_stands_for(size) -> None:
    """Against lax.conv_general_dilated with the same weights, in the order of kernel rows and columns."""
    height, width = size
    init, apply = cnn(height, width, 2, 3)
    params = jax.jit(init)(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (4, height, width, 2))

    def reference(params, x):
        convolve = partial(
            jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"), window_strides=(2, 2)
        )
        bottom, right = -height % 4 + 2, -width % 4 + 2
        first = params["convolution_1"]["weights"].reshape(3, 3, 2, 2, 2, 16)  # window, then block, then channel
        first = first.transpose(0, 2, 1, 3, 4, 5).reshape(6, 6, 2, 16)
        second = params["convolution_2"]["weights"].reshape(2, 2, 16, 32)
        x = jax.nn.relu(convolve(x, first, padding=((2, bottom), (2, right))))
        x = jax.nn.relu(convolve(x, second, padding="VALID")).reshape(4, -1)
        return jax.nn.relu(x @ params["hidden"]["weights"]) @ params["output"]["weights"]

    np.testing.assert_allclose(jax.jit(apply)(params, x), jax.jit(reference)(params, x), atol=1e-4)
