"""The vector that an agent's network mixes while its training goes on: where the two threads meet (DESIGN 1.6).

    mixed    theta as it was at the last boundary, plus every difference applied since: what peers see of us
    before   for each chunk that was touched since, what it was at the last boundary

The network thread reads and changes `mixed` chunk by chunk. The training thread, at a boundary, adds `mixed - before`
to its theta and publishes the sum as `mixed`. A lock is held for one chunk at a time, so neither waits for more than
the mixing of a megabyte. Nothing is ever lost between the two: every difference is in `mixed - before` until it is in
theta. An interrupt may come at any moment of it: a chunk is published whole or not at all, and what was published of a
sum that never reached training is withdrawn.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from agents.mixing.codecs import FLOAT32, Codec
from agents.mixing.exchange import answer, apply
from agents.mixing.layout import Layout
from topology.errors import GossamerError

Vector = np.ndarray[Any, np.dtype[np.float32]]


class NotFinite(GossamerError, ValueError):
    """A difference that holds NaN or infinity, or is absurdly large: it must not be mixed in."""

    code = "G205"


Note = Callable[[], None]
"""Called while the chunk's lock is held: what it writes down stands in the order in which things were done."""


def nothing() -> None:
    """Record nothing."""


class Replica:
    """The vector that the network mixes while training works on a copy, with what came in since the last boundary.

    theta: (P,) float32, the vector to start from; copied. published: called for each chunk that is published.
    layout: which coordinates are exchanged, in which chunks; all of them if None.
    """

    def __init__(
        self, theta: Vector, published: Callable[[int], None] | None = None, layout: Layout | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._note_published = published or (lambda chunk: None)
        self._mixed = np.array(theta, np.float32)
        self._spans = (layout or Layout.flat(theta.size)).chunks
        self._before: list[Vector | None] = [None] * len(self._spans)
        self._spare: list[Vector] = []
        edges = [0, *(edge for span in self._spans for edge in (span.start, span.stop)), theta.size]
        self._gaps = [slice(*gap) for gap in zip(edges[::2], edges[1::2], strict=True) if gap[0] < gap[1]]
        self._longest = max((span.stop - span.start for span in self._spans), default=0)
        self._published = 0

    @property
    def parameters(self) -> int:
        """P, the length of the vector."""
        return int(self._mixed.size)

    @property
    def chunks(self) -> int:
        """How many chunks the vector has."""
        return len(self._spans)

    def span(self, chunk: int) -> slice:
        """The coordinates of a chunk."""
        return self._spans[chunk]

    def size(self, chunk: int) -> int:
        """How many coordinates a chunk has."""
        span = self._spans[chunk]
        return int(span.stop - span.start)

    # The network thread's side.

    def read(self, chunk: int) -> Vector:
        """The chunk as it lies here, (n,): to be sent without a copy, as an offer or a piece of the whole.

        It may change while it is being sent, a coordinate at a time. That is safe where the codec doesn't need the
        offer again: each coordinate is a value that theta had, and both sides then move by the answer alone.
        """
        return self._mixed[self._spans[chunk]]

    def copy(self, chunk: int, note: Note = nothing) -> Vector:
        """The chunk as it is at one moment, (n,): for who keeps or records what was sent."""
        with self._lock:
            note()
            return self.read(chunk).copy()

    def answer(
        self,
        chunk: int,
        offered: Any,
        rate: float,
        codec: Codec = FLOAT32,
        out: Vector | None = None,
        note: Note = nothing,
    ) -> tuple[Any, Vector, float]:
        """Apply an offer: (the codec's answer to send back, the difference that both now know, its squared norm).

        rate: how far this side moves, > 0. Raises NotFinite, changing nothing. out: (n,), memory that the answer may
        take; may be that of `offered`, which is then gone.
        """
        with self._lock:
            theta = self._mixed[self._spans[chunk]]
            with np.errstate(over="ignore", invalid="ignore"):  # What comes of it is looked at next.
                answered, d = answer(codec, theta, offered, out)
            squared = _squared_norm(d)
            self._move(chunk, theta, -rate, d)
            note()
        return answered, d, squared

    def apply(self, chunk: int, d: Vector, rate: float, note: Note = nothing) -> float:
        """Take in the difference that came of our offer; its squared norm. Raises NotFinite, changing nothing."""
        squared = _squared_norm(d)
        with self._lock:
            self._move(chunk, self._mixed[self._spans[chunk]], rate, d)
            note()
        return squared

    def adopt(self, theta: Vector, note: Note = nothing) -> None:
        """Replace everything: a late joiner takes a peer's vector before it has anything of its own."""
        with self._lock:
            note()
            self._mixed[:] = theta
            self._before = [None] * len(self._spans)

    def _move(self, chunk: int, theta: Vector, rate: float, d: Vector) -> None:
        """Apply a difference to a chunk, keeping what it was at the last boundary."""
        if self._before[chunk] is None:
            before = self._memory()
            before[: theta.size] = theta
            self._before[chunk] = before
        apply(theta, rate, d, out=theta)

    # The training thread's side.

    @property
    def touched(self) -> bool:
        """Whether any difference came in since the last boundary."""
        return any(before is not None for before in self._before)

    def snapshot(self) -> Vector:
        """The whole vector as it is, (P,), a copy, each chunk as it was at one moment."""
        found = np.empty_like(self._mixed)
        for span in (*self._spans, *self._gaps):
            with self._lock:
                found[span] = self._mixed[span]
        return found

    def boundary(
        self,
        theta: Sequence[Vector],
        fresh: Callable[[], Sequence[Vector]],
        restore: Callable[[Sequence[Vector]], Any] = lambda pieces: pieces,
    ) -> Any:
        """Publish theta plus all that came in since the last boundary. Returns what restore makes of the sum.

        None if nothing came. theta: (P,), as flat pieces in order. fresh: makes pieces of the same sizes for the sum,
        called if it is needed, in memory other than theta's. A chunk that nobody touched is theta's, bit for bit. If
        anything raises, restore or an interrupt, all that came in is in the sum of the next boundary instead.
        """
        self._published = 0
        try:
            whole = self._boundary(theta, fresh)
            return None if whole is None else restore(whole)
        except BaseException:
            self._withdraw(theta)
            raise

    def _boundary(self, theta: Sequence[Vector], fresh: Callable[[], Sequence[Vector]]) -> Sequence[Vector] | None:
        cuts, whole, sums = list(_cut(theta, self._spans)), None, list[list[Vector]]()
        untouched = []
        for chunk, pieces in enumerate(cuts):
            with self._lock:
                touched = self._before[chunk] is not None
                if not touched:
                    untouched.append(chunk)
                elif whole is None:
                    whole = fresh()
                    sums = list(_cut(whole, self._spans))
                self._publish(chunk, pieces, sums[chunk] if touched else [])
        if whole is None:
            return None
        rest = zip(_cut(theta, self._gaps), _cut(whole, self._gaps), strict=True)
        for pieces, outs in [*((cuts[chunk], sums[chunk]) for chunk in untouched), *rest]:
            for piece, out in zip(pieces, outs, strict=True):
                out[:] = piece
        return whole

    def _withdraw(self, theta: Sequence[Vector]) -> None:
        """Undo a boundary of this theta as far as it came: all that it added comes in again at the next."""
        for chunk, pieces in enumerate(_cut(theta, self._spans)):
            if chunk < self._published:
                with self._lock:
                    before = self._memory()
                    _fill(before, pieces)
                    self._before[chunk] = before

    def publish(self, chunk: int, theta: Vector, out: Vector) -> bool:
        """`boundary` for one chunk of theta (P,): whether anything had come in.

        out: (P,), gets the chunk of the sum.
        """
        span = self._spans[chunk]
        with self._lock:
            touched = self._before[chunk] is not None
            self._publish(chunk, [theta[span]], [out[span]] if touched else [])
        if not touched:
            out[span] = theta[span]
        return touched

    def _publish(self, chunk: int, pieces: list[Vector], sums: list[Vector]) -> None:
        """mixed = theta; of a chunk that was touched, mixed = sum, after sum = theta + (mixed - before)."""
        mixed, before = self._mixed[self._spans[chunk]], self._before[chunk]
        if before is not None:
            at = 0
            for piece, out in zip(pieces, sums, strict=True):
                end = at + piece.size
                np.add(piece, np.subtract(mixed[at:end], before[at:end], out=out), out=out)
                at = end
        now = pieces if before is None else sums

        def commit() -> None:
            _fill(mixed, now)
            self._before[chunk] = None
            self._published = chunk + 1

        try:
            commit()
        except BaseException:  # An interrupt, in the middle: do it again, all of it, and then let it through.
            commit()
            raise
        if before is not None:
            self._spare.append(before)
        self._note_published(chunk)

    def _memory(self) -> Vector:
        """A scratch buffer as long as the largest chunk."""
        return self._spare.pop() if self._spare else np.empty(self._longest, np.float32)


def _cut(parts: Sequence[Vector], spans: Iterable[slice]) -> Iterator[list[Vector]]:
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


def _fill(out: Vector, pieces: Sequence[Vector]) -> None:
    at = 0
    for piece in pieces:
        out[at : at + piece.size] = piece
        at += piece.size


def finite(values: Vector) -> Vector:
    """The values themselves. Raises NotFinite if one is not."""
    _squared_norm(values)
    return values


_ROW = 8192
"""Coordinates in one call of BLAS: few enough that it stays on this thread and leaves the others to training."""


def _squared_norm(d: Vector) -> float:
    """One pass that measures and guards: any NaN or infinity in d makes d . d not finite."""
    whole = d.size - d.size % _ROW
    rows, rest = d[:whole].reshape(-1, _ROW), d[whole:]
    with np.errstate(over="ignore", invalid="ignore"):
        squared = float(np.vecdot(rows, rows).sum()) + float(np.dot(rest, rest))
    if not math.isfinite(squared):
        raise NotFinite("a difference with NaN, infinity or values beyond 1e19 was not mixed in")
    return squared
