"""What an agent's welcome and the pieces of its vector must be for one who looks: who sends them is not trusted."""

import os
from collections.abc import Sequence

from transport.messages import Piece, Welcome


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


def left_out(welcome: Welcome, first: Welcome | None) -> str:
    """Why an agent that welcomes us so is none of those that we look at, "" if it is. first: the first welcome."""
    if not 0 < welcome.parameters <= most_parameters():
        return f"its model of {welcome.parameters} parameters is more than this machine's memory holds twice"
    if first is None:
        return ""
    if not welcome.run or not first.run or welcome.run == first.run:  # An agent that joins has none before it is in.
        same = welcome.manifest == first.manifest
        return "" if same else f"its run {welcome.run!r} has other settings than the one that we look at"
    return f"its run is {welcome.run!r}, and we look at {first.run!r}: start again to look at that one"


def most_parameters() -> int:
    """The length of the largest vector of which this machine's memory holds two: the mean so far and the next one."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
    except (AttributeError, ValueError, OSError):  # A system without these numbers.
        return 1 << 35
