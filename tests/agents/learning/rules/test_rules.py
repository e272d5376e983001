"""Every learning rule keeps the contract of Rule."""

import numpy as np
import pytest

from agents.learning.rules import Rule, parameters


@pytest.fixture(params=[parameters], ids=lambda rule: rule.name)
def rule(request: pytest.FixtureRequest) -> Rule:
    return request.param


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
    before, after = {"w": np.zeros(3, np.float32)}, {"w": np.ones(3, np.float32)}
    assert parameters.vectors == ("theta",) and parameters.init(before) == ()
    state, result = parameters.update((), before, after)
    assert state == () and result is after
