"""What a learning rule is: how what exchanges did to the params meets the optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

Exchanged = Callable[[Any, Any, Any], tuple[Any, Any]]


class Rule(NamedTuple):
    """An optax transformation around the optimizer, and what follows for its state from exchanges.

    vectors: the names of the vectors that are exchanged, in the order of the layout; `theta` is the parameters.
    around(optimizer) -> optimizer: with the rule's part in each local step; its state is kept, and saved, as any
        optimizer's is.
    exchanged(state, before, after) -> (state, params): exchanges have moved an agent's params, any pytree, from before
        to after; training goes on from the params that are returned, with this state of `around(optimizer)`. None if
        nothing follows: training goes on from `after`.
    """

    name: str
    vectors: tuple[str, ...]
    around: Callable[[optax.GradientTransformationExtraArgs], optax.GradientTransformationExtraArgs]
    exchanged: Exchanged | None = None
