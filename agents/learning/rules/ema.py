"""The rule "ema": an agent ends with the average of its model over its last local steps, not with the last of them.

    each local step     m = decay * m + (1 - decay) * theta         theta: as the step leaves it; m is zero at first
    at the end          theta = m / (1 - decay^t)                   t: local steps taken

kept as m / (1 - decay^t), which is theta after the first step. Under a constant learning rate theta goes around the
optimum, as far as the noise of batches carries it; its average doesn't, and needs no schedule that ends at zero.

What is exchanged is theta alone. Exchanges leave m where it is, and it follows theta with the next steps: so the
averages of agents are as near to one another as their models were, and the exact finish, which comes after the end,
finds them near. Where agents take their steps together sum_i w_i m_i is the average of sum_i w_i theta_i. Where they
don't, an exchange D after which one agent takes k more steps and the other l stands in this sum with the difference
w_i D_i (decay^l - decay^k), which fades. (Moving m by D as well would keep the sum exactly, but then m is theta less
the agent's own last updates, which lead apart on shards that differ: by those of 1 / (1 - decay) local steps.)

An exchange that is lost moves neither theta nor m, and one that is repeated is applied once. A late joiner's average
begins with its own first step. An agent that has ended exchanges its average, also with those that train yet: what
these take of it moves the swarm's mean toward it, what they give moves it toward their models as they are.

While they train, agents publish, save and evaluate theta. At the end the average begins anew, and an agent without a
step since then ends where it is: so one that resumes after its end isn't averaged twice, and one that trains on does so
from its average. An interrupted agent hasn't ended: it goes on with the average that it had.

Source: Polyak and Juditsky, SIAM J. Control Optim. 1992, doi 10.1137/0330046; the correction is Adam's, Kingma and Ba,
ICLR 2015, arXiv 1412.6980.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.learning.rule_names import EMA
from agents.learning.rules import trees
from agents.learning.rules.rule import Rule


class Ema(NamedTuple):
    """inner: the state of what it is around. average: m / (1 - decay^t), a pytree as the params, float32.

    steps: t, float32 scalar.
    """

    inner: Any
    average: Any
    steps: jax.Array


def ema(decay: float) -> Rule:
    """The rule with this decay from one local step to the next, above 0 and below 1."""

    def around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
        def init(params: Any) -> Ema:
            return Ema(optimizer.init(params), trees.zeros(params), jnp.zeros((), jnp.float32))

        def update(gradient: Any, state: Ema, params: Any = None, **more: Any) -> tuple[Any, Ema]:
            updates, inner = optimizer.update(gradient, state.inner, params, **more)
            steps = state.steps + 1
            share = jnp.minimum(1.0, (1 - decay) / -jnp.expm1(math.log(decay) * steps))
            ahead = trees.difference(optax.apply_updates(params, updates), state.average)
            return updates, Ema(inner, trees.plus(state.average, ahead, share), steps)

        return optax.GradientTransformationExtraArgs(init, update)

    return Rule(EMA, ("theta",), around, final=averaged)


def averaged(state: Ema, params: Any) -> tuple[Ema, Any]:
    """The average in place of the params, in their dtypes; of no step, the params."""
    average = jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), state.average, params)
    fresh = state._replace(average=trees.zeros(params), steps=jnp.zeros((), jnp.float32))
    return fresh, trees.chosen(state.steps > 0, average, params)
