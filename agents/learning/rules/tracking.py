"""The rule "tracking": each agent learns by how much its gradient differs from its neighbors', and corrects it.

    each local step     gradient += c, and the optimizer goes on from that; y = mean of these since exchanges came last
    what is exchanged   theta, and y
    after exchanges     c += gain * what they did to y, D_y

What exchanges add to one y they take from another, so sum_i w_i c_i stays zero, whatever is lost or late, up to
rounding, and in each order. Where all agree and none moves, y is zero everywhere: gradient_i + c_i = 0, so the weighted
sum of the gradients is zero: that is the optimum of all. It takes twice the bytes of "parameters".

These are the corrections of K-GT, made from exchanges between two at a time. Gradient tracking as often stated, y +=
gradient now - gradient before, diverges with several local steps between exchanges; corrections that stay as they are
meanwhile, and a y that is a mean over them, don't.

An exchange that is lost leaves c as it was, a repeated one is applied once. A late joiner adopts theta alone, and
starts with c = 0, which leaves the sum. The exact finish uses theta alone. With gain = 0 it is "parameters", at twice
the bytes. Agents should end together: whoever trains on for long after its neighbors have ended goes on being corrected
towards what they had when they ended, and runs off; "drift" doesn't.

Sources: Liu et al., Decentralized Gradient Tracking with Local Steps, 2023, arXiv 2301.01313; Di Lorenzo and Scutari,
NEXT, IEEE TSIPN 2016, arXiv 1602.00591.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.learning.rule_names import TRACKING
from agents.learning.rules import trees
from agents.learning.rules.rule import Rule


class Tracking(NamedTuple):
    """inner: the state of what it is around. correction: c; direction: y; pytrees as the params, float32.

    steps: local ones since exchanges came last, float32 scalar.
    """

    inner: Any
    correction: Any
    direction: Any
    steps: jax.Array


def tracking(gain: float) -> Rule:
    """The rule with this gain, of what exchanges do to y."""
    return Rule(TRACKING, ("theta", "direction"), _around, partial(_exchanged, gain), _beside)


def _around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> Tracking:
        return Tracking(optimizer.init(params), trees.zeros(params), trees.zeros(params), jnp.zeros((), jnp.float32))

    def update(gradient: Any, state: Tracking, params: Any = None, **more: Any) -> tuple[Any, Tracking]:
        corrected = trees.plus(gradient, state.correction)
        updates, inner = optimizer.update(corrected, state.inner, params, **more)
        steps = state.steps + 1
        direction = jax.tree.map(lambda y, g: y + (g.astype(jnp.float32) - y) / steps, state.direction, corrected)
        return updates, Tracking(inner, state.correction, direction, steps)

    return optax.GradientTransformationExtraArgs(init, update)


def _beside(state: Tracking) -> tuple[Any]:
    return (state.direction,)


def _exchanged(gain: float, state: Tracking, before: Any, after: Any) -> tuple[Tracking, Any]:
    correction = trees.plus(state.correction, trees.difference(after[1], before[1]), gain)
    steps = jnp.where(trees.differ(after, before), 0.0, state.steps)
    return state._replace(correction=correction, steps=steps), after[0]
