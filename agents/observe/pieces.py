"""What a piece of another agent's vector must be, and how long a vector may be: who sends them is not trusted."""

import os
from collections.abc import Sequence

from transport.messages import Piece


def misfit(piece: Piece, parameters: int, chunks: Sequence[slice]) -> str:
    """What is wrong with a piece of a vector of this length, "" if nothing."""
    if piece.parameters < 0:
        return "nobody we are connected with reaches it"
    if piece.parameters != parameters:
        return f"its vector has {piece.parameters} parameters, not {parameters}: it trains another model"
    if not 0 <= piece.chunk < len(chunks):
        return f"it sent piece {piece.chunk} of a vector of {len(chunks)} pieces"
    span = chunks[piece.chunk]
    if len(piece.payload) != 4 * (span.stop - span.start):
        return f"it sent a piece of {len(piece.payload)} bytes where {4 * (span.stop - span.start)} were expected"
    return ""


def most_parameters() -> int:
    """The length of the largest vector of which this machine's memory holds two: the mean so far and the next one."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
    except (AttributeError, ValueError, OSError):  # A system without these numbers.
        return 1 << 35
