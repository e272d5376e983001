"""How the two sides of an exchange learn the difference of their models: one codec a file (DESIGN 1.4)."""

from agents.mixing.codecs.codec import Codec, CodecError
from agents.mixing.codecs.float32 import FLOAT32
from agents.mixing.codecs.lattice import lattice
from agents.mixing.codecs.lattice_code import WIDE
from topology.errors import GossamerError

CODECS: dict[str, Codec] = {codec.name: codec for codec in (FLOAT32, lattice(WIDE), *map(lattice, range(2, 9)))}

__all__ = ["CODECS", "FLOAT32", "Codec", "CodecError", "UnknownCodec", "lattice", "message_bytes", "named"]


class UnknownCodec(GossamerError, ValueError):
    """No codec has this name."""

    code = "G105"


def named(name: str) -> Codec:
    """The codec of this name. Raises UnknownCodec."""
    if name not in CODECS:
        raise UnknownCodec(f"--codec is one of {', '.join(CODECS)}: got {name!r}")
    return CODECS[name]


def message_bytes(name: str, size: int) -> float:
    """Of an offer and of an answer of so many coordinates, on average."""
    return sum(named(name).size(size)) / 2
