"""Every learning rule keeps the contract of Rule."""

import numpy as np
import pytest

from agents.learning.rules import RULES, Rule, RuleError, rule_named


@pytest.fixture(params=sorted(RULES))
def rule(request: pytest.FixtureRequest) -> Rule:
    return rule_named(request.param)


def test_a_rule_exchanges_the_parameters_first(rule) -> None:
    assert rule.vectors[0] == "theta" and len(set(rule.vectors)) == len(rule.vectors)


def test_an_update_keeps_what_state_and_theta_are(rule) -> None:
    theta, moved = np.linspace(-1, 1, 6, dtype=np.float32), np.full(6, 0.25, np.float32)
    state = rule.init({"w": theta.reshape(2, 3)})
    again, result = rule.update(state, theta.copy(), moved)
    assert type(again) is type(state)
    assert result.shape == theta.shape and result.dtype == np.float32


def test_parameters_alone_leaves_theta_where_exchanges_moved_it() -> None:
    rule = rule_named("parameters")
    theta = np.arange(3, dtype=np.float32)
    assert rule.vectors == ("theta",) and rule.init({"w": theta}) == ()
    state, result = rule.update((), theta, np.ones(3, np.float32))
    assert state == () and result is theta


def test_an_unknown_rule_lists_the_known() -> None:
    with pytest.raises(RuleError, match="no learning rule is called 'parameter': name one of parameters"):
        rule_named("parameter")
