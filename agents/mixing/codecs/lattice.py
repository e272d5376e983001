"""Lattice coding: an exchange in few bits a coordinate, whose error is a fraction of the disagreement.

After Moniqua (Lu and De Sa 2020, arXiv 2002.11787) and lattice quantization (Davies et al. 2021, arXiv 2002.09268).
For a block of coordinates both sides use one step and one dither u, so that the lattices are the same:

    offer     k_i mod 2^bits, k_i = floor(theta_i / step + u), and a checksum of the whole k_i, another in each offer
    answer    w = centered((k_j - k_i) mod 2^bits), which is k_j - k_i as long as |theta_j - theta_i| < 2^(bits-1) step
    d         step * share * w: the same bits on both sides

The step follows the disagreement: of the largest |d| that an agent last saw in a block, 2^(bits-1) steps cover 1.5 to
3 times as much. So the error vanishes as agents agree. Where the checksum doesn't fit, the difference was too large for
these bits: the block is not mixed, and the step of the agent that offered it doubles. u is uniform over exchanges, so
what is rounded has no bias.

But it has a variance, of up to a quarter of a step squared. Where that is much of what w shows, applying all of w would
take agents farther apart than they were, and the next step would be longer: with 3 bits that grew without a limit. So
both sides apply the share of w that is expected to be difference: the one which leaves the least of it.

"bfloat16" is the same with 16 bits, two bytes a coordinate each way, as numbers of that kind take, and without a share.
Vectors rounded to bfloat16 themselves stall where agents are 9e-4 of a norm apart; with this they come to 4e-8.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from agents.mixing.codecs.codec import Array, Codec
from agents.mixing.codecs.lattice_code import (
    BLOCK,
    WIDE,
    Answered,
    Offered,
    blocked,
    blocks,
    flat,
    kinds,
    pack,
    sizes,
    unpack_answer,
    unpack_offer,
)

COVER, COVER_OF_MORE = {2: 1.5, 3: 2.0}, 3.0
"""What 2^(bits-1) steps cover, of the largest difference that was seen, with so many bits and with more.

A block with a coordinate beyond is not mixed. The more bits, the less it costs to leave room (docs/theory.md 24).
"""

SHRINKS = 0.8
"""What was seen before counts so much the next time."""

FIRST, LEAST, MOST = 2.0**-8, 2.0**-20, 4.0
"""Of the largest coordinate: the disagreement that is assumed first, the least and the largest that a step stands for.

Below the least, float32 itself rounds; models that differ by more than the largest are no neighbors. So whatever peers
answer, what is remembered stays within this, and is right again after some exchanges.
"""

LEAST_OF_16 = 2.0**-12
"""The least where 2^15 steps stand for it: they are then as short as those of 8 bits, and places are below 2^31."""

TAILS, TAILS_OF_2 = 3.0, 2.0
"""The mean square of differences, of the square of their mean size: 2 for Laplace's, more in training, where agents
learn a point less at 3 bits with 2 (Fashion-MNIST, Dirichlet 0.01). With 2 bits more leaves them apart for long."""

SHIFT, LOWEST = 21, (127 - 44) << 2
"""A step is written in a byte, as a number of 2 bits of fraction times a power of 2: from 2^-44, 64 powers."""

_drawn = np.random.default_rng(2002_11787)
DITHER = _drawn.random(BLOCK, np.float32)
FACTORS = _drawn.integers(1 << 32, size=BLOCK, dtype=np.uint32) | np.uint32(1)


def cover(bits: int) -> float:
    """What 2^(bits-1) steps cover, of the largest difference that was seen."""
    return COVER.get(bits, COVER_OF_MORE)


def step_of(written: Array) -> Array:
    """The step that a byte stands for, float32; of 0 nearly none."""
    return ((written.astype(np.uint32) + np.uint32(LOWEST)) << np.uint32(SHIFT)).view(np.float32)


def written(step: Array) -> Array:
    """The byte of the least step that isn't smaller: uint8, from 1 on."""
    xp = step.__array_namespace__()
    above = (step.view(np.uint32) + np.uint32((1 << SHIFT) - 1)) >> np.uint32(SHIFT)
    return (xp.clip(above, LOWEST + 1, LOWEST + 255) - np.uint32(LOWEST)).astype(np.uint8)


def _begin(theta: Array) -> Array:
    """The largest disagreement of each block: float32 (..., G)."""
    xp, theta = theta.__array_namespace__(), blocked(theta)
    compiled = _compiled(theta)  # Here already: so no exchange waits for the compiler.
    largest = compiled.scan(theta, FACTORS)[0] if compiled else _largest(theta)
    return np.float32(FIRST) * xp.maximum(largest, _or_one(xp.mean(largest, axis=-1, keepdims=True)))


