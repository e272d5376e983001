"""Low rank: of each matrix of a chunk, the difference along R directions of its rows and R of its columns.

After PowerGossip (Vogels, Karimireddy and Jaggi 2020, arXiv 2008.01425), in one round trip. With D = W_j - W_i, (m, k),
and directions left B (m, R) and right Q (k, R), of which the initiator's offer holds the ones that it has learned:

    offer     B, Q in 8 bits, and what is linear in W_i: W_i Q and B^T W_i (1 - Q Q^T)
    answer    of the same of W_j, the difference: Y = D Q and C = B^T D (1 - Q Q^T)
    d         Y Q^T + B C, so D - d = (1 - B B^T) D (1 - Q Q^T): the same bits on both sides

Vectors, and matrices that R directions would not make smaller, are exchanged whole. All numbers that are linear in the
models travel in `lattice:8`, so their error vanishes at consensus. Next time B spans Y and Q spans C^T: a step of the
power iteration from each side, so that directions turn to where models differ most. Each agent keeps its own, for
whoever it meets; both learn from each exchange.

PowerGossip asks twice in each exchange, first for Y and then, with B spanning it, for B^T D. Here an exchange asks for
what the last one led to. Directions drawn anew each time would need no bytes and no state. In training they leave
agents 2.5 to 5 times as far apart, for a third less bytes; with training off, where differences have no direction of
their own, they are the better ones by as much (docs/theory.md 28).
"""

from collections.abc import Iterator
from functools import lru_cache, partial
from math import isqrt
from typing import Any, NamedTuple

import numpy as np

from agents.mixing.codecs.codec import Array, Codec, Shapes, sized
from agents.mixing.codecs.lattice import hashed, lattice, silently

INNER = lattice(8)
"""How what is linear in the models is written."""

LEVELS = 127 * 255
"""Of a number of a direction: 127 in steps of its column's scale, which has 255."""


class Block(NamedTuple):
    """A matrix of a chunk: where it begins, how many rows and columns it has."""

    start: int
    rows: int
    columns: int


class Plan(NamedTuple):
    """What is exchanged how. rest: ranges of coordinates that are exchanged whole. size: of the chunk."""

    rank: int
    blocks: tuple[Block, ...]
    rest: tuple[tuple[int, int], ...]
    size: int

    @property
    def directions(self) -> int:
        """Numbers of all directions."""
        return self.rank * sum(block.rows + block.columns for block in self.blocks)

    @property
    def scales(self) -> int:
        """One for each direction."""
        return 2 * self.rank * len(self.blocks)

    @property
    def linear(self) -> int:
        """Numbers that are linear in a model."""
        return self.directions + sum(stop - start for start, stop in self.rest)


class Offered(NamedTuple):
    """directions: int8 (..., D), scales: uint8 (..., S), of them. code: of what is linear in theta."""

    directions: Array
    scales: Array
    code: Any


@lru_cache(maxsize=64)
def plan_of(rank: int, shapes: Shapes) -> Plan:
    """shapes: (rows, columns) of the matrices of a chunk, one after the other; (1, n) for a vector."""
    at, blocks, rest = 0, list[Block](), list[tuple[int, int]]()
    for rows, columns in shapes:
        if 2 * rank * (rows + columns) <= rows * columns:
            blocks.append(Block(at, rows, columns))
        else:
            rest.append((at, at + rows * columns))
        at += rows * columns
    return Plan(rank, tuple(blocks), tuple(rest), at)


