"""What rules do to pytrees of the params' shapes: sums in float32, whatever the params are kept in."""

from typing import Any

import jax
import jax.numpy as jnp


def zeros(params: Any) -> Any:
    """Float32 zeros of the params' shapes."""
    return jax.tree.map(lambda leaf: jnp.zeros(jnp.shape(leaf), jnp.float32), params)


def difference(after: Any, before: Any) -> Any:
    """By how much exchanges moved each parameter, in float32."""
    return jax.tree.map(lambda a, b: (a - b).astype(jnp.float32), after, before)


def plus(total: Any, more: Any, share: Any = 1.0) -> Any:
    """total + share * more, leaf by leaf, each kept in the dtype that it has in `total`."""
    return jax.tree.map(lambda t, m: t + (share * m).astype(t.dtype), total, more)


def squared_norms(tree: Any) -> Any:
    """Each leaf's squared norm, a float32 scalar."""
    return jax.tree.map(lambda leaf: jnp.sum(jnp.square(leaf.astype(jnp.float32))), tree)


def chosen(which: jax.Array, one: Any, other: Any) -> Any:
    """The one pytree where a boolean scalar is true, else the other."""
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), one, other)


def differ(after: Any, before: Any) -> jax.Array:
    """Whether exchanges moved anything: a boolean scalar."""
    pairs = zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True)
    return jnp.any(jnp.stack([jnp.any(a != b) for a, b in pairs]))
