"""Small whole numbers packed into bytes: `bits` a number, for 1 to 8 bits, without waste."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

WIDTHS = (8, 4, 2, 1)
"""Numbers are cut into fields of these many bits, of which each byte holds 1, 2, 4 or 8."""


def packed_size(bits: int, count: int) -> int:
    """Bytes that so many numbers take; a multiple of eight."""
    return bits * count // 8


def pack_fields(numbers: Bytes, bits: int) -> Bytes:
    """Numbers below 2**bits, (n,) with n a multiple of eight, as (bits * n / 8,) bytes.

    The fields of one width stand together; of the numbers in a byte the first is n * width / 8 before the second.
    """
    packed = np.empty(packed_size(bits, numbers.size), np.uint8)
    at = low = 0
    for width in _cut(bits):
        parts = numbers.reshape(8 // width, -1)
        into = packed[at : at + parts.shape[1]]
        mask = np.uint8((1 << width) - 1)
        np.bitwise_and(parts[0] >> low if low else parts[0], mask, out=into)
        for k in range(1, len(parts)):
            into |= (((parts[k] >> low) if low else parts[k]) & mask) << (k * width)
        at, low = at + parts.shape[1], low + width
    return packed


def unpack_fields(packed: Bytes, bits: int) -> Bytes:
    """The numbers, (n,), of what `pack_fields` made."""
    count = packed.size * 8 // bits
    numbers = np.empty(count, np.uint8)
    at = low = 0
    for width in _cut(bits):
        parts = numbers.reshape(8 // width, -1)
        of = packed[at : at + parts.shape[1]]
        mask = np.uint8((1 << width) - 1)
        for k, part in enumerate(parts):
            field = (of >> (k * width) if k else of) & mask
            if low:
                part |= field << low
            else:
                part[:] = field
        at, low = at + parts.shape[1], low + width
    return numbers


def _cut(bits: int) -> list[int]:
    """The widths that make so many bits, the widest first."""
    return [width for width in WIDTHS if bits & width]
