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
    """What a codec's name stands for. Raises UnknownCodec, which lists what is allowed."""
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
    return None if steps is None else steps * parse_codec(choices(codec)[0]).segments


def _number(before: str, text: str, most: int) -> int:
    """The number behind these characters, from 2 to so many; 0 if it isn't one."""
    match = re.fullmatch(re.escape(before) + r"([1-9]\d{0,2})", text)
    return int(match[1]) if match and 2 <= int(match[1]) <= most else 0


# What two agents both have.

AUTO = "auto"
"""An agent chooses among LADDER by what exchanges take (`agents.protocol.codecs`)."""

LADDER = ("float32", "lattice:8", "lattice:4")
"""From the codec that rounds nothing to the one of the fewest bytes that still trains as well."""

KINDS = ("float32", "bfloat16", "lattice", "segments", "lowrank", "turns")
"""What names are made of: an agent publishes those it has in the handshake."""

EARLIER = "float32 lattice"
"""The kinds of an agent of an earlier version, which publishes none."""


def has_codec(name: object) -> bool:
    """Whether this is a codec's name, or "auto"."""
    try:
        return bool(choices(str(name)))
    except UnknownCodec:
        return False


def choices(name: str) -> tuple[str, ...]:
    """The codecs in which an agent of this setting may offer, in order: its own, then parts of it, then float32.

    The flight recorder holds places in it, of which those of names that there are must not change. Raises UnknownCodec.
    """
    if name == AUTO:
        return LADDER
    parsed = parse_codec(name)
    without_turns = name.rpartition("+")[0] if parsed.whole else name
    found = (name, without_turns, parsed.usual, parsed.whole, "float32")
    return tuple(dict.fromkeys(each for each in found if each))


def kinds_of(name: str) -> set[str]:
    """The kinds of codec that an agent needs for exchanges in this one. Raises UnknownCodec."""
    parsed = parse_codec(name)
    found = {plain.partition(":")[0] for plain in (parsed.usual, parsed.whole) if plain}
    return found | ({"segments"} if parsed.segments > 1 else set()) | ({"turns"} if parsed.whole else set())


def is_compiled(setting: str) -> bool:
    """Whether an agent of this setting needs `agents.mixing.codecs.kernels`. Raises UnknownCodec."""
    return any(kinds_of(name) & {"bfloat16", "lattice", "lowrank"} for name in choices(setting))


def agreed(name: str, theirs: str, setting: str) -> str:
    """The codec of an exchange that we would begin in `name` with an agent that has these kinds.

    theirs: with spaces between. setting: by whose choices there is another, where that agent lacks one.
    """
    has = set((theirs or EARLIER).split())
    return next((each for each in (name, *choices(setting)) if kinds_of(each) <= has), "float32")