def _largest(theta: Array) -> Array:
    """Of the coordinates of each block (..., G, BLOCK), 0 if they aren't all finite: float32 (..., G)."""
    xp = theta.__array_namespace__()
    largest = xp.max(xp.abs(theta), axis=-1)
    return xp.where(xp.isfinite(largest), largest, np.float32(0))


def _or_one(scale: Array) -> Array:
    """Of a vector of zeros, which says nothing of its scale, 1."""
    return scale.__array_namespace__().where(scale > 0, scale, np.float32(1))


def _within(bits: int, state: Array, largest: Array) -> Array:
    """A disagreement that is possible for models whose largest coordinates are these: (..., G)."""
    xp = largest.__array_namespace__()
    scale = _or_one(xp.max(largest, axis=-1, keepdims=True))
    return xp.clip(state, np.float32(LEAST_OF_16 if bits == WIDE else LEAST) * scale, np.float32(MOST) * scale)


def _key(theta: Array) -> Array:
    """A number that differs from offer to offer, uint32 (...,): of theta (..., G, BLOCK), so it needs no counter.

    Some of them may never change, as the weights of a pixel that is dark in all images.
    """
    return _mixed(_check(theta, _row(FACTORS, theta))).sum(axis=-1, dtype=np.uint32)


def _mixed(number: Array) -> Array:
    """A hash of 32 bits (Mueller's, by the finalizer of MurmurHash3)."""
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        number = (number ^ (number >> np.uint32(16))) * np.uint32(factor)
    return number ^ (number >> np.uint32(16))


def hashed(theta: Array, count: int) -> Array:
    """So many numbers in [0, 1), float32 (..., count), which differ from vector to vector: of theta (..., n)."""
    return _shifts(_key(blocked(theta)), count)


