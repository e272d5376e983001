"""Every learning rule keeps the contract of Rule."""

import jax
import numpy as np
import optax
import pytest

from agents.learning.rule_names import RULE_NAMES
from agents.learning.rules import RULES, Rule, UnknownRule, named, parameters

BEFORE = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
AFTER = {"w": BEFORE["w"] + np.float32(0.25)}


@pytest.fixture(params=RULES.values(), ids=RULES)
def rule(request: pytest.FixtureRequest) -> Rule:
    return request.param


def test_a_rule_exchanges_the_parameters_first(rule) -> None:
    assert rule.vectors[0] == "theta" and len(set(rule.vectors)) == len(rule.vectors)


def test_what_follows_from_exchanges_keeps_what_state_and_params_are(rule) -> None:
    optimizer = rule.around(optax.with_extra_args_support(optax.sgd(0.1, momentum=0.9)))
    state = optimizer.init(BEFORE)
    if rule.exchanged is not None:
        again, result = rule.exchanged(state, BEFORE, AFTER)
        assert jax.tree.map(np.shape, again) == jax.tree.map(np.shape, state)
        assert jax.tree.map(lambda leaf: leaf.dtype, again) == jax.tree.map(lambda leaf: leaf.dtype, state)
        assert result["w"].shape == (2, 3) and result["w"].dtype == np.float32


def test_parameters_alone_leaves_optimizer_and_params_as_they_are() -> None:
    optimizer = optax.with_extra_args_support(optax.sgd(0.1))
    assert parameters.vectors == ("theta",) and parameters.around(optimizer) is optimizer
    assert parameters.exchanged is None


def test_a_rule_is_named_or_the_names_are_listed() -> None:
    assert tuple(RULES) == RULE_NAMES and named("parameters") is parameters
    with pytest.raises(UnknownRule, match="--rule is one of parameters, drift: got 'push'"):
        named("push")
