"""Every learning rule keeps the contract of Rule."""

import re

import jax
import numpy as np
import optax
import pytest

from agents.learning.rule_names import RULE_NAMES, VALUES, leaves_open, parse_rule, same_rule, with_values
from agents.learning.rules import MAKE, Rule, UnknownRule, named, parameters, rule_hash
from agents.learning.rules.hashing import source

BEFORE = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
AFTER = {"w": BEFORE["w"] + np.float32(0.25)}


ALL = (*RULE_NAMES, "quasi+drift+noloco+prox+tracking", "momentum+drift+tracking+ema+accelerated:2")


@pytest.fixture(params=ALL)
def rule(request: pytest.FixtureRequest) -> Rule:
    return named(request.param)


def test_a_rule_exchanges_the_parameters_first(rule) -> None:
    assert rule.vectors[0] == "theta" and len(set(rule.vectors)) == len(rule.vectors)


def test_what_follows_from_exchanges_keeps_what_state_and_params_are(rule) -> None:
    optimizer = rule.around(optax.with_extra_args_support(optax.sgd(0.1, momentum=0.9)))
    state = optimizer.init(BEFORE)
    if rule.exchanged is not None:
        further = rule.beside(state) if rule.beside else ()
        shared = [(theta, *further) if further else theta for theta in (BEFORE, AFTER)]
        again, result = rule.exchanged(state, *shared)
        assert jax.tree.map(np.shape, again) == jax.tree.map(np.shape, state)
        assert jax.tree.map(lambda leaf: leaf.dtype, again) == jax.tree.map(lambda leaf: leaf.dtype, state)
        assert result["w"].shape == (2, 3) and result["w"].dtype == np.float32


def test_what_it_ends_with_keeps_what_state_and_params_are_and_is_none_of_a_second_end(rule) -> None:
    optimizer = rule.around(optax.with_extra_args_support(optax.sgd(0.1, momentum=0.9)))
    if rule.final is not None:
        _, state = optimizer.update(AFTER, optimizer.init(BEFORE), BEFORE)
        once = rule.final(state, AFTER)
        kinds = [jax.tree.map(lambda leaf: (np.shape(leaf), leaf.dtype), each) for each in (once, (state, AFTER))]
        assert kinds[0] == kinds[1]
        for one, other in zip(jax.tree.leaves(once), jax.tree.leaves(rule.final(*once)), strict=True):
            np.testing.assert_array_equal(one, other)


def test_parameters_alone_leaves_optimizer_and_params_as_they_are() -> None:
    optimizer = optax.with_extra_args_support(optax.sgd(0.1))
    assert parameters.vectors == ("theta",) and parameters.around(optimizer) is optimizer
    assert parameters.exchanged is None


def test_a_rule_is_named_or_the_names_are_listed() -> None:
    assert ("parameters", *MAKE) == RULE_NAMES and tuple(MAKE) == tuple(VALUES)
    assert named("parameters") is parameters and named("drift:0.1").name == "drift"
    assert named("prox:0.01+drift").name == "drift+prox"
    listed = "parameters, or one or more of momentum, " + re.escape(
        "quasi[:DECAY], drift[:GAIN], noloco[:MOMENTUM], prox[:MU], tracking[:GAIN], ema[:DECAY], accelerated[:BOOST]"
    )
    twice = ("drift+drift:0.1", "drift+parameters")
    for wrong in ("push", "", "parameters:0.1", "drift+", "momentum:0.9", "drift, prox", "drift+push:1", *twice):
        with pytest.raises(UnknownRule, match=rf"rule is {listed}, joined by \+ .*: got {re.escape(repr(wrong))}"):
            named(wrong)


@pytest.mark.parametrize(("part", "allowed"), [(name, value.allowed) for name, value in VALUES.items() if value])
def test_a_number_that_a_rule_does_not_take_is_refused_with_those_it_takes(part, allowed) -> None:
    number = VALUES[part]
    assert number is not None
    for wrong in ("0", "-0.1", f"{2 * number.most}", "much", "nan", "inf", "", *([f"{number.most}"] * number.open)):
        with pytest.raises(UnknownRule, match=f"rule {part}:{number.name} has as its .* {allowed}: got '{wrong}'"):
            named(f"{part}:{wrong}")


def test_the_gain_of_drift_is_less_where_exchanges_are_rare() -> None:
    assert [with_values("drift", steps) for steps in (1, 2, 10, None)] == [
        *("drift:0.25", "drift:0.25", "drift:0.05", "drift:0.05")
    ]
    assert with_values("drift:0.1", 10) == "drift:0.1" and with_values("parameters", 10) == "parameters"


def test_parts_in_any_order_are_one_rule_with_all_its_numbers() -> None:
    assert with_values("prox:0.010+drift", 10) == with_values("drift+prox:0.01", 10) == "drift:0.05+prox:0.01"
    for text in ("drift", "prox+quasi", "noloco:0.3+drift:0.1", "parameters"):
        whole = with_values(text, 10)
        assert with_values(whole, 1) == whole and not leaves_open(whole) and same_rule(text, whole)
        assert leaves_open(text) == any(number is None for _, number in parse_rule(text))
    assert with_values("tracking+momentum", 1) == "momentum+tracking:0.5" and not leaves_open("momentum")
    with pytest.raises(UnknownRule, match="momentum and quasi both set the optimizer's momentum"):
        named("momentum+quasi")
    assert same_rule("prox+drift:0.1", "drift:0.1+prox:0.3") and not same_rule("drift:0.1", "drift:0.2")
    assert not same_rule("drift", "mine@0123456789ab") and not same_rule("parameters", "drift:0.1")
    assert rule_hash(named("drift:0.1+prox:0.1")) != rule_hash(named("drift:0.1+prox:0.2"))
    assert "0x" not in str(_texts(named("drift:0.1+prox:0.1")))


def _texts(rule: Rule) -> list[str]:
    return [source(function) for function in (rule.around, rule.exchanged)]