def _shifts(key: Array, count: int) -> Array:
    """The dither that all coordinates of a block have in common, in [0, 1): float32 (..., G)."""
    xp = key.__array_namespace__()
    places = xp.arange(count, dtype=np.uint32).reshape((1,) * key.ndim + (count,))
    number = _mixed(places * np.uint32(0x9E3779B9) + key[..., None])
    return (number >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _integers(theta: Array, step: Array, shifts: Array) -> Array:
    """The place of each coordinate on the lattice: int32, of theta (..., g, BLOCK)."""
    xp = theta.__array_namespace__()
    scaled = theta * (np.float32(1) / step)[..., None]
    scaled = scaled + (_row(DITHER, theta) + shifts[..., None])  # Whole numbers in it are the same on both sides.
    return xp.floor(scaled).astype(np.int32)


def _check(integers: Array, factors: Array) -> Array:
    """A checksum of each block, linear in the integers or in the bits of floats: uint32 (..., g)."""
    xp = integers.__array_namespace__()
    return xp.sum(integers.view(np.uint32) * factors, axis=-1, dtype=np.uint32)


def _factors(key: Array) -> Array:
    """Of the checksums of one offer, odd: uint32 (..., 1, BLOCK), of its key (...,).

    Others in each offer. An alias that passes takes agents apart in its own direction: with the same factors it would
    pass again, each time, and grow without end.
    """
    places = key.__array_namespace__().asarray(FACTORS.reshape((1,) * (key.ndim + 1) + (BLOCK,)))
    return _mixed(places ^ key[..., None, None]) | np.uint32(1)


def _row(values: Array, like: Array) -> Array:
    """(BLOCK,) as (..., BLOCK), of as many dimensions as another array."""
    return like.__array_namespace__().asarray(values.reshape((1,) * (like.ndim - 1) + (BLOCK,)))


def _compiled(array: Array) -> Any:
    """The compiled loops, for the blocks of one chunk in NumPy; None for a batch of chunks and for JAX's arrays."""
    if not isinstance(array, np.ndarray) or array.ndim > 2:
        return None
    from agents.mixing.codecs import kernels  # Late: loading the compiler takes half a second.

    return kernels


def _offer(bits: int, theta: Array, state: Array) -> Offered:
    theta = blocked(theta)
    compiled = _compiled(theta)
    largest, key = compiled.scan(theta, FACTORS) if compiled else (_largest(theta), _key(theta))
    steps = written(_within(bits, state, largest) * np.float32(cover(bits) * 2.0 ** (1 - bits)))
    step, shifts, factors = step_of(steps), _shifts(key, steps.shape[-1]), _factors(key)
    if compiled:
        residues, checks = compiled.offer(bits, theta, step, shifts, DITHER, factors[0])
    else:
        integers, (unsigned, _) = _integers(theta, step, shifts), kinds(bits)
        residues = integers.astype(unsigned) & unsigned((1 << bits) - 1)
        checks = (_check(integers, factors) >> np.uint32(16)).astype(np.uint16)
    return Offered(key, steps, checks, residues)


def _answer(bits: int, theta: Array, offered: Offered, out: Array | None) -> Answered:
    size, theta = theta.shape[-1], blocked(theta)
    step, shifts = step_of(offered.steps), _shifts(offered.key, offered.steps.shape[-1])
    factors, xp = _factors(offered.key), theta.__array_namespace__()
    if compiled := _compiled(theta):
        w, fits = compiled.answer(bits, theta, step, shifts, DITHER, factors[0], offered.residues, offered.checks)
    else:
        integers, (unsigned, signed) = _integers(theta, step, shifts), kinds(bits)
        unused = 8 * unsigned(0).itemsize - bits
        w = ((integers.astype(unsigned) - offered.residues) << unsigned(unused)).view(signed) >> signed(unused)
        checks = (_check(integers - w.astype(np.int32), factors) >> np.uint32(16)).astype(np.uint16)
        fits = checks == offered.checks
        w = xp.where(fits[..., None], w, signed(0))
    return Answered(xp.where(fits, offered.steps, np.uint8(0)), flat(w, size))


def _difference(bits: int, offered: Any, answered: Answered, size: int) -> Array:
    w, step = blocked(answered.w), step_of(answered.steps)
    tails = np.float32((TAILS_OF_2 if bits == 2 else TAILS) / BLOCK)
    if compiled := _compiled(w):
        return flat(compiled.difference(w, step, tails), size)
    share = np.float32(1) if bits == WIDE else _share(w, tails)
    return flat(w.astype(np.float32) * (step * share)[..., None], size)


def _share(w: Array, tails: np.float32) -> Array:
    """How much of w is difference, in mean square: float32 (..., g) in [0, 1], of w int8 (..., g, BLOCK).

    The mean of |w| has no bias, and the mean square of differences is `tails` times the square of that. Of a w that
    isn't 0, at most 1 of its square is rounding. All sums are whole numbers below 2^24, so exact.
    """
    xp = w.__array_namespace__()
    values = w.astype(np.float32)
    total, squares = xp.abs(values).sum(axis=-1), (values * values).sum(axis=-1)
    sure = squares - xp.sum(w != 0, axis=-1, dtype=np.uint8).astype(np.float32)
    expected = xp.clip(tails * (total * total), sure, squares)
    return expected / xp.maximum(squares, np.float32(1))


def _learn(bits: int, state: Array, answered: Answered, theta: Array, began: Any) -> Array:
    xp, theta, w = theta.__array_namespace__(), blocked(theta), blocked(answered.w)
    compiled = _compiled(theta)
    most = compiled.scan(theta, FACTORS)[0] if compiled else _largest(theta)
    before = _within(bits, state, most)
    largest = compiled.farthest(w) if compiled else _farthest(bits, w)
    seen = largest * step_of(answered.steps)
    longer = xp.where(xp.asarray(began)[..., None], np.float32(2), np.float32(1)) * before
    return _within(bits, xp.where(answered.steps > 0, xp.maximum(seen, np.float32(SHRINKS) * before), longer), most)


def _farthest(bits: int, w: Array) -> Array:
    """The largest |w| in each block, float32 (..., G)."""
    xp = w.__array_namespace__()
    return xp.max(xp.abs(w).view(kinds(bits)[0]), axis=-1).astype(np.float32)  # |-128| wraps, and is 128 again.


@cache
def lattice(bits: int) -> Codec:
    """The codec of so many bits a coordinate, 2 to 8, or 16."""
    return Codec(
        "bfloat16" if bits == WIDE else f"lattice:{bits}",
        offer=silently(partial(_offer, bits)),
        answer=silently(partial(_answer, bits)),
        difference=partial(_difference, bits),
        pack=partial(pack, bits),
        unpack=partial(unpack_offer, bits),
        unpack_answer=partial(unpack_answer, bits),
        size=partial(sizes, bits),
        needs_offer=False,
        keeps=blocks,
        begin=silently(_begin),
        learn=silently(partial(_learn, bits)),
    )


def silently(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without NumPy's warnings: what isn't finite, or too far from a lattice, doesn't fit the checksum."""

    def called(*arguments: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return function(*arguments)

    return called
