"""Several rules as one: each around what those before it make of the optimizer, and each told what exchanges did."""

from functools import partial
from typing import Any

import optax

from agents.learning.rules.rule import Rule


def together(rules: tuple[Rule, ...]) -> Rule:
    """Those nearer to the optimizer first. Each one's state holds that of what it is around as `inner`.

    Of them the outermost alone may move the params in `exchanged`: so each is given what exchanges alone did.
    """
    if len(rules) == 1:
        return rules[0]
    name = "+".join(rule.name for rule in rules)
    return Rule(name, ("theta",), partial(_around, rules), partial(_exchanged, rules))


def _around(
    rules: tuple[Rule, ...], optimizer: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    for rule in rules:
        optimizer = rule.around(optimizer)
    return optimizer


def _exchanged(rules: tuple[Rule, ...], state: Any, before: Any, after: Any) -> tuple[Any, Any]:
    *others, outermost = rules
    if others:
        state = state._replace(inner=_exchanged(tuple(others), state.inner, before, after)[0])
    return outermost.exchanged(state, before, after) if outermost.exchanged else (state, after)
