"""Named arrays in safetensors files that are written whole or not at all.

A file is written into a folder beside it, flushed, and moved to its place, so a crash leaves the old one or the new
one, never half; what a killed process left in that folder goes with the next write, or with `clean`.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy knows bfloat16 and its like by name once this is imported
import numpy as np

Array = np.ndarray[Any, Any]
Vector = np.ndarray[Any, np.dtype[np.float32]]

Parameters = Sequence[tuple[str, tuple[int, ...]]]
"""Name and shape of each parameter, in the order in which theta holds them."""

RESERVED = frozenset({"", "__metadata__"})
"""Names that the format, or those who read it, can't do with."""


def write_safetensors(path: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays atomically, with the permissions that any new file gets. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    clean(path)
    folder = _beside(path)
    folder.mkdir()
    try:
        fresh = folder / path.name
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, fresh, dict(metadata))
        fresh.chmod(folder.stat().st_mode & 0o666)  # safetensors lets nobody else read, whatever the umask says.
        with open(fresh, "rb+") as file:
            os.fsync(file.fileno())
        fresh.replace(path)
    except SafetensorError as error:
        raise OSError(f"can't write {path}: {error}") from None
    finally:
        clean(path)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as safetensors opens it, to read arrays and metadata. Raises OSError, also for what is no such file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            yield file
    except SafetensorError as error:
        raise OSError(str(error)) from None


def clean(path: Path) -> None:
    """Remove what is left of a write of this file that never came to its end."""
    shutil.rmtree(_beside(path), ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def named(theta: Vector, parameters: Parameters) -> tuple[dict[str, Array], list[tuple[str, list[int]]]]:
    """theta (P,) cut into its parameters by name, as views; and their names and shapes in theta's order.

    Names are made unique: what two parameters are called alike is distinguished by a number.
    """
    arrays: dict[str, Array] = {}
    order, start = [], 0
    for name, shape in parameters:
        key, number = name, 0
        while key in arrays or key in RESERVED:
            number += 1
            key = f"{name or 'parameter'}#{number}"
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
