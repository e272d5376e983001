"""Every learning rule keeps the contract of Rule."""

import numpy as np
import pytest

from agents.learning.rules import RULES, Rule, RuleError, rule_named


@pytest.fixture(params=sorted(RULES))
def rule(request: pytest.FixtureRequest) -> Rule:
    return rule_named(request.param)


def test_a_rule_exchanges_the_parameters_first(rule) -> None:
    assert rule.vectors[0] == "theta" and len(set(rule.vectors)) == len(rule.vectors)


def test_an_update_keeps_what_state_and_params_are(rule) -> None:
    before = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
    after = {"w": before["w"] + np.float32(0.25)}
    state = rule.init(before)
    again, result = rule.update(state, before, after)
    assert type(again) is type(state)
    assert result["w"].shape == (2, 3) and result["w"].dtype == np.float32


def test_parameters_alone_leaves_params_where_exchanges_moved_them() -> None:
    rule = rule_named("parameters")
    before, after = {"w": np.zeros(3, np.float32)}, {"w": np.ones(3, np.float32)}
    assert rule.vectors == ("theta",) and rule.init(before) == ()
    state, result = rule.update((), before, after)
    assert state == () and result is after


def test_an_unknown_rule_lists_the_known() -> None:
    with pytest.raises(RuleError, match="no learning rule is called 'parameter': name one of parameters"):
        rule_named("parameter")
