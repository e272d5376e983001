"""What a learning rule is: an (init, update) pair with explicit state, as an optax transformation is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """How exchanges meet the optimizer.

    vectors: the names of the vectors that are exchanged, in the order of the layout; `theta` is the parameters.
    init(params) -> state: for an agent that starts with these params.
    update(state, before, after) -> (state, params): exchanges have changed an agent's params, any pytree, from before
        to after; training goes on from the params that are returned. Called at boundaries where anything came.
    """

    name: str
    vectors: tuple[str, ...]
    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], tuple[Any, Any]]
