"""How a chunk is written for the wire: decode(encode(x)) is what both sides of an exchange know."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Vector = np.ndarray[Any, np.dtype[np.float32]]


class Codec(NamedTuple):
    """encode: (n,) float32 -> bytes-like; decode: bytes-like, n -> (n,) float32, ValueError if it isn't n values."""

    encode: Callable[[Vector], Any]
    decode: Callable[[Any, int], Vector]


def _float32(payload: Any, size: int) -> Vector:
    if len(payload) != 4 * size:
        raise ValueError(f"a chunk of {len(payload)} bytes; this model's holds {4 * size}")
    return np.frombuffer(payload, "<f4")


CODECS = {"float32": Codec(lambda vector: vector.data, _float32)}
