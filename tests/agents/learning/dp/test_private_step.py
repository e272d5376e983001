"""A private step: each gradient clipped as a plain loop would, noise of the stated law, batches drawn as stated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from agents.learning.dp.mechanism import Mechanism, PoissonBatches
from agents.learning.dp.step import clipped_sum, private_gradient, private_train
from agents.learning.step import initial_state
from agents.learning.task import Task

SAMPLES, BATCH = 23, 6


def data() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {"x": random.normal(size=(SAMPLES, 5)).astype(np.float32) * 3, "y": random.integers(3, size=SAMPLES)}


def task() -> Task:
    """A small network, with dropout."""

    def init(key):
        return {"a": jax.random.normal(key, (5, 4)), "b": jnp.zeros(4), "c": jax.random.normal(key, (4, 3))}

    def loss(params, batch, key):
        hidden = jnp.tanh(batch["x"] @ params["a"] + params["b"].reshape(1, -1))
        logits = hidden @ params["c"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"]).mean()

    return Task(init, loss, lambda params, batch: {}, data(), data(), batch_size=BATCH)


GRADIENT = jax.jit(jax.grad(task().loss))


def looped(params, rows, clip):
    """The sum of clipped gradients, an example at a time."""
    total = jax.tree.map(np.zeros_like, params)
    for row in rows:
        example = {name: field[row : row + 1] for name, field in data().items()}
        gradient = jax.tree.map(np.asarray, GRADIENT(params, example, jax.random.key(0)))
        norm = np.sqrt(sum((leaf.astype(np.float64) ** 2).sum() for leaf in jax.tree.leaves(gradient)))
        total = jax.tree.map(lambda a, g, norm=norm: a + g * min(1, clip / norm), total, gradient)
    return total


@pytest.mark.parametrize(("clip", "lanes"), [(0.3, 1), (1.5, 4), (1e6, 30)])
def test_the_gradient_is_the_mean_of_each_examples_clipped_one(clip, lanes):
    params = task().init(jax.random.key(0))
    mechanism = Mechanism(SAMPLES, BATCH, clip, noise_multiplier=0.0)
    gradient = jax.jit(private_gradient(task(), mechanism, 36, lanes))
    for drawn in ([], [4], [0, 22, 7], range(SAMPLES)):
        rows = np.resize(np.array([*drawn, 9, 9], np.int32), mechanism.most)
        found, _ = gradient(params, data(), rows, np.int32(len(drawn)), jax.random.key(3))
        expected = jax.tree.map(lambda leaf: leaf / BATCH, looped(params, drawn, clip))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


def test_an_example_moves_the_sum_by_no_more_than_the_norm_whatever_its_gradient():
    huge = [1e-30, 1.0, 1e18, 3e38, np.inf, -np.inf, np.nan]
    gradients = [jnp.array([[size, size] for size in huge]), jnp.array([[[size]] for size in huge])]
    for k in range(len(huge)):
        alone = clipped_sum(gradients, jnp.arange(len(huge)) == k, 0.5)
        norm = np.sqrt(sum(float((leaf.astype(jnp.float32) ** 2).sum()) for leaf in alone))
        assert norm <= 0.5 * (1 + 1e-6)


def test_noise_has_the_stated_law():
    """N(0, (clip * noise_multiplier / batch_size)^2) in every coordinate, independent between coordinates and steps."""
    mechanism = Mechanism(SAMPLES, BATCH, clip=0.7, noise_multiplier=1.3)
    gradient = private_gradient(task(), mechanism, parameters=36)
    params, rows, shard = task().init(jax.random.key(0)), np.zeros(mechanism.most, np.int32), jax.device_put(data())
    keys = jax.random.split(jax.random.key(5), 3000)
    many, _ = jax.jit(jax.vmap(lambda key: gradient(params, shard, rows, np.int32(0), key)))(keys)
    noise = np.concatenate([np.reshape(leaf, (len(keys), -1)) for leaf in jax.tree.leaves(many)], axis=1)
    scale = 0.7 * 1.3 / BATCH
    assert stats.kstest(noise.ravel() / scale, "norm").pvalue > 1e-3
    correlation = np.corrcoef(noise.T) - np.eye(noise.shape[1])
    assert np.abs(correlation).max() < 5.5 / np.sqrt(len(keys))
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 5 / np.sqrt(noise.size)


def test_training_takes_the_noise_of_fresh_keys_and_the_steps_it_is_told():
    mechanism = Mechanism(SAMPLES, BATCH, clip=1.0, noise_multiplier=1.0)
    train = private_train(task(), optax.with_extra_args_support(optax.sgd(0.1)), mechanism, 36)
    batches, ends = PoissonBatches(mechanism, 4), []
    for count in (0, 3, 3):
        state = initial_state(optax.with_extra_args_support(optax.sgd(0.1)), task().init(jax.random.key(0)))
        state, losses = train(state, data(), *batches(0, count))
        assert (np.asarray(losses) != 0).sum() <= count
        ends.append(np.asarray(state.params["a"]))
    assert not np.array_equal(ends[1], ends[2]) and not np.array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[0], task().init(jax.random.key(0))["a"])


def test_batches_are_drawn_by_poisson_sampling():
    """Every example independently with the same probability: sizes binomial, examples and pairs equally often."""
    steps = 4000
    draw, count = PoissonBatches(Mechanism(SAMPLES, BATCH, 1.0, 1.0), steps)(0, steps)
    member = np.zeros((steps, SAMPLES))
    for k in range(steps):
        rows = draw.rows[k, : draw.sizes[k]]
        assert len(set(rows)) == len(rows)
        member[k, rows] = 1
    q = BATCH / SAMPLES
    assert count == steps and abs(member.mean() - q) < 5 * np.sqrt(q * (1 - q) / member.size)
    assert np.abs(member.mean(axis=0) - q).max() < 5 * np.sqrt(q * (1 - q) / steps)
    assert np.abs(np.corrcoef(member.T) - np.eye(SAMPLES)).max() < 5.5 / np.sqrt(steps)
    sizes = np.bincount(draw.sizes, minlength=SAMPLES + 1)
    expected = stats.binom.pmf(np.arange(SAMPLES + 1), SAMPLES, q) * steps
    likely = expected > 5
    assert ((sizes - expected)[likely] ** 2 / expected[likely]).sum() < stats.chi2.isf(1e-4, likely.sum())
    assert len(np.unique(draw.keys, axis=0)) == steps


def test_batches_leave_room_for_every_draw_and_pay_before_they_are_drawn():
    spent: list[int] = []
    for samples, size in [(1, 1), (40, 40), (10**6, 1), (10**6, 256), (60, 32)]:
        mechanism = Mechanism(samples, size, 1.0, 1.0)
        if mechanism.most < samples:
            assert stats.binom.logsf(mechanism.most, samples, mechanism.probability) < -60
        PoissonBatches(mechanism, 8, spent.append)(0, 5)
    assert spent == [5] * 5
