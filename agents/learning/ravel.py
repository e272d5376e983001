"""A pytree of arrays as one float32 vector, and back: any pytree, of NumPy's arrays or JAX's, on any device."""

import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.learning.errors import TaskError
from agents.learning.parameters import Parameter, parameters
from agents.learning.task import Params

Vector = np.ndarray[Any, np.dtype[np.float32]]


class Ravel:
    """The layout of `params`: leaves in tree order, one after the other.

    Raises TaskError unless all are float arrays, of one number at least together.

    spec: name, shape and dtype of each. size: of the vector.

    Leaves of less than 32 bits are rounded when they are restored; what rounding took from them is kept here, and is
    part of the vector again the next time. Else differences below half a unit in the last place would be lost. Leaves
    of more bits move by what the vector has moved by, and keep what it can't hold of them.
    """

    def __init__(self, params: Params) -> None:
        named = jax.tree_util.tree_leaves_with_path(params)
        if not named:
            raise TaskError("params must be a pytree of float arrays: got one without arrays")
        for path, leaf in named:
            dtype = leaf.dtype if isinstance(leaf, np.ndarray | jax.Array) else None
            if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                kind = type(leaf).__name__ if dtype is None else f"an array of {dtype}"
                raise TaskError(
                    f"params must be a pytree of float arrays of NumPy or JAX: {name!r} is {kind}; leave it out of "
                    "what is exchanged, or convert it (of PyTorch: tensor.detach().cpu().numpy())"
                )
        self.spec: tuple[Parameter, ...] = parameters(params)
        self._tree = jax.tree.structure(params)
        self._sizes = [int(np.prod(parameter.shape)) for parameter in self.spec]
        self._ends = np.cumsum(self._sizes).tolist()
        self.size = int(self._ends[-1])
        if not self.size:
            raise TaskError("params must hold a number to exchange: got arrays of size 0 alone")
        leaves = jax.tree.leaves(params)
        self._on_device = all(isinstance(leaf, jax.Array) and not _on_cpu(leaf) for leaf in leaves)
        self._reuses = all(isinstance(leaf, np.ndarray) and leaf.dtype == np.float32 for leaf in leaves)
        self._given: list[list[Vector]] = [[] for _ in leaves]
        self._rounded: list[Any] = [None] * len(leaves)

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
            return [np.asarray(_concatenated(leaves, self._rounded))]
        flat = [np.asarray(leaf, np.float32).reshape(-1) for leaf in leaves]
        return [part if lost is None else part + lost for part, lost in zip(flat, self._rounded, strict=True)]

    def fresh(self) -> list[Vector]:
        """Memory for pieces as `parts` makes them, whose values `restore` takes over.

        Of NumPy's params that were given out before and that nobody holds any longer, it is used again: new memory
        costs a page fault for each 4 KiB, which can take longer than all else at a boundary.
        """
        if self._on_device:
            return [np.empty(self.size, np.float32)]
        return [self._reused(k) if self._reuses else np.empty(size, np.float32) for k, size in enumerate(self._sizes)]

    def pieces(self, vector: Vector) -> list[Vector]:
        """A vector (P,) cut into pieces as `parts` makes them."""
        return [vector] if self._on_device else np.split(vector, self._ends[:-1])

    def restore(self, parts: Sequence[Vector], like: Params, moved: bool = True) -> Params:
        """The pytree of these pieces, in the arrays, dtypes and places of `like`.

        It may keep the memory of the pieces. moved: whether they are `like`, moved, so that what leaves of more than
        32 bits hold beyond float32 stays; if not, it stays where they are equal to `like` alone.
        """
        leaves = jax.tree.leaves(like)
        flat = jnp.split(jnp.array(parts[0]), self._ends[:-1]) if self._on_device else parts
        values = [_as(part, leaf, moved) for part, leaf in zip(flat, leaves, strict=True)]
        self._rounded = [_lost(part, value) for part, value in zip(flat, values, strict=True)]
        placed = [_placed(value, leaf) for value, leaf in zip(values, leaves, strict=True)]
        return jax.tree.unflatten(self._tree, placed)

    def _reused(self, leaf: int) -> Vector:
        given = self._given[leaf]
        for vector in given:
            if sys.getrefcount(vector) == UNHELD:
                return vector
        given.append(np.empty(self._sizes[leaf], np.float32))
        del given[:-2]
        return given[-1]


class Ordered(Ravel):
    """The same in another order of coordinates. places (P,): for each of them its place in the order of leaves."""

    def __init__(self, params: Params, places: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        super().__init__(params)
        if places.size != self.size:
            raise TaskError(f"params must be those of the slice, {places.size:,} numbers: got {self.size:,}")
        self._places = places

    def parts(self, params: Params) -> list[Vector]:
        """The vector as one piece, a copy."""
        return [np.concatenate(super().parts(params))[self._places]]

    def fresh(self) -> list[Vector]:
        """Memory for one piece."""
        return [np.empty(self.size, np.float32)]

    def pieces(self, vector: Vector) -> list[Vector]:
        """The vector itself."""
        return [vector]

    def restore(self, parts: Sequence[Vector], like: Params, moved: bool = True) -> Params:
        """The pytree of a vector in this order."""
        flat = np.empty(self.size, np.float32)
        flat[self._places] = parts[0]
        return super().restore(super().pieces(flat), like, moved)


def model_in(params: Params, vectors: Sequence[str]) -> Params:
    """The params that are a model's, of all that are exchanged. vectors: the names of these.

    Raises TaskError where several are named and these aren't a tuple of so many pytrees of the same shapes.
    """
    if len(vectors) == 1:
        return params
    each = params if isinstance(params, tuple | list) else ()
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(part)] for part in each]
    if len(each) != len(vectors) or any(other != shapes[0] for other in shapes):
        raise TaskError(
            f"with vectors {', '.join(vectors)} params must be a tuple of {len(vectors)} pytrees of the same shapes: "
            f"got {shapes or type(params).__name__!s:.80}"
        )
    return params[0]


def _unheld() -> int:
    """References that CPython counts to an array that only a list and a loop over it hold; versions differ."""
    for vector in [np.empty(0)]:
        count = sys.getrefcount(vector)
    return count


UNHELD = _unheld()


def _as(part: Any, leaf: Any, moved: bool) -> Any:
    """These values in the shape and dtype of this leaf."""
    values = part.reshape(leaf.shape)
    if leaf.dtype.itemsize > 4:
        values, wide = np.asarray(values), np.asarray(leaf)
        with np.errstate(over="ignore", invalid="ignore"):  # Where float32 holds no such number, nothing is mixed.
            narrow = wide.astype(np.float32)
            values = np.where(values == narrow, wide, values + (wide - narrow) if moved else values)
    return values.astype(leaf.dtype, copy=False)


def _lost(part: Any, value: Any) -> Any:
    """What rounding took from these values; None where they are kept in 32 bits or more."""
    return None if value.dtype.itemsize >= 4 else part - value.reshape(-1).astype(np.float32)


def _placed(value: Any, leaf: Any) -> Any:
    """The value as an array of the same kind and in the same place as this leaf."""
    return jax.device_put(value, leaf.sharding) if isinstance(leaf, jax.Array) else value


def _on_cpu(leaf: jax.Array) -> bool:
    return all(device.platform == "cpu" for device in leaf.devices())


@jax.jit
def _concatenated(leaves: list[jax.Array], rounded: list[jax.Array | None]) -> jax.Array:
    flat = [leaf.reshape(-1).astype(jnp.float32) for leaf in leaves]
    return jnp.concatenate([part if lost is None else part + lost for part, lost in zip(flat, rounded, strict=True)])
