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

import inspect
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from agents.learning.rules.rule import Rule

HORIZON = 1000
"""Local steps among which the longest is looked for."""


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
    return Rule("drift", ("theta",), _around, partial(_exchanged, gain))


def _around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    probed = _can_be_probed(optimizer)

    def init(params: Any) -> Drift:
        pull = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), params)
        if not probed:
            return Drift(optimizer.init(params), (), pull, jnp.ones((), jnp.float32))
        return Drift(optimizer.init(params), _probe(optimizer), pull, _longest(optimizer))

    def update(gradient: Any, state: Drift, params: Any = None, **more: Any) -> tuple[Any, Drift]:
        updates, inner = optimizer.update(gradient, state.inner, params, **_taken(optimizer, more))
        length, probe = _length(optimizer, state.probe) if probed else (jnp.ones((), jnp.float32), ())
        updates = jax.tree.map(lambda update, pull: update + (length * pull).astype(update.dtype), updates, state.pull)
        return updates, Drift(inner, probe, state.pull, state.longest)

    return optax.GradientTransformationExtraArgs(init, update)


def _exchanged(gain: float, state: Drift, before: Any, after: Any) -> tuple[Drift, Any]:
    share = gain / jnp.where(state.longest > 0, state.longest, 1.0)
    pull = jax.tree.map(lambda h, b, a: h + share * (a - b).astype(jnp.float32), state.pull, before, after)
    return state._replace(pull=pull), after


def _probe(optimizer: optax.GradientTransformationExtraArgs) -> Any:
    return optimizer.init(jnp.zeros((), jnp.float32))


def _length(optimizer: optax.GradientTransformationExtraArgs, probe: Any) -> tuple[jax.Array, Any]:
    """How far the optimizer goes at this step for a gradient of one, and its state after it."""
    one = jnp.ones((), jnp.float32)
    given = _taken(optimizer, {"value": one, "grad": one})
    update, probe = optimizer.update(one, probe, jnp.zeros((), jnp.float32), **given)
    return jnp.abs(update).astype(jnp.float32), probe


def _longest(optimizer: optax.GradientTransformationExtraArgs) -> jax.Array:
    """The largest step, of the first HORIZON, that the optimizer takes for a gradient of one."""

    def step(k: Any, found: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        length, probe = _length(optimizer, found[1])
        return jnp.maximum(found[0], length), probe

    with jax.numpy_dtype_promotion("standard"):  # As a step is taken.
        longest: jax.Array = lax.fori_loop(0, HORIZON, step, (jnp.zeros((), jnp.float32), _probe(optimizer)))[0]
    return longest


def _can_be_probed(optimizer: optax.GradientTransformationExtraArgs) -> bool:
    """Whether the optimizer can be applied to a single number.

    One that is made for a certain pytree, or searches along a line, can't, and may raise anything then: each of its
    steps counts as of length one.
    """
    try:
        jax.eval_shape(lambda: _longest(optimizer))
    except Exception:
        return False
    return True


def _taken(optimizer: optax.GradientTransformationExtraArgs, more: dict[str, Any]) -> dict[str, Any]:
    """Of optax's further arguments, those that the optimizer's update takes."""
    takes = inspect.signature(optimizer.update).parameters
    every = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values())
    return {name: value for name, value in more.items() if every or name in takes}
