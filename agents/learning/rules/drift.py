"""The rule "drift": an agent that its neighbors keep pulling in one direction goes that way by itself.

On shards that differ, each agent's steps lead away from what all need, and exchanges bring it back, again and again.
The pull h remembers that, and costs no bytes:

    each local step     theta += optimizer's update + length * share * h
    after exchanges     h += gain / longest * D          D: how far they moved theta
    share               min(1, 1.5 G / |h|)             for each parameter; G^2: mean square of its gradient, lately

length is how far the optimizer goes at this step for a gradient of one, longest the longest of all steps, of which the
first 100,000 are looked at: so h is in the units of a gradient, whatever the optimizer and its schedule are. gain and
longest are the same in all agents of the same schedule, and what exchanges add to one they take from another, so
sum_i w_i h_i stays zero. Where agents agree and none moves any more, each h_i is its own shard's gradient, and these
sum to zero: that is the optimum of all, however fast or slow some are. (Dividing by what each agent itself had gone
since its last exchange looks natural, and moves the mean.)
The share limits what h does, not h: no pull is stronger than 1.5 times the agent's own gradients. At the optimum h is
their mean, which is no longer than G. Without this limit the errors of coarse codecs, which h adds up, grow without end
where agents agree slowly: on a ring, or where some are often away (docs/theory.md 25).
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

TINY = float(jnp.finfo(jnp.float32).tiny)

MOST = 1.5
"""How strong the pull may be, in G: some room for the errors that are in h, so that it goes on where it is right."""

REMEMBERED = 0.99
"""What the mean square of gradients keeps of itself in each local step."""


class Drift(NamedTuple):
    """inner, probe: the optimizer's state, and its state for a parameter of its own whose gradient is one.

    pull: h, a pytree as the params. longest: float32 scalar. squared: for each parameter a float32 scalar, the sum of
    its gradients' squared norms, in which each step fades by REMEMBERED. steps: the sum of the steps' weights in it.
    """

    inner: Any
    probe: Any
    pull: Any
    longest: jax.Array
    squared: Any
    steps: jax.Array


def drift(gain: float, steps: int | None = None) -> Rule:
    """The rule with this gain, of what exchanges move an agent. steps: of the run, None if that isn't known."""
    return Rule(DRIFT, ("theta",), partial(_around, steps), partial(_exchanged, gain))


def _around(
    steps: int | None, optimizer: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The optimizer with the pull added. If it can't be probed, each of its steps counts as of length one."""
    probed = probe.works(optimizer)

    def init(params: Any) -> Drift:
        pull, none, one = trees.zeros(params), jnp.zeros((), jnp.float32), jnp.ones((), jnp.float32)
        started, longest = (probe.start(optimizer), probe.longest(optimizer, steps)) if probed else ((), one)
        return Drift(optimizer.init(params), started, pull, longest, trees.squared_norms(pull), none)

    def update(gradient: Any, state: Drift, params: Any = None, **more: Any) -> tuple[Any, Drift]:
        updates, inner = optimizer.update(gradient, state.inner, params, **more)
        step, probing = probe.step(optimizer, state.probe) if probed else (jnp.ones((), jnp.float32), ())
        length = jnp.abs(step)
        state = _seen(state._replace(inner=inner, probe=probing), updates, length)
        return jax.tree.map(partial(_pulled, length, state.steps), updates, state.pull, state.squared), state

    return optax.GradientTransformationExtraArgs(init, update)


def _seen(state: Drift, updates: Any, length: jax.Array) -> Drift:
    """The state after one more step, whose gradients are the optimizer's updates over its length; none if that is 0."""
    kept = jnp.where(length > 0, REMEMBERED, 1.0)
    gradients = jax.tree.map(lambda update: update / jnp.maximum(length, TINY), updates)
    squared = jax.tree.map(
        lambda old, new: kept * old + (1 - kept) * new, state.squared, trees.squared_norms(gradients)
    )
    return state._replace(squared=squared, steps=kept * state.steps + 1 - kept)


def _pulled(length: jax.Array, steps: jax.Array, update: jax.Array, pull: jax.Array, squared: jax.Array) -> jax.Array:
    """The update of one parameter, with its pull, limited to MOST times the root mean square of its gradients."""
    most = MOST * jnp.sqrt(squared / jnp.maximum(steps, TINY))
    share = jnp.minimum(1.0, most / jnp.maximum(jnp.linalg.norm(pull), TINY))
    return update + (length * share * pull).astype(update.dtype)


def _exchanged(gain: float, state: Drift, before: Any, after: Any) -> tuple[Drift, Any]:
    share = gain / jnp.where(state.longest > 0, state.longest, 1.0)
    return state._replace(pull=trees.plus(state.pull, trees.difference(after, before), share)), after
