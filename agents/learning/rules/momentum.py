"""The rule "momentum": the optimizer's momentum is mixed along with the parameters, at the same rate.

    what is exchanged   theta, and m, the optimizer's momentum, as `optax.trace` keeps it
    after exchanges     m += what they did to it, D_m, as theta += D

So agents that agree go on as one would with the mean gradient of all: without it each gathers speed along its own
shard's, and exchanges take back what that did to theta, again and again. It takes twice the bytes of "parameters".

m is exchanged as theta is, zero-sum, so sum_i w_i m_i moves by training alone. An exchange that is lost leaves both as
they were, a repeated one is applied once. A late joiner adopts theta alone, and starts with m = 0 as all did. The exact
finish uses theta alone. Optimizers without momentum, or with one that is no `optax.trace`, as Adam's, are refused.

Source: Yu et al., On the Linear Speedup Analysis of Communication Efficient Momentum SGD, ICML 2019, arXiv 1905.03817.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.learning.rule_names import MOMENTUM
from agents.learning.rules import traces, trees
from agents.learning.rules.rule import Rule


class Momentum(NamedTuple):
    """inner: the optimizer's state, in which m is."""

    inner: Any


def momentum() -> Rule:
    """The rule."""
    return Rule(MOMENTUM, ("theta", "momentum"), _around, _exchanged, _beside)


def _around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """Raises TaskError unless the optimizer has one momentum, of `optax.trace`, and can be probed."""
    traces.check(MOMENTUM, optimizer)

    def update(gradient: Any, state: Momentum, params: Any = None, **more: Any) -> tuple[Any, Momentum]:
        updates, inner = optimizer.update(gradient, state.inner, params, **more)
        return updates, Momentum(inner)

    return optax.GradientTransformationExtraArgs(lambda params: Momentum(optimizer.init(params)), update)


def _beside(state: Momentum) -> tuple[Any]:
    (trace,) = traces.of(state.inner)
    return (jax.tree.map(lambda leaf: leaf.astype(jnp.float32), trace),)


def _exchanged(state: Momentum, before: Any, after: Any) -> tuple[Momentum, Any]:
    came = trees.difference(after[1], before[1])
    return Momentum(traces.replaced(state.inner, lambda trace: trees.plus(trace, came))), after[0]
