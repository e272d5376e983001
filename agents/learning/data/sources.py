"""Datasets by rows: what a field must offer, and arrays too large to load, read block by block from a stream."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, TypeAlias

import numpy as np

from agents.learning.errors import TaskError, cause
from topology.errors import GossamerError

DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile)
Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Rows(Protocol):
    """All that a field of a dataset must offer: NumPy arrays, memory maps, h5py and our file readers do."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, ...)."""
        ...

    @property
    def dtype(self) -> Any:
        """What `numpy.dtype` accepts."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """The given rows: a slice, or an increasing array of integers."""


Dataset: TypeAlias = Mapping[str, Rows]


def samples(data: Dataset) -> int:
    """How many samples a dataset holds."""
    return next(iter(data.values())).shape[0]


def load_rows(data: Dataset, rows: Array | slice) -> dict[str, Array]:
    """The given rows, a slice or increasing integers, of every field, as NumPy arrays. Raises TaskError."""
    return {name: _read(name, field, rows) for name, field in data.items()}


def _read(name: str, field: Rows, rows: Array | slice) -> Array:
    try:
        return np.asarray(field[rows])
    except GossamerError:
        raise
    except Exception as error:
        raise TaskError(f"the data's field {name!r} failed to give its rows: {cause(error)}") from error


@dataclass(frozen=True)
class StreamedRows:
    """An array in a file, by rows: `rows[slice or increasing integers]` reads no further than the last row asked for.

    open: a stream that stands at the first row, in C order. source: what an error calls it.
    """

    open: Callable[[], IO[bytes]]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    source: str
    block_bytes: int = 1 << 20

    def __getitem__(self, rows: slice | Array) -> Array:
        wanted = increasing(rows, self.shape[0])
        found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        block_rows = max(1, self.block_bytes // max(row_bytes, 1))
        end = wanted[-1] + 1 if len(wanted) else 0
        with self.open() as stream:
            for start in range(0, end, block_rows):
                count = min(block_rows, end - start)
                first, last = np.searchsorted(wanted, (start, start + count))
                block = self._read(stream, count * row_bytes)
                if first < last:
                    values = np.frombuffer(block, self.dtype).reshape(count, *self.shape[1:])
                    found[first:last] = values[wanted[first:last] - start]
        return found

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        try:
            block = stream.read(size)
        except DAMAGED as error:
            raise TaskError(f"{self.source} is damaged ({error}): fetch it again") from error
        if len(block) < size:
            raise TaskError(f"{self.source} must hold {self.shape[0]} samples: it ends before that; fetch it again")
        return block


@dataclass(frozen=True)
class ChosenRows:
    """A part of an array, by rows, in another dtype if need be.

    base: any array-like. chosen: increasing integers (m,).
    """

    base: Rows
    chosen: Array
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, ...)."""
        return (len(self.chosen), *self.base.shape[1:])

    def __getitem__(self, rows: slice | Array) -> Array:
        return np.asarray(self.base[self.chosen[increasing(rows, len(self.chosen))]], self.dtype)


def increasing(rows: slice | Array, count: int) -> Array:
    """Rows as strictly increasing integers of range(count). Raises IndexError for any others."""
    wanted = np.arange(count)[rows] if isinstance(rows, slice) else np.asarray(rows)
    inside = wanted.ndim == 1 and (not wanted.size or (wanted[0] >= 0 and wanted[-1] < count))
    if not inside or np.any(np.diff(wanted) <= 0):
        raise IndexError(f"rows must be a slice or increasing integers from 0 to {count - 1}: got {rows!r:.60}")
    return wanted
