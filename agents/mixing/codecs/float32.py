"""The exact codec: the offer is theta_i itself, the answer theta_j - theta_i; four bytes a coordinate each way."""

from typing import Any

import numpy as np

from agents.mixing.codecs.codec import Array, Codec, sized


def _answer(theta: Array, offered: Array, out: Array | None) -> Array:
    return theta - offered if out is None else theta.__array_namespace__().subtract(theta, offered, out=out)


def _unpack(payload: Any, size: int) -> Array:
    return np.frombuffer(sized(payload, 4 * size), "<f4")


FLOAT32 = Codec(
    "float32",
    offer=lambda theta, state: theta,
    answer=_answer,
    difference=lambda offered, answered, size: answered,
    pack=lambda code: code.data,
    unpack=_unpack,
    unpack_answer=_unpack,
    size=lambda size: (4 * size, 4 * size),
    needs_offer=False,
)
