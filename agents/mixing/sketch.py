"""A sketch of a vector: 256 numbers from which distances between vectors are estimated (docs/theory.md 32).

Rows of 256 coordinates get random signs, are rotated by random shifts and summed, so that the mean of |S x|^2 over
seeds is |x|^2. S is linear: the distance of two sketches estimates that of their vectors, to some 4%. Signs repeat
after a million coordinates, and rows of a large model are summed a few at a time before they are rotated.

Live vectors are summed in float64 and sent in float32, so that two sketches are as exact as the two models themselves:
agents that agree but for the last bit of each coordinate are about 3e-8 of their norm apart, in sketches as in truth.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Array = Any  # of whichever namespace x.__array_namespace__() names
Vector = np.ndarray[Any, np.dtype[np.float32]]

BUCKETS = 256
"""Numbers in a sketch."""

SKETCH_BYTES = 4 * BUCKETS
"""What a sketch takes on the wire."""

TILE = 1024
"""Rows summed at a time: 1 MiB of float32 stays in a processor's cache."""

SIGNED = 4096
"""Rows with signs of their own."""

TOGETHER, ROTATIONS = 16, 1024
"""Rows that share a shift, at most; there are so many shifts at least before any rows share one."""


class Plan(NamedTuple):
    """S of a run, for vectors of one size. signs: float32 (rows, BUCKETS), repeated. shifts: uint8 (groups,).

    tile: rows summed at a time. together: rows that share a shift.
    """

    size: int
    tile: int
    together: int
    signs: Array
    shifts: Array


@lru_cache(maxsize=8)
def plan_of(seed: int, size: int) -> Plan:
    """S for vectors (size,) of a run of this seed: the same for all agents, whatever their machines."""
    rows = max(1, -(-size // BUCKETS))
    tile = min(TILE, rows)
    together = 1
    while together < TOGETHER and 2 * together * ROTATIONS <= rows:
        together *= 2
    tiles = -(-rows // tile)
    signed = min(SIGNED, tiles * tile)
    bits = np.unpackbits(_drawn(seed, 0, signed * BUCKETS // 8)).reshape(signed, BUCKETS)
    signs = 1 - 2 * bits.astype(np.float32)
    return Plan(size, tile, together, signs, _drawn(seed, 1, tiles * tile // together))


def sketch(plan: Plan, theta: Array) -> Array:
    """S theta: (..., size) -> (..., BUCKETS), in float64 of NumPy's arrays, else in their own type."""
    width = plan.tile * BUCKETS
    total: Array = 0.0
    for tile in range(-(-plan.size // width)):
        part = theta[..., tile * width : (tile + 1) * width]
        total = total + _summed(plan, tile, _filled(part, width))
    return total


def sketch_of(plan: Plan, pieces: Iterable[tuple[int, Vector]]) -> Vector:
    """The sketch, (BUCKETS,), of a vector given as (where it begins, (n,)) in order; 0 where no piece is."""
    total = np.zeros(BUCKETS)
    for tile, values in _tiles(plan, pieces):
        total += _summed(plan, tile, values)
    return total.astype(np.float32)


def pack(values: Vector) -> bytes:
    """A sketch as it is sent: SKETCH_BYTES."""
    return values.astype("<f4").tobytes()


def unpack(payload: Any) -> Vector:
    """The sketch in these bytes, (BUCKETS,). Raises ValueError for what is none."""
    if len(payload) != SKETCH_BYTES:
        raise ValueError(f"a sketch has {SKETCH_BYTES} bytes: got {len(payload)}")
    values = np.frombuffer(payload, "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("a sketch with NaN or infinity was left out")
    return values


def _drawn(seed: int, stream: int, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Random bytes: raw output, which no version of NumPy changes."""
    words = np.random.PCG64(np.random.SeedSequence((seed % 2**64, stream))).random_raw(-(-count // 8))
    return words.astype("<u8").view(np.uint8)[:count]


def _summed(plan: Plan, tile: int, values: Array) -> Array:
    """What one tile, (..., tile * BUCKETS), adds to the sketch, (..., BUCKETS)."""
    xp = values.__array_namespace__()
    ahead, groups = values.shape[:-1], plan.tile // plan.together
    first = tile * plan.tile % plan.signs.shape[0]
    signs = plan.signs[first : first + plan.tile].reshape((1,) * len(ahead) + (plan.tile, BUCKETS))
    rows = values.reshape(*ahead, plan.tile, BUCKETS) * xp.asarray(signs)
    if plan.together > 1:
        rows = rows.reshape(*ahead, groups, plan.together, BUCKETS).sum(axis=-2)
    shifts = plan.shifts[tile * groups : (tile + 1) * groups].astype(np.int32)
    buckets = (np.arange(BUCKETS, dtype=np.int32) - shifts[:, None]) % BUCKETS
    rotated = rows[..., np.arange(groups)[:, None], buckets]
    return rotated.sum(axis=-2, dtype=np.float64) if isinstance(values, np.ndarray) else rotated.sum(axis=-2)


def _filled(part: Array, width: int) -> Array:
    """(..., n) with zeros behind it, (..., width)."""
    if part.shape[-1] == width:
        return part
    xp = part.__array_namespace__()
    return xp.concat([part, xp.zeros((*part.shape[:-1], width - part.shape[-1]), part.dtype)], axis=-1)


def _tiles(plan: Plan, pieces: Iterable[tuple[int, Vector]]) -> Iterator[tuple[int, Vector]]:
    """The tiles that these pieces touch, in order; the memory of one is that of the next."""
    width = plan.tile * BUCKETS
    now, held = -1, np.zeros(width, np.float32)
    for begin, piece in pieces:
        at = 0
        while at < piece.size:
            tile, offset = divmod(begin + at, width)
            if tile != now:
                if now >= 0:
                    yield now, held
                now = tile
                held[:] = 0
            taken = min(width - offset, piece.size - at)
            held[offset : offset + taken] = piece[at : at + taken]
            at += taken
    if now >= 0:
        yield now, held
