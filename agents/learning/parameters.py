"""The parameters of a model: a pytree of float32 arrays, whose names, shapes and order are those of theta."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Parameter(NamedTuple):
    """One array of the params, in the order of theta."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def parameters(params: Any) -> tuple[Parameter, ...]:
    """The arrays of params, or of their shapes, in ravel order."""
    return tuple(
        Parameter(jax.tree_util.keystr(path, simple=True, separator="/"), tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    )


def hash_of(spec: Sequence[Parameter]) -> str:
    """sha256 over names, shapes and dtypes: models with the same can be exchanged."""
    return hashlib.sha256(json.dumps(spec).encode()).hexdigest()


def in_float32(params: Any) -> Any:
    """Params in float32, also where 64-bit JAX made float64 of arrays without a dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
