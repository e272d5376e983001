"""A pytree of arrays as one float32 vector, and back: any pytree, of NumPy's arrays or JAX's, on any device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.errors import TaskError
from agents.learning.parameters import Parameter, hash_of, parameters
from agents.learning.task import Params

Vector = np.ndarray[Any, np.dtype[np.float32]]


class Ravel:
    """The layout of `params`: leaves in tree order, one after the other. Raises TaskError unless all are float arrays.

    spec: name, shape and dtype of each; spec_hash: equal for pytrees that can be exchanged. size: of the vector.
    """

    def __init__(self, params: Params) -> None:
        named = jax.tree_util.tree_leaves_with_path(params)
        if not named:
            raise TaskError("params must be a pytree of float arrays: got one without arrays")
        for path, leaf in named:
            dtype = getattr(leaf, "dtype", None)
            if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                kind = type(leaf).__name__ if dtype is None else dtype
                raise TaskError(
                    f"params must be a pytree of float arrays: {name!r} is {kind}; exchange it not, or cast it"
                )
        self.spec: tuple[Parameter, ...] = parameters(params)
        self.spec_hash = hash_of(self.spec)
        self._tree = jax.tree.structure(params)
        self._ends = np.cumsum([int(np.prod(parameter.shape)) for parameter in self.spec]).tolist()
        self.size = int(self._ends[-1])
        leaves = jax.tree.leaves(params)
        self._on_device = all(isinstance(leaf, jax.Array) and not _on_cpu(leaf) for leaf in leaves)

    def parts(self, params: Params) -> list[Vector]:
        """The vector as pieces, in order, each flat, without a copy where the leaves lie in this machine's memory.

        Raises TaskError if the pytree is another than the one this layout was made of.
        """
        leaves, tree = jax.tree.flatten(params)
        if tree != self._tree:  # type: ignore[operator]
            raise TaskError(f"params must stay the same pytree: expected {self._tree}, got {tree}")
        for leaf, parameter in zip(leaves, self.spec, strict=True):
            if np.shape(leaf) != parameter.shape:
                raise TaskError(f"{parameter.name!r} must keep its shape {parameter.shape}: got {np.shape(leaf)}")
        if self._on_device:  # One transfer instead of one for each leaf.
            return [np.asarray(_concatenated(leaves))]
        return [np.asarray(leaf, np.float32).reshape(-1) for leaf in leaves]

    def restore(self, vector: Vector, like: Params) -> Params:
        """The pytree of this vector (P,), a copy of it, in the arrays, dtypes and places of `like`."""
        if self._on_device:
            return jax.tree.unflatten(self._tree, _placed(jnp.array(vector), jax.tree.leaves(like), self._ends))
        starts = [0, *self._ends[:-1]]
        leaves = [
            _as(vector[start:end].reshape(leaf.shape), leaf)
            for start, end, leaf in zip(starts, self._ends, jax.tree.leaves(like), strict=True)
        ]
        return jax.tree.unflatten(self._tree, leaves)


def _as(values: Vector, leaf: Any) -> Any:
    """A copy of these values as an array like this leaf."""
    fresh = np.array(values, leaf.dtype)
    return jax.device_put(fresh, leaf.sharding) if isinstance(leaf, jax.Array) else fresh


def _on_cpu(leaf: jax.Array) -> bool:
    return all(device.platform == "cpu" for device in leaf.devices())


@jax.jit
def _concatenated(leaves: list[jax.Array]) -> jax.Array:
    return jnp.concatenate([leaf.reshape(-1).astype(jnp.float32) for leaf in leaves])


def _placed(vector: jax.Array, like: list[jax.Array], ends: list[int]) -> list[jax.Array]:
    parts = jnp.split(vector, ends[:-1])
    return [
        jax.device_put(part.reshape(leaf.shape).astype(leaf.dtype), leaf.sharding)
        for part, leaf in zip(parts, like, strict=True)
    ]
