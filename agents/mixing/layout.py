"""Which coordinates of which named vectors are exchanged, and how they are cut into chunks (DESIGN 1.3, 1.5).

Agents of one run share a coordinate space: the parameters of their model, one after the other. An agent holds a scope
of it, and two agents exchange the intersection of their scopes, chunk by chunk.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from typing import Any

CHUNK = 1 << 18
"""Coordinates in a chunk at most: 1 MiB of float32. The unit of exchange, retry and locking."""

THETA = "theta"
"""The vector of the model's parameters, which every learning rule exchanges."""


@dataclass(frozen=True)
class Scope:
    """Coordinates that an agent holds: sorted, disjoint, non-empty ranges [start, stop)."""

    ranges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        edges = [edge for start, stop in self.ranges for edge in (start, stop)]
        if any(start < 0 or start >= stop for start, stop in self.ranges) or any(a > b for a, b in pairwise(edges)):
            raise ValueError(f"a scope is sorted, disjoint ranges (start, stop) of coordinates: got {self.ranges}")

    @classmethod
    def full(cls, size: int) -> "Scope":
        """All coordinates of a space of this size."""
        return cls(((0, size),) if size else ())

    @property
    def size(self) -> int:
        """How many coordinates it holds."""
        return sum(stop - start for start, stop in self.ranges)

    def __and__(self, other: "Scope") -> "Scope":
        """The coordinates that both hold: what two agents exchange."""
        found, mine, theirs = [], list(self.ranges), list(other.ranges)
        while mine and theirs:
            start, stop = max(mine[0][0], theirs[0][0]), min(mine[0][1], theirs[0][1])
            if start < stop:
                found.append((start, stop))
            (mine if mine[0][1] <= theirs[0][1] else theirs).pop(0)
        return Scope(tuple(found))

    def chunks(self) -> tuple[slice, ...]:
        """Cut into chunks of at most CHUNK coordinates, none of which crosses the border of a range."""
        cuts = [(at, min(at + CHUNK, stop)) for start, stop in self.ranges for at in range(start, stop, CHUNK)]
        return tuple(slice(start, stop) for start, stop in cuts)


def matrices(shapes: Iterable[tuple[int, ...]], span: slice | None = None) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the matrices that make up a stretch of these parameters, one after the other; 1 and n of a
    vector, and of a row that begins or ends outside. All but the last axis are rows. span: all of them if None."""
    found, at = list[tuple[int, int]](), 0
    for shape in shapes:
        begin, end = at, at + prod(shape)
        at = end
        if span is not None:
            begin, end = max(begin, span.start), min(end, span.stop)
        columns = shape[-1] if len(shape) > 1 else 0
        if begin < end and columns:
            offset = at - prod(shape)
            first = min(end, offset - (offset - begin) // columns * columns)
            last = max(first, offset + (end - offset) // columns * columns)
            cut = ((1, first - begin), ((last - first) // columns, columns), (1, end - last))
            found += [(rows, count) for rows, count in cut if rows * count]
        elif begin < end:
            found.append((1, end - begin))
    return tuple(found)


def unique(names: Iterable[str], reserved: frozenset[str] = frozenset()) -> list[str]:
    """These names, but with a number behind one that came before or is reserved: {"a": {"b": x}, "a/b": y} has two."""
    found = dict[str, None]()
    for name in names:
        key, number = name, 0
        while key in found or key in reserved:
            number += 1
            key = f"{name or 'parameter'}#{number}"
        found[key] = None
    return list(found)


class Layout:
    """Where each parameter lies in the coordinate space, which scope of it is held, and which vectors are exchanged.

    parameters: (name, shape, ...) in the order of theta. scope: everything if None. vectors: their names, theta first;
    what is exchanged is one after the other, (V * size,), and no chunk crosses from one to the next.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[Any, ...]],
        scope: Scope | None = None,
        vectors: tuple[str, ...] = (THETA,),
    ) -> None:
        self.parameters = tuple((str(name), tuple(shape)) for name, shape, *_ in parameters)
        self._ends = [0, *accumulate(prod(shape) for _, shape in self.parameters)]
        self.size = self._ends[-1]
        self.scope = scope or Scope.full(self.size)
        self.vectors = vectors

    @classmethod
    def flat(cls, size: int, vectors: tuple[str, ...] = (THETA,)) -> "Layout":
        """One parameter of this many coordinates, called as the vector is."""
        return cls([(THETA, (size,))], vectors=vectors)

    def spans(self) -> dict[str, slice]:
        """The coordinates of each parameter, by a name of its own: of two that are called alike one has a number."""
        names = unique(name for name, _ in self.parameters)
        return {name: slice(*span) for name, span in zip(names, pairwise(self._ends), strict=True)}

    def matrices(self, span: slice) -> tuple[tuple[int, int], ...]:
        """Rows and columns of what lies within a range of coordinates of one vector, as `matrices` gives them."""
        before = span.start // self.size * self.size if self.size else 0
        return matrices((shape for _, shape in self.parameters), slice(span.start - before, span.stop - before))

    @cached_property
    def theta_chunks(self) -> tuple[slice, ...]:
        """The coordinates of each chunk of what is held of theta."""
        return self.scope.chunks()

    @cached_property
    def chunks(self) -> tuple[slice, ...]:
        """The coordinates of each chunk of what is held of all vectors, theta's first."""
        starts = [k * self.size for k in range(len(self.vectors))]
        return tuple(slice(at + span.start, at + span.stop) for at in starts for span in self.theta_chunks)
