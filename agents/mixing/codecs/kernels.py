"""Lattice coding's loops over the coordinates of one chunk, compiled for this machine's processor.

The array functions of `lattice` are the definition, and what the simulator compiles. These find the same bits for one
chunk of NumPy's, in one pass over memory where NumPy makes about ten, and without Python's global lock: meanwhile
training goes on. Machine code is kept beside this file or in the user's cache: each machine compiles once, for 3 s.

    theta (G, BLOCK) float32    step, shifts (G,) float32    dither (BLOCK,) float32    factors (BLOCK,) uint32
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numpy import float32, floor, int32, uint16, uint32

from agents.mixing.codecs.lattice_code import BLOCK, kinds

Array = Any

MAGNITUDE, INFINITE = uint32(0x7FFFFFFF), uint32(0x7F800000)
"""The bits of a float32 but its sign, which read as a whole number grow with its magnitude; and those of infinity."""


def _read(kind: Any, dimensions: int) -> Any:
    return types.Array(kind, dimensions, "C", readonly=True)


def _written(kind: Any, dimensions: int) -> Any:
    return types.Array(kind, dimensions, "C")


def _compiled(*signatures: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for these types of arguments when it is defined, or read what was compiled before."""

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        types_of_arguments: Any = [*signatures]
        try:
            found: Callable[..., Any] = njit(types_of_arguments, cache=True, nogil=True, error_model="numpy")(function)
        except Exception:  # Nowhere to write, a full disk or a damaged file: only what is wrong here is raised below.
            found = njit(types_of_arguments, nogil=True, error_model="numpy")(function)
        return found

    return compile_it


F, U = types.float32, types.uint32
KINDS = (types.uint8, types.int8), (types.uint16, types.int16)
"""Of residues and of w, as `kinds` has them."""

PLACES = _read(F, 2), _read(F, 1), _read(F, 1), _read(F, 1), _read(U, 1)
"""What a place on a lattice and its checksum depend on: theta, 1 / step, shifts, dither, factors."""


def scan(theta: Array, factors: Array) -> tuple[Array, Any]:
    """The largest |theta| in each block, (G,), 0 unless all in it are finite, and the key of an offer of this theta."""
    largest = np.empty(len(theta), np.uint32)
    key = _scan(theta.view(np.uint32), factors, largest)
    return largest.view(np.float32), np.uint32(key)


def offer(bits: int, theta: Array, step: Array, shifts: Array, dither: Array, factors: Array) -> tuple[Array, Array]:
    """Residues (G, BLOCK) and checksums (G,), uint16, of an offer."""
    residues, checks = np.empty(theta.shape, kinds(bits)[0]), np.empty(len(theta), np.uint16)
    _offer(theta, float32(1) / step, shifts, dither, factors, (1 << bits) - 1, residues, checks)
    return residues, checks


def answer(
    bits: int,
    theta: Array,
    step: Array,
    shifts: Array,
    dither: Array,
    factors: Array,
    residues: Array,
    checks: Array,
) -> tuple[Array, Array]:
    """w (G, BLOCK), 0 in blocks that don't fit their checksums, and whether they do, (G,)."""
    w, fits = np.empty(theta.shape, kinds(bits)[1]), np.empty(len(theta), np.bool_)
    offered = np.require(residues, requirements="A"), np.require(checks, requirements="A")
    _answer(theta, float32(1) / step, shifts, dither, factors, 1 << (bits - 1), *offered, w, fits)
    return w, fits


def difference(w: Array, step: Array, tails: Any) -> Array:
    """step * share * w, float32 (G, BLOCK), of w int8; step * w of int16."""
    found = np.empty(w.shape, np.float32)
    if w.dtype == np.int8:
        _shared(w, step, tails, found)
    else:
        _whole(np.require(w, requirements="A"), step, found)
    return found


def farthest(w: Array) -> Array:
    """The largest |w| in each block, float32 (G,)."""
    found = np.empty(len(w), np.float32)
    _farthest(np.require(w, requirements="A"), found)
    return found


