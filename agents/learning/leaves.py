"""The state of an optimizer as plain arrays, to be saved, and back: random keys, bfloat16 and counters included."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from topology.errors import GossamerError


class StateError(GossamerError, ValueError):
    """A saved state is of another optimizer. One line: what was expected, what came, what to do."""

    code = "G203"


def to_arrays(state: Any) -> list[np.ndarray]:
    """The leaves in tree order; of a random key its data."""
    return [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in jax.tree.leaves(state)]


def from_arrays(state: Any, arrays: list[np.ndarray]) -> Any:
    """A state like this one, with these leaves. Raises StateError if they don't fit it."""
    leaves, tree = jax.tree.flatten(state)
    expected, came = [_described(leaf) for leaf in to_arrays(state)], [_described(array) for array in arrays]
    if expected != came:
        differing = next((pair for pair in zip(expected, came, strict=False) if pair[0] != pair[1]), ("", ""))
        which = f"{differing[0]} where {differing[1]} was saved" if differing[0] else "another number of them"
        raise StateError(
            f"the checkpoint is of another optimizer: it saved {len(came)} arrays, this one keeps {len(expected)}, "
            f"{which}; train on with the optimizer it was trained with, or give another --run-dir to start anew"
        )
    restored = [
        jax.random.wrap_key_data(jax.device_put(array), impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array
        for leaf, array in zip(leaves, arrays, strict=True)
    ]
    return jax.tree.unflatten(tree, jax.device_put(restored))


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _described(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
