"""The rule "quasi": quasi-global momentum, of what an agent and its neighbors did together, not of its steps alone.

The optimizer's momentum m, as `optax.trace` keeps it, is set after exchanges, from the last time they came to now:

    d = (theta then - theta now) / total length of the local steps between
    m = decay * (m then) + (1 - decay) * d

theta now is as exchanges left it, so d is the direction in which neighbors went as well, in units of m. Local steps go
on from that m as the optimizer does; with one between two exchanges this is QG-DSGDm. An agent whose shard is unlike
the others' no longer gathers speed along its own gradient. Beside other rules theta is moved by these too, which m
leaves out: it counts what the optimizer and exchanges did.

What is exchanged is theta alone: m costs no bytes, and exchanges are not changed. An exchange that is lost leaves m to
the optimizer, one that is repeated is applied once, and an agent that joins starts with the optimizer's m, zero. The
length of a step is found as in the rule "drift". Optimizers without momentum, or with one that is no `optax.trace`, as
Adam's, are refused. With decay = 1 nothing that exchanges did would ever enter m, so it is below that.

Source: Lin et al., Quasi-Global Momentum, ICML 2021, arXiv 2102.04761.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.learning.rule_names import QUASI
from agents.learning.rules import probe, traces, trees
from agents.learning.rules.rule import Rule


class Quasi(NamedTuple):
    """inner, probe: the optimizer's state, and its state for a parameter of its own whose gradient is one.

    momentum: m when exchanges came last, moved: theta - theta then; pytrees as the params, float32. length: of the
    steps since, float32 scalar, by which m is multiplied to give updates: so it is negative.
    """

    inner: Any
    probe: Any
    momentum: Any
    moved: Any
    length: jax.Array


def quasi(decay: float) -> Rule:
    """The rule with this decay of the momentum from one exchange to the next."""
    return Rule(QUASI, ("theta",), _around, partial(_exchanged, decay))


def _around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """Raises TaskError unless the optimizer has one momentum, of `optax.trace`, and can be probed."""
    traces.check(QUASI, optimizer)

    def init(params: Any) -> Quasi:
        nothing = jnp.zeros((), jnp.float32)
        return Quasi(optimizer.init(params), probe.start(optimizer), trees.zeros(params), trees.zeros(params), nothing)

    def update(gradient: Any, state: Quasi, params: Any = None, **more: Any) -> tuple[Any, Quasi]:
        updates, inner = optimizer.update(gradient, state.inner, params, **more)
        step, probing = probe.step(optimizer, state.probe)
        (trace,) = traces.of(probing)
        length = step / jnp.where(trace == 0, 1.0, trace).astype(jnp.float32)
        return updates, Quasi(inner, probing, state.momentum, trees.plus(state.moved, updates), state.length + length)

    return optax.GradientTransformationExtraArgs(init, update)


def _exchanged(decay: float, state: Quasi, before: Any, after: Any) -> tuple[Quasi, Any]:
    moved = trees.plus(state.moved, trees.difference(after, before))
    came = trees.differ(after, before) & (state.length != 0)
    share = (1 - decay) / jnp.where(came, state.length, 1.0)
    momentum = jax.tree.map(lambda m, r: decay * m + share * r, state.momentum, moved)
    inner = traces.replaced(state.inner, lambda trace: trees.chosen(came, momentum, trace))
    return Quasi(
        inner,
        state.probe,
        trees.chosen(came, momentum, state.momentum),
        trees.chosen(came, trees.zeros(moved), moved),
        jnp.where(came, 0.0, state.length),
    ), after
