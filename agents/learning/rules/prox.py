"""The rule "prox": local steps are pulled back toward where the last exchange left the agent, as by a spring.

FedProx's proximal term, with the agent's own params after its last exchange in place of a server's model:

    each local step     gradient += mu * (theta - anchor)
    after exchanges     anchor = theta, as they left it

What is exchanged is theta alone, as without the rule, and exchanges are not changed: the term is part of training. It
keeps agents whose shards differ nearer to each other while they don't exchange; where they exchange at each local step
it does nothing, as theta - anchor is zero then. `moved`, the sum of updates since the last exchange, stands for theta -
anchor: so an agent that joins late and adopts a model starts with zero, not with a pull toward its untrained one. An
exchange that is lost leaves the anchor where it was, and a repeated one is applied once. With mu = 0 it is
"parameters".

Source: Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020, arXiv 1812.06127.
"""

from typing import Any, NamedTuple

import optax

from agents.learning.rule_names import PROX
from agents.learning.rules import trees
from agents.learning.rules.rule import Rule


class Prox(NamedTuple):
    """inner: the state of what it is around. moved: theta - anchor, a pytree as the params, float32."""

    inner: Any
    moved: Any


def prox(mu: float) -> Rule:
    """The rule with this weight of the proximal term, mu / 2 * |theta - anchor|^2."""

    def around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
        def init(params: Any) -> Prox:
            return Prox(optimizer.init(params), trees.zeros(params))

        def update(gradient: Any, state: Prox, params: Any = None, **more: Any) -> tuple[Any, Prox]:
            pulled = trees.plus(gradient, state.moved, mu)
            updates, inner = optimizer.update(pulled, state.inner, params, **more)
            return updates, Prox(inner, trees.plus(state.moved, updates))

        return optax.GradientTransformationExtraArgs(init, update)

    return Rule(PROX, ("theta",), around, _exchanged)


def _exchanged(state: Prox, before: Any, after: Any) -> tuple[Prox, Any]:
    moved = trees.chosen(trees.differ(after, before), trees.zeros(after), state.moved)
    return state._replace(moved=moved), after
