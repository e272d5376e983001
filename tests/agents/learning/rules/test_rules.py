"""Every learning rule keeps the contract of Rule."""

import jax
import numpy as np
import optax
import pytest

from agents.learning.rule_names import RULE_NAMES, with_gain
from agents.learning.rules import MAKE, Rule, UnknownRule, drift, named, parameters

BEFORE = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
AFTER = {"w": BEFORE["w"] + np.float32(0.25)}


@pytest.fixture(params=[parameters, drift(0.25)], ids=lambda rule: rule.name)
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
    assert tuple(MAKE) == RULE_NAMES and named("parameters") is parameters and named("drift:0.1").name == "drift"
    with pytest.raises(UnknownRule, match="rule is one of parameters, drift, or drift:GAIN: got 'push'"):
        named("push")
    for wrong in ("drift:0", "drift:2", "drift:much", "drift:nan"):
        with pytest.raises(UnknownRule, match="a number above 0, at most 1"):
            named(wrong)
    with pytest.raises(UnknownRule, match=r"got 'parameters:0\.1'"):
        named("parameters:0.1")


def test_the_gain_of_drift_is_less_where_exchanges_are_rare() -> None:
    assert [with_gain("drift", steps) for steps in (1, 2, 10, None)] == [
        *("drift:0.25", "drift:0.25", "drift:0.05", "drift:0.05")
    ]
    assert with_gain("drift:0.1", 10) == "drift:0.1" and with_gain("parameters", 10) == "parameters"
