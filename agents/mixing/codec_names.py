"""The names of the codecs (`agents.mixing.codecs`), for who doesn't need NumPy yet. This is all of their grammar:

name     = usual [ "+" whole "/" N ]          each Nth exchange that an agent begins is in the codec `whole`
usual    = plain [ "+segments:1/" N ]         each exchange carries one of N segments of a chunk, in turn
         | "segments:1/" N                    of float32
whole    = plain
plain    = "float32" | "bfloat16" | "lattice:" 2 to 8 | "lowrank:" 1 to 64
"""

import re
from typing import NamedTuple

from topology.errors import GossamerError

MOST_TURNS, MOST_RANK = 100, 64
"""N, and the directions of lowrank, at most."""

PLAIN = ("float32", "bfloat16", *(f"lattice:{bits}" for bits in range(2, 9)))
"""Names that have no number to choose freely."""

EXPECTED = (
    "float32, bfloat16, lattice:2 to lattice:8, segments:1/N, lowrank:R, or two of them, as in lattice:4+segments:1/5, "
    "or lowrank:4+lattice:4/5, whose every fifth exchange is in lattice:4"
)


class UnknownCodec(GossamerError, ValueError):
    """No codec has this name."""

    code = "G105"


class CodecName(NamedTuple):
    """usual: a plain codec; segments: of how many each exchange carries one, 1 for all of a chunk.

    whole: the plain codec of each `every`th exchange, "" for none.
    """

    usual: str
    segments: int = 1
    whole: str = ""
    every: int = 1


def parse_codec(text: str) -> CodecName:
    """What a codec's name says. Raises UnknownCodec, which lists what is allowed."""
    usual, *parts = str(text).split("+")
    if number := _number("segments:1/", usual, MOST_TURNS):
        found = CodecName("float32", number)
    else:
        found = CodecName(usual)
        if parts and usual in PLAIN and (number := _number("segments:1/", parts[0], MOST_TURNS)):
            found = found._replace(segments=number)
            parts.pop(0)
    if parts:
        whole, _, every = parts[0].rpartition("/")
        number = _number("", every, MOST_TURNS)
        if whole in PLAIN and number and (whole != usual or found.segments > 1):
            found = found._replace(whole=whole, every=number)
            parts.pop(0)
    if parts or not (found.usual in PLAIN or found.usual == "lowrank:1" or _number("lowrank:", usual, MOST_RANK)):
        raise UnknownCodec(f"codec is one of {EXPECTED}: got {text!r:.80}")
    return found


def steps_between(steps: int | None, codec: str) -> int | None:
    """Local steps between two exchanges of one coordinate that an agent begins, of those between two of any; None for
    a time in their place."""
    return None if steps is None else steps * parse_codec(codec).segments


def _number(before: str, text: str, most: int) -> int:
    """The number behind these characters, from 2 to so many; 0 if it isn't one."""
    match = re.fullmatch(re.escape(before) + r"([1-9]\d{0,2})", text)
    return int(match[1]) if match and 2 <= int(match[1]) <= most else 0
