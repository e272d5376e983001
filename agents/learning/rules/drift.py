"""The rule "drift": an agent that its neighbors keep pulling in one direction goes that way by itself.

On shards that differ, each agent's steps lead away from what all need, and exchanges bring it back, again and again.
The pull h remembers that, and costs no bytes:

    each local step     theta += optimizer's update + length * h
    after exchanges     h += gain / longest * D          D: how far they moved theta

length is how far the optimizer goes at this step for a gradient of one, longest the longest of all steps: so h is in
the units of a gradient, whatever the optimizer and its schedule are. gain and longest are the same in all agents, and
what exchanges add to one they take from another, so sum_i w_i h_i stays zero. Where agents agree and none moves any
more, each h_i is its own shard's gradient, and these sum to zero: that is the optimum of all, however fast or slow some
are. (Dividing by what each agent itself had gone since its last exchange looks natural, and moves the mean.)
An exchange that is lost adds nothing, one that is repeated is applied once, and an agent that joins starts with h = 0.
Of tracking (Di Lorenzo and Scutari 2016, arXiv 1602.00591) it has the aim, without a second vector on the wire.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.learning.rule_names import DRIFT
from agents.learning.rules import probe, trees
from agents.learning.rules.rule import Rule


class Drift(NamedTuple):
    """inner, probe: the optimizer's state, and its state for a parameter of its own whose gradient is one.

    pull: h, a pytree as the params. longest: float32 scalar.
    """

    inner: Any
    probe: Any
    pull: Any
    longest: jax.Array


def drift(gain: float) -> Rule:
    """The rule with this gain, of what exchanges move an agent."""
    return Rule(DRIFT, ("theta",), _around, partial(_exchanged, gain))


def _around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """The optimizer with the pull added. If it can't be probed, each of its steps counts as of length one."""
    probed = probe.works(optimizer)

    def init(params: Any) -> Drift:
        pull = trees.zeros(params)
        if not probed:
            return Drift(optimizer.init(params), (), pull, jnp.ones((), jnp.float32))
        return Drift(optimizer.init(params), probe.start(optimizer), pull, probe.longest(optimizer))

    def update(gradient: Any, state: Drift, params: Any = None, **more: Any) -> tuple[Any, Drift]:
        updates, inner = optimizer.update(gradient, state.inner, params, **more)
        step, probing = probe.step(optimizer, state.probe) if probed else (jnp.ones((), jnp.float32), ())
        updates = trees.plus(updates, state.pull, jnp.abs(step))
        return updates, Drift(inner, probing, state.pull, state.longest)

    return optax.GradientTransformationExtraArgs(init, update)


def _exchanged(gain: float, state: Drift, before: Any, after: Any) -> tuple[Drift, Any]:
    share = gain / jnp.where(state.longest > 0, state.longest, 1.0)
    return state._replace(pull=trees.plus(state.pull, trees.difference(after, before), share)), after
