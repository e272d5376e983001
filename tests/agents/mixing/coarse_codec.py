"""Codecs that are coarse on purpose, so that what is not exact shows; two of them of 8 bits with a scale of their own.

RELATIVE answers with the coded difference; ABSOLUTE with the coded theta_j, so its difference needs the offer.
GRID, of float32 rounded to a grid, needs it too, and writes its answer into the memory that it is given.
"""

import struct

import numpy as np

from agents.mixing import codec_names
from agents.mixing.codecs import CODECS, FLOAT32, Codec, CodecError
from agents.protocol import codecs as protocol_codecs
from agents.protocol import core

_SCALE = struct.Struct("<f")


def quantized(values):
    """(scale, int8 (n,)): each coordinate to the nearest of 255 steps of the largest."""
    scale = np.float32(np.abs(values).max(initial=0) / 127)
    if not np.isfinite(scale):
        raise CodecError("values that are not finite can't be coded")
    return scale, np.rint(values / (scale or np.float32(1))).astype(np.int8)


def values_of(code):
    """What a code stands for, (n,)."""
    scale, steps = code
    return scale * steps.astype(np.float32)


def pack(code):
    """Four bytes of scale, and one a coordinate."""
    scale, steps = code
    return _SCALE.pack(scale) + steps.tobytes()


def unpack(payload, size):
    """The code of a payload; CodecError if it is none."""
    if len(payload) != _SCALE.size + size:
        raise CodecError(f"expected a chunk of {_SCALE.size + size} bytes, got {len(payload)}")
    (scale,) = _SCALE.unpack_from(payload)
    return np.float32(scale), np.frombuffer(payload, np.int8, offset=_SCALE.size)


RELATIVE = Codec(
    "relative",
    offer=lambda theta, state: quantized(theta),
    answer=lambda theta, offered, out: quantized(theta - values_of(offered)),
    difference=lambda offered, answered, size: values_of(answered),
    pack=pack,
    unpack=unpack,
    unpack_answer=unpack,
    size=lambda size: (_SCALE.size + size, _SCALE.size + size),
)
ABSOLUTE = RELATIVE._replace(
    name="absolute",
    answer=lambda theta, offered, out: quantized(theta),
    difference=lambda offered, answered, size: values_of(answered) - values_of(offered),
)


def _on_grid(values, out=None):
    return np.divide(np.rint(values * np.float32(64), out=out), np.float32(64), out=out)


GRID = FLOAT32._replace(
    name="grid",
    offer=lambda theta, state: _on_grid(theta),
    answer=lambda theta, offered, out: _on_grid(theta, out),
    difference=lambda offered, answered, size: answered - offered,
    needs_offer=True,
)
COARSE = {codec.name: codec for codec in (RELATIVE, ABSOLUTE, GRID)}


def let_in(monkeypatch):
    """These are codecs as others are, for a test."""
    monkeypatch.setattr(codec_names, "PLAIN", (*codec_names.PLAIN, *COARSE))
    for place in (core, protocol_codecs):
        monkeypatch.setattr(place, "KINDS", (*codec_names.KINDS, *COARSE))
    for name, codec in COARSE.items():
        monkeypatch.setitem(CODECS, name, codec)
