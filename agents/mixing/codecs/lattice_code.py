"""What lattice coding sends (`agents.mixing.codecs.lattice`): its offers and answers, in blocks and in bytes.

offer     dither's key, 4 bytes; of each block the step, 1 byte, and a checksum, 2; of each coordinate the residue
answer    of each block the step, 1 byte; of each coordinate w; both in so many bits, the last block filled up
"""

from typing import Any, NamedTuple

import numpy as np

from agents.mixing.codecs.codec import Array, CodecError, sized
from agents.mixing.codecs.fields import pack_fields, packed_size, unpack_fields

BLOCK = 128
"""Coordinates that share a step."""

WIDE = 16
"""The bits of the one code whose numbers aren't bytes; of others they are."""


class Offered(NamedTuple):
    """key: uint32 (...,), of the dither. steps: uint8, checks: uint16 (..., G). residues: (..., G, BLOCK)."""

    key: Array
    steps: Array
    checks: Array
    residues: Array


class Answered(NamedTuple):
    """steps: uint8 (..., G), 0 for a block that isn't mixed. w: (..., n), in steps."""

    steps: Array
    w: Array


def kinds(bits: int) -> tuple[Any, Any]:
    """The types of residues and of w: of 8 bits, or of 16."""
    return (np.uint16, np.int16) if bits == WIDE else (np.uint8, np.int8)


def blocks(size: int) -> int:
    """G, the blocks of so many coordinates."""
    return -(-size // BLOCK)


def blocked(array: Array) -> Array:
    """(..., n) as (..., G, BLOCK), with zeros behind the end."""
    missing = -array.shape[-1] % BLOCK
    if missing:
        xp = array.__array_namespace__()
        array = xp.concatenate([array, xp.zeros((*array.shape[:-1], missing), array.dtype)], axis=-1)
    return array.reshape(*array.shape[:-1], -1, BLOCK)


def flat(array: Array, size: int) -> Array:
    """(..., G, BLOCK) as (..., n)."""
    joined = array.reshape(*array.shape[:-2], -1)
    return joined if joined.shape[-1] == size else joined[..., :size]


def pack(bits: int, code: Offered | Answered) -> bytes:
    """An offer or an answer, as it travels."""
    if isinstance(code, Offered):
        numbers = code.residues.reshape(-1)
        head = [np.asarray(code.key, "<u4"), code.steps, code.checks.astype("<u2", copy=False)]
    else:
        unsigned, _ = kinds(bits)
        numbers = blocked(code.w).reshape(-1).view(unsigned) & unsigned((1 << bits) - 1)
        head = [code.steps]
    fields = numbers.astype("<u2", copy=False) if bits == WIDE else pack_fields(numbers, bits)
    return b"".join([*(part.tobytes() for part in head), fields.data])


def sizes(bits: int, size: int) -> tuple[int, int]:
    """Bytes of an offer and of an answer about so many coordinates."""
    count = blocks(size)
    answer = count + packed_size(bits, BLOCK * count)
    return 4 + 2 * count + answer, answer


def unpack_offer(bits: int, payload: Any, size: int) -> Offered:
    """The offer that was packed. Raises CodecError."""
    payload, count = sized(payload, sizes(bits, size)[0]), blocks(size)
    key, steps, checks = payload[:4], payload[4 : 4 + count], payload[4 + count : 4 + 3 * count]
    found = np.frombuffer(steps, np.uint8)
    if not found.all():
        raise CodecError("an offer whose steps aren't all above 0")
    residues = _numbers(bits, payload[4 + 3 * count :]).reshape(count, BLOCK)
    return Offered(np.frombuffer(key, "<u4")[0], found, np.frombuffer(checks, "<u2"), residues)


def unpack_answer(bits: int, payload: Any, size: int) -> Answered:
    """The answer that was packed. Raises CodecError."""
    payload, count = sized(payload, sizes(bits, size)[1]), blocks(size)
    unsigned, signed = kinds(bits)
    half = unsigned(1 << (bits - 1))
    w = ((_numbers(bits, payload[count:])[:size] ^ half) - half).view(signed)
    return Answered(np.frombuffer(payload[:count], np.uint8), w)


def _numbers(bits: int, fields: memoryview) -> Array:
    if bits == WIDE:
        return np.frombuffer(fields, "<u2").astype(np.uint16, copy=False)
    return unpack_fields(np.frombuffer(fields, np.uint8), bits)
