"""Tries a rule on shapes alone, so that a fault of one's own shows before anything compiles."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from agents.learning.errors import TaskError, cause
from agents.learning.rules.rule import Rule


def transformed(rule: Rule, optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """The optimizer with the rule's part in each local step. Raises TaskError."""
    try:
        made: Any = rule.around(taking_all(optimizer))
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"around(optimizer) of rule {rule.name!r} failed: {cause(error)}") from error
    if not isinstance(made, optax.GradientTransformation):
        raise TaskError(
            f"around(optimizer) of rule {rule.name!r} must return an optax transformation: got {type(made).__name__}"
        )
    return optax.with_extra_args_support(made)


def taking_all(optimizer: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """The optimizer with an update that takes all of optax's further arguments; its own is given those it takes."""
    takes = inspect.signature(optimizer.update).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values()):
        return optimizer

    def update(gradient: Any, state: Any, params: Any = None, **more: Any) -> tuple[Any, Any]:
        taken: tuple[Any, Any] = optimizer.update(
            gradient, state, params, **{name: value for name, value in more.items() if name in takes}
        )
        return taken

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def check_followed(rule: Rule, transform: optax.GradientTransformationExtraArgs, params: Any) -> None:
    """Raise TaskError unless `rule.exchanged` and `rule.final` keep structure, shapes and dtypes.

    params: shapes of a model's.
    """
    state = jax.eval_shape(transform.init, params)
    if rule.exchanged is not None:
        shared = params if rule.beside is None else (params, *_beside(rule, state, params))
        of = f"exchanged(state, before, after) of rule {rule.name!r}"
        _check_kept(of, rule.exchanged, (state, shared, shared), (state, params))
    if rule.final is not None:
        _check_kept(f"final(state, params) of rule {rule.name!r}", rule.final, (state, params), (state, params))


def _check_kept(expected: str, function: Callable[..., Any], given: tuple[Any, ...], kept: tuple[Any, Any]) -> None:
    """Raise TaskError unless the function of these shapes returns (state, params) like those kept."""
    try:
        found = jax.eval_shape(function, *given)
    except Exception as error:
        raise TaskError(f"{expected} failed: {cause(error)}") from error
    if not isinstance(found, tuple) or len(found) != 2 or _kinds(found) != _kinds(kept):
        raise TaskError(
            f"{expected} must return (state, params) of the structure, shapes and dtypes that it got: got other ones"
        )


def _beside(rule: Rule, state: Any, params: Any) -> Any:
    expected = f"beside(state) of rule {rule.name!r}"
    assert rule.beside is not None
    try:
        found = jax.eval_shape(rule.beside, state)
    except Exception as error:
        raise TaskError(f"{expected} failed: {cause(error)}") from error
    each = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), params)
    if _kinds(found) != _kinds((each,) * (len(rule.vectors) - 1)):
        raise TaskError(
            f"{expected} must return a tuple of {len(rule.vectors) - 1} pytrees of the params' structure and shapes, "
            "float32: got other ones"
        )
    return found


def _kinds(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]
