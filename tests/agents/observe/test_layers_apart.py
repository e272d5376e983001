"""How far models are from their mean, parameter by parameter, against the definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.observe.layers import by_layer

SHAPES = [("a/kernel", (3, 4)), ("a/bias", (4,)), ("b", ())]


@given(st.integers(0, 2**31), st.integers(2, 6))
def test_each_layer_is_as_far_as_the_definition_says(seed: int, agents: int):
    random = np.random.default_rng(seed)
    models = {f"agent-{k}": random.normal(size=17).astype(np.float32) for k in range(agents)}
    weights = {agent: float(random.uniform(0.1, 3)) for agent in models}
    mean, layers = by_layer(models, weights, SHAPES)
    total = sum(weights.values())
    whole = sum(weights[agent] / total * theta.astype(np.float64) for agent, theta in models.items())
    np.testing.assert_allclose(mean, whole, rtol=1e-4, atol=1e-6)
    assert list(layers) == [name for name, _ in SHAPES]
    for (_, far), span in zip(layers.items(), [slice(0, 12), slice(12, 16), slice(16, 17)], strict=True):
        wanted = [np.linalg.norm(theta[span] - whole[span]) / np.linalg.norm(whole[span]) for theta in models.values()]
        np.testing.assert_allclose(far, wanted, rtol=1e-3, atol=1e-4)


def test_equal_models_are_nowhere_apart_and_a_mean_of_nothing_makes_no_number_up():
    zeros, ones = np.zeros(17, np.float32), np.ones(17, np.float32)
    weights = {"a": 1.0, "b": 2.0}
    assert by_layer({"a": zeros, "b": zeros}, weights, SHAPES)[1]["b"] == [0, 0]
    assert by_layer({"a": ones, "b": ones}, weights, SHAPES)[1]["a/bias"] == pytest.approx([0, 0], abs=1e-7)
    opposite = by_layer({"a": ones, "b": -ones / 2}, weights, SHAPES)[1]["b"]
    assert opposite == [np.inf, np.inf]