def squarish(size: int) -> Shapes:
    """A chunk of which nothing is known as a matrix that is nearly square, and a rest."""
    columns = isqrt(size)
    return ((size // columns, columns), (1, size % columns))


def lowrank(rank: int, shapes: Shapes | None = None) -> Codec:
    """The codec of so many directions from each side. shapes: as for `plan_of`; None if a chunk's aren't known."""

    def plan(size: int) -> Plan:
        return plan_of(rank, shapes or squarish(size))

    def unpack_offer(payload: Any, size: int) -> Offered:
        its = plan(size)
        payload, end = sized(payload, _sizes(its)[0]), its.directions + its.scales
        directions = np.frombuffer(payload[: its.directions], np.int8)
        scales = np.frombuffer(payload[its.directions : end], np.uint8)
        return Offered(directions, scales, INNER.unpack(payload[end:], its.linear))

    return Codec(
        f"lowrank:{rank}",
        offer=silently(lambda theta, state: _offer(plan(theta.shape[-1]), theta, state)),
        answer=silently(lambda theta, offered, out: _answer(plan(theta.shape[-1]), theta, offered)),
        difference=silently(lambda offered, answered, size: _difference(plan(size), offered, answered)),
        pack=_pack,
        unpack=unpack_offer,
        unpack_answer=lambda payload, size: INNER.unpack_answer(payload, plan(size).linear),
        size=lambda size: _sizes(plan(size)),
        needs_offer=True,
        keeps=lambda size: plan(size).directions + INNER.keeps(plan(size).linear),
        begin=silently(lambda theta: _begin(plan(theta.shape[-1]), theta)),
        learn=silently(
            lambda state, answered, theta, began: _learn(plan(theta.shape[-1]), state, answered, theta, began)
        ),
        fitted=partial(lowrank, rank),
    )


def _sizes(plan: Plan) -> tuple[int, int]:
    offer, answer = INNER.size(plan.linear)
    return int(offer) + plan.directions + plan.scales, int(answer)


def _pack(code: Any) -> Any:
    if not isinstance(code, Offered):
        return INNER.pack(code)
    return b"".join((code.directions.tobytes(), code.scales.tobytes(), INNER.pack(code.code)))


def _offer(plan: Plan, theta: Array, state: Array) -> Offered:
    directions, scales = _written(plan, state[..., : plan.directions])
    linear = _linear(plan, theta, _read(plan, directions, scales))
    return Offered(directions, scales, INNER.offer(linear, state[..., plan.directions :]))


def _answer(plan: Plan, theta: Array, offered: Offered) -> Any:
    linear = _linear(plan, theta, _read(plan, offered.directions, offered.scales))
    return INNER.answer(linear, offered.code, None)


def _difference(plan: Plan, offered: Offered, answered: Any) -> Array:
    """Of products and sums of single numbers alone, which are the same on each machine; a library's may not be."""
    linear = INNER.difference(None, answered, plan.linear)
    sides = zip(_sides(plan, _read(plan, offered.directions, offered.scales)), _sides(plan, linear), strict=True)
    parts = {}
    for block, ((left, right), (found, other)) in zip(plan.blocks, sides, strict=True):
        pairs = [
            (one[..., k], another[..., k]) for one, another in ((found, right), (left, other)) for k in range(plan.rank)
        ]
        matrix = pairs[0][0][..., :, None] * pairs[0][1][..., None, :]
        for one, another in pairs[1:]:
            matrix += one[..., :, None] * another[..., None, :]
        parts[block.start] = matrix.reshape(*matrix.shape[:-2], -1)
    return _joined(parts | _rest(plan, linear[..., plan.directions :]), linear)


def _learn(plan: Plan, state: Array, answered: Any, theta: Array, began: Any) -> Array:
    linear = INNER.difference(None, answered, plan.linear)
    inner = INNER.learn(
        state[..., plan.directions :], answered, _linear(plan, theta, state[..., : plan.directions]), began
    )
    noise = _noise(plan, theta)
    turned = [
        _orthonormal(side, random)
        for found, drawn in zip(_sides(plan, linear), _sides(plan, noise), strict=True)
        for side, random in zip(found, drawn, strict=True)
    ]
    return theta.__array_namespace__().concatenate([*map(_flat, turned), inner], axis=-1)


def _begin(plan: Plan, theta: Array) -> Array:
    noise = _noise(plan, theta)
    drawn = [_orthonormal(side, side) for pair in _sides(plan, noise) for side in pair]
    directions = theta.__array_namespace__().concatenate([*map(_flat, drawn), theta[..., :0]], axis=-1)
    inner = INNER.begin(_linear(plan, theta, directions))
    return theta.__array_namespace__().concatenate([directions, inner], axis=-1)


def _sides(plan: Plan, numbers: Array) -> Iterator[tuple[Array, Array]]:
    """Of each block (rows, R) and (columns, R): its directions, or what is linear along those."""
    at = 0
    for block in plan.blocks:
        found = []
        for count in (block.rows, block.columns):
            end = at + count * plan.rank
            found.append(numbers[..., at:end].reshape(*numbers.shape[:-1], count, plan.rank))
            at = end
        yield found[0], found[1]


def _rest(plan: Plan, numbers: Array) -> dict[int, Array]:
    """What is exchanged whole, by where it begins."""
    found, at = {}, 0
    for start, stop in plan.rest:
        found[start] = numbers[..., at : at + stop - start]
        at += stop - start
    return found


def _joined(parts: dict[int, Array], like: Array) -> Array:
    xp = like.__array_namespace__()
    found: Array = xp.concatenate([parts[start] for start in sorted(parts)], axis=-1)
    return found


def _linear(plan: Plan, theta: Array, directions: Array) -> Array:
    """W Q and (B^T W (1 - Q Q^T))^T of each matrix, and the rest: (..., linear)."""
    found = []
    for block, (left, right) in zip(plan.blocks, _sides(plan, directions), strict=True):
        w = theta[..., block.start : block.start + block.rows * block.columns]
        w = w.reshape(*theta.shape[:-1], block.rows, block.columns)
        across = _product(_turned(w), left)
        found += [_flat(_product(w, right)), _flat(across - right @ (_turned(right) @ across))]
    found += [theta[..., start:stop] for start, stop in plan.rest]
    linear: Array = theta.__array_namespace__().concatenate(found, axis=-1)
    return linear


def _product(matrix: Array, directions: Array) -> Array:
    """(..., m, k) by (..., k, R). NumPy's threads for a product of two matrices take longer than a few of a vector."""
    if not isinstance(matrix, np.ndarray):
        return matrix @ directions
    if matrix.ndim > 2:
        return np.stack([_product(*each) for each in zip(matrix, directions, strict=True)])
    return np.stack([matrix @ column for column in np.ascontiguousarray(directions.T)], axis=-1)


def _turned(matrix: Array) -> Array:
    return matrix.__array_namespace__().swapaxes(matrix, -1, -2)


def _flat(matrix: Array) -> Array:
    return matrix.reshape(*matrix.shape[:-2], -1)


def _orthonormal(matrix: Array, noise: Array) -> Array:
    """Columns that span those of a matrix (..., m, R), of which some may be 0: then what is drawn instead."""
    xp = matrix.__array_namespace__()
    largest = xp.max(xp.abs(matrix), axis=(-2, -1), keepdims=True)
    usable = xp.isfinite(largest) & (largest > 0)
    scaled = xp.where(usable, matrix / xp.where(usable, largest, np.float32(1)), np.float32(0))
    found: Array = xp.linalg.qr(scaled + np.float32(1e-3) * noise)[0]
    return found


def _noise(plan: Plan, theta: Array) -> Array:
    """Numbers in [-1, 1), others each time: (..., directions)."""
    return hashed(theta, plan.directions) * np.float32(2) - np.float32(1)


def _written(plan: Plan, directions: Array) -> tuple[Array, Array]:
    """Directions in 8 bits, and the scale of each column in 8."""
    xp, numbers, scales = directions.__array_namespace__(), [], []
    for pair in _sides(plan, directions):
        for side in pair:
            largest = xp.max(xp.abs(side), axis=-2)
            scale = xp.clip(xp.ceil(largest * np.float32(255)), np.float32(1), np.float32(255))
            scales.append(scale.astype(np.uint8))
            steps = xp.rint(side * (np.float32(LEVELS) / scale)[..., None, :])
            numbers.append(_flat(xp.clip(steps, np.float32(-127), np.float32(127)).astype(np.int8)))
    if not numbers:
        return directions.astype(np.int8), directions.astype(np.uint8)
    return xp.concatenate(numbers, axis=-1), xp.concatenate(scales, axis=-1)


def _read(plan: Plan, directions: Array, scales: Array) -> Array:
    """The directions that were written, none above 1: float32 (..., directions)."""
    xp, found, at = directions.__array_namespace__(), [], 0
    for pair in _sides(plan, directions):
        for side in pair:
            scale = scales[..., at : at + plan.rank].astype(np.float32) * np.float32(1 / LEVELS)
            found.append(_flat(side.astype(np.float32) * scale[..., None, :]))
            at += plan.rank
    return xp.concatenate(found, axis=-1) if found else directions.astype(np.float32)
