"""The rule "accelerated": agreement on a fixed graph in about the square root of the rounds, for no bytes.

Each agent keeps a momentum u of what exchanges do to it, zero at first:

    after exchanges     u += (boost - 1) * D            D: how far they moved theta
                        theta += share * u
                        u *= 1 - 2 share                share = (1 - exp(-1 / (2 boost))) / 2

boost is 0.85 / sqrt(gap) (`boost_on`), where an expected round leaves 1 - gap in the slowest direction. With z = theta
+ u this is A2CiD2 (Nabli, Belilovsky and Oyallon 2023, arXiv 2306.08289, after Even et al. 2021, arXiv 2106.07644), an
asynchronous form of Chebyshev's iteration: z takes boost times what an exchange gives theta, and the two flow into each
other, a step for each time that something came. Half the share and 0.85 of the boost of the paper leave a margin: with
all of the share and 1.4 of the boost agents diverge.

What exchanges add to one agent they take from another, and what theta gets z gives, so sum_i w_i (2 theta_i + u_i)
stays where it was but for training, and at agreement u is zero. An exchange that is lost adds nothing, one that is
repeated is applied once, and an agent that joins starts with u = 0.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import optax

from agents.learning.rule_names import ACCELERATED
from agents.learning.rules import trees
from agents.learning.rules.rule import Rule


class Accelerated(NamedTuple):
    """inner: the optimizer's state. momentum: u, a pytree as the params."""

    inner: Any
    momentum: Any


def accelerated(boost: float) -> Rule:
    """The rule with this boost; with a boost of 1 it is `parameters`."""
    return Rule(ACCELERATED, ("theta",), _around, partial(_exchanged, boost))


def _around(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> Accelerated:
        return Accelerated(optimizer.init(params), trees.zeros(params))

    def update(gradient: Any, state: Accelerated, params: Any = None, **more: Any) -> tuple[Any, Accelerated]:
        updates, inner = optimizer.update(gradient, state.inner, params, **more)
        return updates, state._replace(inner=inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _exchanged(boost: float, state: Accelerated, before: Any, after: Any) -> tuple[Accelerated, Any]:
    share = (1 - math.exp(-1 / (2 * boost))) / 2
    momentum = trees.plus(state.momentum, trees.difference(after, before), boost - 1)
    params = trees.plus(after, momentum, share)
    return state._replace(momentum=jax.tree.map(lambda u: (1 - 2 * share) * u, momentum)), params