@_compiled(U(U))
def _mixed(number: Any) -> Any:
    number = uint32(uint32(number ^ (number >> uint32(16))) * uint32(0x85EBCA6B))
    number = uint32(uint32(number ^ (number >> uint32(16))) * uint32(0xC2B2AE35))
    return uint32(number ^ (number >> uint32(16)))


@_compiled(U(_read(U, 2), _read(U, 1), _written(U, 1)))
def _scan(theta: Array, factors: Array, largest: Array) -> Any:
    key = uint32(0)
    for g in range(len(theta)):
        most, total = uint32(0), uint32(0)
        for k in range(BLOCK):
            most = max(most, uint32(theta[g, k] & MAGNITUDE))
            total = uint32(total + uint32(theta[g, k] * factors[k]))
        largest[g] = most if most < INFINITE else uint32(0)
        key = uint32(key + _mixed(total))
    return key


@_compiled(*(types.void(*PLACES, types.int32, _written(u, 2), _written(types.uint16, 1)) for u, _ in KINDS))
def _offer(
    theta: Array,
    inverse: Array,
    shifts: Array,
    dither: Array,
    factors: Array,
    mask: Any,
    residues: Array,
    checks: Array,
) -> None:
    for g in range(len(theta)):
        total = uint32(0)
        for k in range(BLOCK):
            place = int32(floor(theta[g, k] * inverse[g] + (dither[k] + shifts[g])))
            total = uint32(total + uint32(uint32(place) * factors[k]))
            residues[g, k] = place & mask
        checks[g] = total >> uint32(16)


@_compiled(
    *(
        types.void(
            *PLACES, types.int32, _read(u, 2), _read(types.uint16, 1), _written(w, 2), _written(types.boolean, 1)
        )
        for u, w in KINDS
    )
)
def _answer(
    theta: Array,
    inverse: Array,
    shifts: Array,
    dither: Array,
    factors: Array,
    half: Any,
    residues: Array,
    checks: Array,
    w: Array,
    fits: Array,
) -> None:
    mask = int32(2 * half - 1)
    for g in range(len(theta)):
        total = uint32(0)
        for k in range(BLOCK):
            place = int32(floor(theta[g, k] * inverse[g] + (dither[k] + shifts[g])))
            apart = int32((int32(place - int32(residues[g, k])) + half & mask) - half)
            total = uint32(total + uint32(uint32(place - apart) * factors[k]))
            w[g, k] = apart
        fits[g] = uint16(total >> uint32(16)) == checks[g]
        if not fits[g]:
            w[g, :] = 0


@_compiled(types.void(_read(types.int8, 2), _read(F, 1), F, _written(F, 2)))
def _shared(w: Array, step: Array, tails: Any, found: Array) -> None:
    for g in range(len(w)):
        total, squares, some = int32(0), int32(0), int32(0)
        for k in range(BLOCK):
            value = int32(w[g, k])
            total = int32(total + abs(value))
            squares = int32(squares + value * value)
            some = int32(some + int32(value != 0))
        size, square = float32(total), float32(squares)
        expected = min(max(tails * (size * size), square - float32(some)), square)
        applied = step[g] * (expected / max(square, float32(1)))
        for k in range(BLOCK):
            found[g, k] = float32(w[g, k]) * applied


@_compiled(types.void(_read(types.int16, 2), _read(F, 1), _written(F, 2)))
def _whole(w: Array, step: Array, found: Array) -> None:
    for g in range(len(w)):
        for k in range(BLOCK):
            found[g, k] = float32(w[g, k]) * step[g]


@_compiled(*(types.void(_read(kind, 2), _written(F, 1)) for _, kind in KINDS))
def _farthest(w: Array, found: Array) -> None:
    for g in range(len(w)):
        largest = int32(0)
        for k in range(BLOCK):
            largest = max(largest, abs(int32(w[g, k])))
        found[g] = float32(largest)
