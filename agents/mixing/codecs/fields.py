"""Small whole numbers packed into bytes: `bits` a number, for 1 to 8 bits, without waste."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

WIDTHS = (8, 4, 2, 1)
"""Numbers are cut into fields of these many bits, of which each byte holds 1, 2, 4 or 8."""

IN_EACH_BYTE = np.uint64(0x0101010101010101)
"""Times a mask of a byte, that mask for each byte of a word: eight numbers are shifted and masked at once."""


def packed_size(bits: int, count: int) -> int:
    """Bytes that so many numbers take; a multiple of eight."""
    return bits * count // 8


def pack_fields(numbers: Bytes, bits: int) -> Bytes:
    """Numbers below 2**bits, (n,) with n a multiple of 64, as (bits * n / 8,) bytes; of 8 bits the same array.

    The fields of one width stand together; of the numbers in a byte the first is n * width / 8 before the second.
    """
    if bits == 8:
        return numbers
    packed = np.empty(packed_size(bits, numbers.size) // 8, np.uint64)
    words, at = numbers.view(np.uint64), 0
    for width, low in _cut(bits):
        parts = words.reshape(8 // width, -1)
        into, mask = packed[at : at + parts.shape[1]], IN_EACH_BYTE * np.uint64((1 << width) - 1)
        np.bitwise_and(parts[0] >> np.uint64(low), mask, out=into)
        for k in range(1, len(parts)):
            into |= ((parts[k] >> np.uint64(low)) & mask) << np.uint64(k * width)
        at += parts.shape[1]
    return packed.view(np.uint8)


def unpack_fields(packed: Bytes, bits: int) -> Bytes:
    """The numbers, (n,), of what `pack_fields` made."""
    if bits == 8:
        return packed
    words, at = np.require(packed, requirements="A").view(np.uint64), 0
    numbers = np.zeros(packed.size * 8 // bits // 8, np.uint64)
    for width, low in _cut(bits):
        parts = numbers.reshape(8 // width, -1)
        of, mask = words[at : at + parts.shape[1]], IN_EACH_BYTE * np.uint64((1 << width) - 1)
        for k, part in enumerate(parts):
            part |= ((of >> np.uint64(k * width)) & mask) << np.uint64(low)
        at += parts.shape[1]
    return numbers.view(np.uint8)


def _cut(bits: int) -> list[tuple[int, int]]:
    """The widths that make so many bits, the widest first, each with the lowest bit of its field."""
    widths = [width for width in WIDTHS if bits & width]
    return [(width, sum(widths[:k])) for k, width in enumerate(widths)]
