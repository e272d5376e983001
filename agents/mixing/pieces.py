"""A vector as flat pieces in order, as a pytree's leaves are, and the spans of coordinates that are cut out of it."""

from collections.abc import Iterable, Iterator, Sequence

from agents.mixing.norms import Vector


def cut(parts: Sequence[Vector], spans: Iterable[slice]) -> Iterator[list[Vector]]:
    """For each span, in order, the pieces of the parts that make it up."""
    k, begin = 0, 0  # the part that the span starts in or after, and the coordinate where it begins
    for span in spans:
        pieces = []
        at = span.start
        while at < span.stop:
            while at >= begin + parts[k].size:
                begin += parts[k].size
                k += 1
            pieces.append(parts[k][at - begin : span.stop - begin])
            at += pieces[-1].size
        yield pieces


def fill(out: Vector, pieces: Sequence[Vector]) -> None:
    """Write the pieces one behind the other."""
    at = 0
    for piece in pieces:
        out[at : at + piece.size] = piece
        at += piece.size
