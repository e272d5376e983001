"""The rule "noloco": an outer momentum over what local steps and exchanges together did, from one exchange to the next.

NoLoCo's outer step without its second vector. Of one round, from one exchange of an agent to its next:

    R = sum of updates + D          D: how far the exchanges at its end moved theta
    v = momentum * v + R
    theta += momentum * (v before)  with the first local step of the next round

So theta goes from where the round began to that place plus v. Between two agents of equal weights R is the mean of
both updates plus half the difference of where they began: NoLoCo's outer gradient and its pair difference, at one rate,
1, where it has two. Its inner steps start over from the outer params, as here.

What is exchanged is theta alone. What an exchange adds to one agent, w_i D_i, it takes from another, and each D comes
back momentum / (1 - momentum) times as large on both sides, however many rounds each has had, so

    sum_i w_i (theta_i + momentum / (1 - momentum) * (v_i + R_i))      R_i: of the round under way

moves by training alone, exactly. Each round's training counts 1 / (1 - momentum) times in all. An exchange that is lost
makes the round longer, one that is repeated is applied once, and an agent that joins starts with v = 0. With momentum =
0 it is "parameters".

Source: Kolehmainen et al., NoLoCo: No-all-reduce Low Communication Training Method for Large Models, 2025,
arXiv 2506.10911.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.learning.rule_names import NOLOCO
from agents.learning.rules import trees
from agents.learning.rules.rule import Rule


class Noloco(NamedTuple):
    """inner: the state of what it is around. velocity: v; moved: R so far; pytrees as the params, float32.

    ended: whether an exchange has ended the round, and no local step was taken since; a boolean scalar.
    """

    inner: Any
    velocity: Any
    moved: Any
    ended: jax.Array


def noloco(momentum: float) -> Rule:
    """The rule with this outer momentum, at least 0 and below 1."""

    def around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
        def init(params: Any) -> Noloco:
            return Noloco(optimizer.init(params), trees.zeros(params), trees.zeros(params), jnp.zeros((), bool))

        def update(gradient: Any, state: Noloco, params: Any = None, **more: Any) -> tuple[Any, Noloco]:
            updates, inner = optimizer.update(gradient, state.inner, params, **more)
            begins = state.ended.astype(jnp.float32)
            kept = 1 - (1 - momentum) * begins
            velocity = jax.tree.map(lambda v, r: kept * v + begins * r, state.velocity, state.moved)
            moved = trees.plus(jax.tree.map(lambda r: (1 - begins) * r, state.moved), updates)
            updates = trees.plus(updates, state.velocity, momentum * begins)
            return updates, Noloco(inner, velocity, moved, jnp.zeros((), bool))

        return optax.GradientTransformationExtraArgs(init, update)

    return Rule(NOLOCO, ("theta",), around, _exchanged)


def _exchanged(state: Noloco, before: Any, after: Any) -> tuple[Noloco, Any]:
    moved = trees.plus(state.moved, trees.difference(after, before))
    return state._replace(moved=moved, ended=state.ended | trees.differ(after, before)), after
