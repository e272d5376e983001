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
    "float32, bfloat16, lattice:2 to lattice:8, segments:1/N, or two of them, as in lattice:4+segments:1/5, or "
    "lattice:2+float32/5, whose every fifth exchange is in float32"
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
    parts = str(text).split("+")
    found = CodecName(parts.pop(0)) if _is_plain(parts[0]) else CodecName("float32")
    if parts and (segments := _number("segments:1/", parts[0])):
        found = found._replace(segments=segments)
        parts.pop(0)
    if parts and found.usual != parts[0]:
        whole, _, every = parts[0].rpartition("/")
        if _is_plain(whole) and (turns := _number("", every)):
            found = found._replace(whole=whole, every=turns)
            parts.pop(0)
    if parts:
        raise UnknownCodec(f"codec is one of {EXPECTED}: got {text!r:.80}")
    return found


def steps_between(steps: int | None, codec: str) -> int | None:
    """Local steps between two exchanges of one coordinate that an agent begins, of those between two of any; None for
    a time in their place."""
    return None if steps is None else steps * parse_codec(codec).segments


def _is_plain(text: str) -> bool:
    return text in PLAIN


def _number(before: str, text: str) -> int:
    """The number of turns behind these characters; 0 if it isn't one."""
    match = re.fullmatch(re.escape(before) + r"([1-9]\d{0,2})", text)
    return int(match[1]) if match and 2 <= int(match[1]) <= MOST_TURNS else 0
