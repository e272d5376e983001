"""What a simulated agent takes over when it comes late is no exchange, and theta alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import Rule
from sim import simulate
from sim.ending import OPTIMIZER

LATE, AGENTS = 3, 4


class Counting(NamedTuple):
    """inner: the optimizer's state. steps: how many were taken, as a vector. farthest: that exchanges moved one."""

    inner: Any
    steps: Any
    farthest: jax.Array


def around(optimizer):
    def init(params):
        return Counting(optimizer.init(params), jax.tree.map(jnp.zeros_like, params), jnp.zeros(()))

    def update(gradient, state, params=None, **more):
        updates, inner = optimizer.update(gradient, state.inner, params)
        return updates, state._replace(inner=inner, steps=jax.tree.map(lambda leaf: leaf + 1, state.steps))

    return optax.GradientTransformationExtraArgs(init, update)


def exchanged(state, before, after):
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    farthest = jnp.max(jnp.stack([jnp.max(jnp.abs(b - a)) for b, a in pairs]))
    params = after[0] if isinstance(after, tuple) else after
    return state._replace(farthest=jnp.maximum(state.farthest, farthest)), params


ALONE = Rule("alone", ("theta",), around, exchanged)
BESIDE = Rule("beside", ("theta", "steps"), around, exchanged, lambda state: (state.steps,))


@pytest.mark.parametrize("rule", [ALONE, BESIDE], ids=lambda rule: rule.name)
def test_a_rule_learns_nothing_of_what_a_late_joiner_takes_over(rule):
    """With alpha 1 exchanges move nothing, so all that could be learned of is that."""
    settings = {"agents": AGENTS, "rounds": 8, "alpha": 1.0, "rule": rule, "optimizer": "sgd", "progress": False}
    history = simulate("digits", joins={LATE: 4.0}, **settings)
    (farthest,) = (leaf for leaf in history.ending.of(OPTIMIZER).values() if leaf.shape == (AGENTS,))
    assert not np.any(farthest)
    assert np.abs(history.theta[LATE] - simulate("digits", **settings).theta[LATE]).max() > 1e-3
