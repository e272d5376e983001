"""What an attacker finds out stays below epsilon, measured; and the audit fails where noise or clipping is missing.

One example, the canary, is in the shard or isn't. An attacker who knows all else guesses which from the trained model.
Of any (epsilon, delta)-private training, true positives <= e**epsilon * false positives + delta, so that rates measured
over many runs, with Clopper and Pearson's confidence, bound epsilon from below (Jagielski, Ullman and Oprea, NeurIPS
2020, arXiv 2006.07709).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import beta

from agents.learning.dp.accountant import noise_for
from agents.learning.dp.mechanism import Mechanism, PoissonBatches
from agents.learning.dp.step import private_train
from agents.learning.step import initial_state
from agents.learning.task import Task

pytest.importorskip("dp_accounting")

EPSILON, DELTA = 3.0, 1e-2
RUNS, STEPS, SAMPLES, BATCH = 2000, 3, 4, 3
CONFIDENCE = 1e-6  # of each of two bounds


def trained(multiplier: float, clip: float) -> tuple[np.ndarray, np.ndarray]:
    """(RUNS,) each: where the canary pushes, of as many models trained with it and without it."""
    x = np.zeros((SAMPLES, 3), np.float32)
    x[1:, 1] = 1.0
    task = Task(
        lambda key: {"w": jnp.zeros(3)},
        lambda params, batch, key: -(batch["x"] @ params["w"]).mean(),
        lambda params, batch: {},
        {"x": x},
        {"x": x},
    )
    transform = optax.with_extra_args_support(optax.sgd(1.0))
    mechanism = Mechanism(SAMPLES, BATCH, clip, multiplier)
    batches, train = PoissonBatches(mechanism, RUNS * STEPS), private_train(task, transform, mechanism, 3)

    @jax.jit
    def run(draw, x):
        state, _ = train(initial_state(transform, task.init(None)), {"x": x}, draw, STEPS)
        return state.params["w"][0]

    found = []
    for size in (10.0, 0.0):  # of its gradient: ten times as long as the norm, or as if it weren't there
        x[0, 0] = size
        draw, _ = batches(0, RUNS * STEPS)
        draw = jax.tree.map(lambda array: array.reshape(RUNS, STEPS, *array.shape[1:]), draw)
        found.append(np.asarray(jax.vmap(run, (0, None))(draw, x)))
    return found[0], found[1]


def lower_bound(inside: np.ndarray, outside: np.ndarray) -> float:
    """Of epsilon: the threshold is chosen on one half of the runs, the rates are measured on the other."""
    half = RUNS // 2
    thresholds = np.quantile(np.concatenate([inside[:half], outside[:half]]), np.linspace(0.02, 0.98, 49))
    best = max(thresholds, key=lambda t: _bound(inside[:half] > t, outside[:half] > t))
    return _bound(inside[half:] > best, outside[half:] > best)


def _bound(positive: np.ndarray, false: np.ndarray) -> float:
    true_rate = beta.ppf(CONFIDENCE, positive.sum(), len(positive) - positive.sum() + 1) if positive.any() else 0.0
    false_rate = beta.ppf(1 - CONFIDENCE, false.sum() + 1, len(false) - false.sum())
    return float(np.log(max(true_rate - DELTA, 1e-12) / false_rate))


def audited(noise: float, clip: float) -> float:
    """noise, clip: in place of what the budget asks for, as factors."""
    multiplier = noise_for(EPSILON, DELTA, BATCH / SAMPLES, STEPS) * noise / clip
    return lower_bound(*trained(multiplier, clip))


def test_an_attacker_learns_something_and_less_than_epsilon():
    assert 0.1 * EPSILON < audited(noise=1.0, clip=1.0) <= EPSILON


@pytest.mark.parametrize(("noise", "clip"), [(0.0, 1.0), (1.0, 10.0)], ids=["unnoised", "unclipped"])
def test_the_audit_finds_what_is_not_private(noise, clip):
    """Without noise, and with gradients that are not clipped to the norm that it stands for."""
    assert audited(noise, clip) > EPSILON
