"""The momentum that an optimizer keeps, as `optax.trace` does: found in its state, and replaced."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from agents.learning.errors import TaskError
from agents.learning.rules import probe


def check(rule: str, optimizer: optax.GradientTransformationExtraArgs) -> None:
    """Raise TaskError unless the optimizer has one such momentum, and can be applied to a single number."""
    if not probe.works(optimizer) or len(of(jax.eval_shape(lambda: probe.start(optimizer)))) != 1:
        raise TaskError(
            f"rule {rule} sets the optimizer's momentum, and needs one with a single optax.trace, such as momentum or "
            "optax.sgd(rate, momentum=0.9): this one has none, or can't be applied to a single number"
        )


def of(state: Any) -> list[Any]:
    """Each momentum in an optimizer's state."""
    return [leaf.trace for leaf in jax.tree.leaves(state, is_leaf=_is_trace) if _is_trace(leaf)]


def replaced(state: Any, changed: Callable[[Any], Any]) -> Any:
    """The state with what `changed` makes of its momentum, in the dtypes that it had."""

    def one(leaf: Any) -> Any:
        if not _is_trace(leaf):
            return leaf
        return leaf._replace(
            trace=jax.tree.map(lambda new, old: new.astype(old.dtype), changed(leaf.trace), leaf.trace)
        )

    return jax.tree.map(one, state, is_leaf=_is_trace)


def _is_trace(state: Any) -> bool:
    return isinstance(state, optax.TraceState)
