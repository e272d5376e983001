"""Named arrays in safetensors files that are written whole or not at all, with a checksum of everything in them.

Each array has a checksum of its own, and the metadata, which holds these, one as well: whoever reads a part of a file
has checked that part, and a file that a disk or a crash has altered is an error, never a model.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy knows bfloat16 and its like by name once this is imported
import numpy as np

from agents.durable import replacing
from agents.mixing.layout import unique

Array = np.ndarray[Any, Any]
Vector = np.ndarray[Any, np.dtype[np.float32]]

Parameters = Sequence[tuple[str, tuple[int, ...]]]
"""Name and shape of each parameter, in the order in which theta holds them."""

RESERVED = frozenset({"", "__metadata__"})
"""Names that the format, or those who read it, can't do with."""


CHECKSUM, CHECKSUMS = "sha256", "sha256 of arrays"
"""In a file's metadata: that of all other metadata, and those of the arrays by name."""


def write_safetensors(
    path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str], keep: int | None = None
) -> None:
    """Write arrays atomically. keep: how many files there are then, older ones included, as `replacing` takes it.

    Raises OSError.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    try:
        with replacing(path, keep) as fresh:
            save_file(arrays, fresh, with_checksums(arrays, metadata))
    except SafetensorError as error:
        raise OSError(f"can't write {path}: {error}") from None


def with_checksums(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file of these arrays, with the checksums by which `Tensors` checks what it reads."""
    whole = dict(metadata) | {CHECKSUMS: json.dumps({name: checksum(array) for name, array in arrays.items()})}
    return whole | {CHECKSUM: _of_texts(whole)}


class Tensors:
    """An open file. metadata: what was given to `write_safetensors`. checked: whether the file holds checksums.

    Everything read is checked, and raises OSError if it isn't what was written.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.metadata: dict[str, str] = dict(file.metadata() or {})
        claimed = self.metadata.pop(CHECKSUM, None)
        self.checked = claimed is not None
        if self.checked and claimed != _of_texts(self.metadata):
            raise OSError("its metadata isn't what was written: the checksum differs")
        self._sums: dict[str, str] = dict(of_json(self.metadata.pop(CHECKSUMS, "{}")))

    def names(self) -> list[str]:
        """Of all arrays."""
        return list(self._file.keys())

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an array; not checked before the array is read."""
        return tuple(self._file.get_slice(name).get_shape())

    def array(self, name: str) -> Array:
        """The array of this name."""
        try:
            found: Array = self._file.get_tensor(name)
        except AttributeError as error:  # safetensors has dtypes that NumPy hasn't.
            raise OSError(f"{name} is of a dtype that can't be read: {error}") from None
        if self.checked and self._sums.get(name) != checksum(found):
            raise OSError(f"{name} isn't what was written: the checksum differs")
        return found


@contextmanager
def opened(path: Path) -> Iterator[Tensors]:
    """The file, to read arrays and metadata. Raises OSError, also for what is no such file or was altered."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            yield Tensors(file)
    except SafetensorError as error:
        raise OSError(str(error)) from None


def of_json(text: str) -> Any:
    """What a text of a file's metadata says in JSON. Raises ValueError, also where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its metadata is nested too deeply") from None


def checksum(array: Array) -> str:
    """Of an array's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _of_texts(texts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode()).hexdigest()


def named(theta: Vector, parameters: Parameters) -> tuple[dict[str, Array], list[tuple[str, list[int]]]]:
    """theta (P,) cut into its parameters by name, as views; and their names and shapes in theta's order.

    Names are made unique: what two parameters are called alike is distinguished by a number.
    """
    arrays: dict[str, Array] = {}
    order, start = [], 0
    for key, (_, shape) in zip(unique((name for name, _ in parameters), RESERVED), parameters, strict=True):
        stop = start + prod(shape)
        arrays[key] = theta[start:stop].reshape(shape)
        order.append((key, list(shape)))
        start = stop
    if start != theta.size:
        raise ValueError(f"parameters of {start} coordinates in all need a theta of as many: got {theta.size}")
    return arrays, order


def raw(array: Array) -> Array:
    """The array, as bytes (*shape, itemsize) if the format doesn't know its dtype."""
    array = np.asarray(array)
    if array.dtype.isbuiltin == 1 and array.dtype.kind in "biuf":
        return array
    return np.ascontiguousarray(array).reshape(*array.shape, 1).view(np.uint8)


def cooked(array: Array, dtype: str) -> Array:
    """The inverse of `raw`. dtype: of the array that went in, "" if it is the file's."""
    return array if dtype in ("", str(array.dtype)) else array.view(np.dtype(dtype))[..., 0]


def joined(arrays: Iterable[Array], size: int) -> Vector:
    """theta (P,), from its parameters in order, of which one at a time is in memory."""
    theta = np.empty(size, np.float32)
    start = 0
    for array in arrays:
        theta[start : start + array.size] = array.reshape(-1)
        start += array.size
    return theta
