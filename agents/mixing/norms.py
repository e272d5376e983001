"""The norm of a difference, in one pass that also guards: nothing that isn't finite is ever mixed in."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from topology.errors import GossamerError

Vector = np.ndarray[Any, np.dtype[np.float32]]


class NotFinite(GossamerError, ValueError):
    """A difference that holds NaN or infinity, or is absurdly large: it must not be mixed in."""

    code = "G205"


_ROW = 8192
"""Coordinates in one call of BLAS: few enough that it stays on this thread and leaves the others to training."""


def squared_norm(d: Vector) -> float:
    """|d|^2 of a difference (n,). Raises NotFinite: any NaN or infinity in d makes it not finite."""
    whole = d.size - d.size % _ROW
    rows, rest = d[:whole].reshape(-1, _ROW), d[whole:]
    with np.errstate(over="ignore", invalid="ignore"):
        squared = float(np.vecdot(rows, rows).sum()) + float(np.dot(rest, rest))
    if not math.isfinite(squared):
        raise NotFinite("a difference with NaN, infinity or values beyond 1e19 was not mixed in")
    return squared


EXACT, SAMPLED = 1 << 17, 8
"""Up to so many coordinates a distance is exact; beyond, it is estimated from one row in so many."""


def distance(pieces: Sequence[Vector], whole: Vector) -> float:
    """|pieces, one behind the other, - whole|, where whole is (n,) or longer. NaN or infinity where that is so.

    Of many coordinates an estimate: reading them all once more would double what a boundary costs.
    """
    every = SAMPLED if sum(piece.size for piece in pieces) > EXACT else 1
    squared, read, row, at = 0.0, 0, 0, 0
    scratch = np.empty(min(_ROW, whole.size), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in pieces:
            for start in range(0, piece.size, _ROW):
                part = piece[start : start + _ROW]
                if row % every == 0:
                    d = np.subtract(part, whole[at : at + part.size], out=scratch[: part.size])
                    squared += float(np.dot(d, d))
                    read += part.size
                at += part.size
                row += 1
    return math.sqrt(squared * at / read) if read else 0.0


def finite(values: Vector) -> Vector:
    """The values themselves (n,). Raises NotFinite if one is not."""
    squared_norm(values)
    return values
