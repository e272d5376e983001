"""How far an agent is from its neighbors in each parameter, by the differences that its exchanges find.

Both sides of an exchange come to know the difference of their chunks anyway. Of some coordinates of it, which are drawn
once, the squares are averaged for each parameter, so nothing is sent, and looking costs little beside an exchange.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from agents.mixing.bounds import MOST_CHARACTERS, MOST_NAMED
from agents.mixing.codec_names import UnknownCodec, parse_codec
from agents.mixing.exchange import EXACT
from agents.mixing.layout import CHUNK, Layout, Scope
from agents.mixing.norms import Vector

OTHERS = "(others)"
"""The name of all parameters that have no figure of their own."""

SAMPLED, LEAST = 512, 16
"""Coordinates of a chunk whose squares are taken, about, and of each parameter in it, at least, if it has so many."""

IN_ALL = 1 << 18
"""Coordinates of all chunks, at most, beyond the least of each: of a large model, fewer are sampled in each chunk."""

EVERY, LEAST_EVERY, OLD_S = 16, 4, 10.0
"""Of the differences of a whole chunk the first is looked at and each so many-th, of a shorter one more, each of the
least number at most; and one after so many seconds without any."""

RECENT = 4
"""Looks at a chunk over which the mean is, exponentially."""


class Sample(NamedTuple):
    """Of one chunk. at: coordinates in it, (k,), grouped by parameter; starts: where each group begins, (g,).

    groups: which parameter each group is of, (g,); counts: how many of its coordinates are in `at`, (g,); sizes: how
    many it has in the chunk, (g,).
    """

    at: Any
    starts: Any
    groups: Any
    counts: Any
    sizes: Any


class Looked:
    """What was seen of one chunk. sample: where one looks; every: at which of the differences.

    squares: the mean of the sums of squares in each group, (g,), in units of its coordinates; seen: how often a group
    was looked at, (g,), or all of them. differences: how many came; looked_s: when one was last looked at.
    """

    __slots__ = ("differences", "every", "looked_s", "sample", "seen", "squares")

    def __init__(self, sample: Sample, every: int) -> None:
        self.sample, self.every = sample, every
        self.squares = np.zeros(sample.groups.size)
        self.seen: Any = 0
        self.differences, self.looked_s = 0, 0.0

    def take(self, squares: Any) -> None:
        """Into the mean: a plain one of the first looks, an exponential one after these. squares: sampled, (k,)."""
        self.seen = seen = self.seen + 1
        share = 1 / (min(seen, RECENT) if isinstance(seen, int) else np.minimum(seen, RECENT))
        self.squares += (np.add.reduceat(squares, self.sample.starts) - self.squares) * share

    def take_part(self, squares: Any, covered: Any) -> None:
        """As `take`, of those groups of which an exchange covered some coordinates. covered: which, (k,)."""
        at, whole = self.sample.starts, self.sample.counts
        counts = np.add.reduceat(covered, at, dtype=np.int64)
        self.seen = self.seen + (counts > 0)
        share = (counts > 0) / np.clip(self.seen, 1, RECENT)
        self.squares += (np.add.reduceat(squares, at) * whole / np.maximum(counts, 1) - self.squares) * share


class Disagreement:
    """Follows the exchanges of one agent. layout: where parameters lie, and in which chunks. now: reads a clock."""

    def __init__(self, layout: Layout, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._chunks = now, layout.theta_chunks
        spans = {name: span for name, span in layout.spans().items() if _held(layout, span)}
        named = [name for name in spans if len(name) <= MOST_CHARACTERS and name.isprintable() and name != OTHERS]
        largest = set(sorted(named, key=lambda name: spans[name].start - spans[name].stop)[:MOST_NAMED])
        self.names = tuple(name for name in spans if name in largest) + (OTHERS,) * (len(largest) < len(spans))
        """Of those that have a figure, in the order of the model."""
        place = {name: index for index, name in enumerate(self.names)}
        self._starts = np.array([span.start for span in spans.values()] or [0])
        self._ends = np.array([span.stop for span in spans.values()] or [0])
        self._group_of = np.array([place.get(name, len(self.names) - 1) for name in spans] or [0])
        held = [_held(layout, span) for span in spans.values()] or [0]
        self._sizes = np.bincount(self._group_of, held, max(1, len(self.names)))
        self._looked: dict[int, Looked] = {}

    def found(self, chunk: int, difference: Vector, codec: str) -> None:
        """An exchange of a chunk found this difference, (n,), in the codec of this name."""
        if chunk >= len(self._chunks):
            return  # Of a vector beside theta.
        looked = self._looked.get(chunk)
        if looked is None:
            every = max(LEAST_EVERY, EVERY * difference.size // CHUNK)
            looked = self._looked[chunk] = Looked(self._sample(chunk), every)
        number, now = looked.differences, self._now()
        looked.differences = number + 1
        if number and (number + chunk) % looked.every and now < looked.looked_s + OLD_S:
            return
        looked.looked_s = now
        at, segments = looked.sample.at, _segments(codec)
        squares = np.square(difference[at], dtype=np.float64)
        if codec != EXACT and not squares.any():  # Too far apart for its bits, more likely than equal: see the next.
            looked.differences = 0
        elif segments > 1:
            looked.take_part(squares, _covered(squares, at, -(-difference.size // segments)))
        else:
            looked.take(squares)

    def layers(self) -> dict[str, float]:
        """By parameter, the root mean square of the distances to neighbors in it, over the last exchanges.

        Of parameters of which nothing is known yet there is none; of one that lies in several chunks, as if those that
        were exchanged stood for the others.
        """
        squared, known = np.zeros_like(self._sizes), np.zeros_like(self._sizes)
        for looked in self._looked.values():
            seen = np.broadcast_to(np.asarray(looked.seen) > 0, looked.squares.shape)
            groups, sizes = looked.sample.groups[seen], looked.sample.sizes[seen]
            squared[groups] += looked.squares[seen] / looked.sample.counts[seen] * sizes
            known[groups] += sizes
        where = np.flatnonzero(known).tolist()
        return {self.names[k]: sqrt(squared[k] * self._sizes[k] / known[k]) for k in where}

    def _sample(self, chunk: int) -> Sample:
        """Which coordinates are looked at: of each parameter evenly spread, each at random within its stretch."""
        span = self._chunks[chunk]
        first, last = np.searchsorted(self._ends, span.start, "right"), np.searchsorted(self._starts, span.stop)
        begins = np.maximum(self._starts[first:last], span.start) - span.start
        sizes = np.minimum(self._ends[first:last], span.stop) - span.start - begins
        of_pieces, whole = self._group_of[first:last], span.stop - span.start
        each = min(SAMPLED, IN_ALL // len(self._chunks))
        random = np.random.default_rng(chunk)
        groups, at = np.unique(of_pieces[sizes > 0]), []
        for group in groups:
            mine = (of_pieces == group) & (sizes > 0)
            ends = np.cumsum(sizes[mine])
            size = int(ends[-1])
            count = min(size, max(LEAST, each * size // whole))
            picked = ((np.arange(count) + random.random(count)) * (size / count)).astype(np.int64)
            piece = np.searchsorted(ends, np.minimum(picked, size - 1), "right")
            at.append(begins[mine][piece] + np.minimum(picked, size - 1) - (ends[piece] - sizes[mine][piece]))
        counts = np.array([each.size for each in at])
        starts = np.cumsum(counts) - counts
        held = np.bincount(of_pieces, sizes, len(self.names))[groups]
        return Sample(np.concatenate(at), starts, groups, counts, held)


def _held(layout: Layout, span: slice) -> int:
    """How many of these coordinates are exchanged."""
    return (Scope(((span.start, span.stop),)) & layout.scope).size if span.start < span.stop else 0


@lru_cache(maxsize=256)
def _segments(codec: str) -> int:
    """In how many segments this codec cuts a chunk, of which it exchanges one at a time; 1 for one of a user's own."""
    try:
        return parse_codec(codec).segments
    except UnknownCodec:
        return 1


def _covered(squares: Any, at: Any, each: int) -> Any:
    """Which of these coordinates, (k,), were exchanged: those of one segment of `each`, if d is 0 everywhere else."""
    segment = at // each
    covered = segment == segment[np.argmax(squares)]
    return np.ones_like(covered) if squares[~covered].any() else covered
