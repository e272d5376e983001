"""Several rules as one: each wraps the optimizer that those before it made, and each is given what exchanges did."""

from functools import partial
from typing import Any

import optax

from agents.learning.rules.rule import Rule
from agents.mixing.layout import THETA


def together(rules: tuple[Rule, ...]) -> Rule:
    """Those nearer to the optimizer first. Each one's state holds that of what it is around as `inner`.

    The outermost alone may move the params in `exchanged`: so each is given what exchanges alone did. Their further
    vectors are exchanged one after the other. At the end each goes on from the params that those before it made.
    """
    if len(rules) == 1:
        return rules[0]
    vectors = (THETA, *(name for rule in rules for name in rule.vectors[1:]))
    beside = partial(_beside, rules) if len(vectors) > 1 else None
    name = "+".join(rule.name for rule in rules)
    final = partial(_final, rules) if any(rule.final for rule in rules) else None
    return Rule(name, vectors, partial(_around, rules), partial(_exchanged, rules), beside, final)


def _around(
    rules: tuple[Rule, ...], optimizer: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    for rule in rules:
        optimizer = rule.around(optimizer)
    return optimizer


def _beside(rules: tuple[Rule, ...], state: Any) -> tuple[Any, ...]:
    *others, outermost = rules
    before = _beside(tuple(others), state.inner) if others else ()
    return (*before, *(outermost.beside(state) if outermost.beside else ()))


def _exchanged(rules: tuple[Rule, ...], state: Any, before: Any, after: Any) -> tuple[Any, Any]:
    if any(rule.beside for rule in rules):
        return _followed(rules, state, before, after)
    return _followed(rules, state, (before,), (after,))


def _followed(rules: tuple[Rule, ...], state: Any, before: tuple[Any, ...], after: tuple[Any, ...]) -> tuple[Any, Any]:
    """The state after exchanges, and the params; before, after: params and the further vectors of these rules."""
    *others, outermost = rules
    rest = len(before) - len(outermost.vectors) + 1
    if others:
        state = state._replace(inner=_followed(tuple(others), state.inner, before[:rest], after[:rest])[0])
    if outermost.exchanged is None:
        return state, after[0]
    own = [(shared[0], *shared[rest:]) if outermost.beside else shared[0] for shared in (before, after)]
    return outermost.exchanged(state, *own)


def _final(rules: tuple[Rule, ...], state: Any, params: Any) -> tuple[Any, Any]:
    *others, outermost = rules
    if others:
        inner, params = _final(tuple(others), state.inner, params)
        state = state._replace(inner=inner)
    return outermost.final(state, params) if outermost.final else (state, params)
