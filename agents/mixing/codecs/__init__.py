"""How the two sides of an exchange learn the difference of their models: one codec a file (DESIGN 1.4)."""

from functools import lru_cache

from agents.mixing.codec_names import PLAIN, UnknownCodec, parse_codec
from agents.mixing.codecs.codec import Codec, CodecError
from agents.mixing.codecs.float32 import FLOAT32
from agents.mixing.codecs.lattice import lattice
from agents.mixing.codecs.lattice_code import WIDE
from agents.mixing.codecs.lowrank import lowrank
from agents.mixing.codecs.segments import segments
from agents.mixing.codecs.turns import turns

CODECS: dict[str, Codec] = {codec.name: codec for codec in (FLOAT32, lattice(WIDE), *map(lattice, range(2, 9)))}
"""Those whose names have no number to choose freely."""

assert tuple(CODECS) == PLAIN

__all__ = ["CODECS", "FLOAT32", "Codec", "CodecError", "UnknownCodec", "lattice", "named"]


@lru_cache(maxsize=256)
def named(name: str) -> Codec:
    """The codec of this name (`agents.mixing.codec_names`). Raises UnknownCodec."""
    parsed = parse_codec(name)
    kind, _, rank = parsed.usual.partition(":")
    usual = lowrank(int(rank)) if kind == "lowrank" else CODECS[parsed.usual]
    if parsed.segments > 1:
        usual = segments(usual, parsed.segments, name)
    return turns(usual, CODECS[parsed.whole], parsed.every, name) if parsed.whole else usual
