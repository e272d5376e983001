"""The vector that an agent's network mixes while its training goes on: where the two threads meet (DESIGN 1.6).

    published   theta as it was at the last boundary
    mixed       published plus every difference applied since

The network thread reads and changes `mixed` chunk by chunk. The training thread, at a boundary, carries
`mixed - published` into theta and publishes anew. A lock is held for one chunk at a time, so neither waits for
more than the mixing of a megabyte. Nothing is ever lost between the two: every difference is in `mixed` until
it is in theta.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from agents.mixing.codecs import FLOAT32, Codec
from agents.mixing.exchange import answer, apply
from agents.mixing.layout import Layout
from topology.errors import GossamerError

Vector = np.ndarray[Any, np.dtype[np.float32]]


class NotFinite(GossamerError, ValueError):
    """A difference that holds NaN or infinity, or is absurdly large: it must not be mixed in."""


Note = Callable[[], None]
"""Called while the chunk's lock is held: what it writes down stands in the order in which things were done."""


def nothing() -> None:
    """Record nothing."""


class Replica:
    """theta: (P,) float32, the vector to start from; copied. published: called for each chunk that is published.

    layout: which coordinates are exchanged, in which chunks; all of them if None.
    """

    def __init__(
        self, theta: Vector, published: Callable[[int], None] | None = None, layout: Layout | None = None
    ) -> None:
        self._lock = threading.Lock()
        self._note_published = published or (lambda chunk: None)
        self._published = np.array(theta, np.float32)
        self._mixed = self._published.copy()
        self._spans = (layout or Layout.flat(theta.size)).chunks
        self._touched = np.zeros(len(self._spans), bool)

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
            apply(theta, -rate, d, out=theta)
            self._touched[chunk] = True
            note()
        return answered, d, squared

    def apply(self, chunk: int, d: Vector, rate: float, note: Note = nothing) -> float:
        """Take in the difference that came of our offer; its squared norm. Raises NotFinite, changing nothing."""
        squared = _squared_norm(d)
        with self._lock:
            theta = self._mixed[self._spans[chunk]]
            apply(theta, rate, d, out=theta)
            self._touched[chunk] = True
            note()
        return squared

    def adopt(self, theta: Vector, note: Note = nothing) -> None:
        """Replace everything: a late joiner takes a peer's vector before it has anything of its own."""
        with self._lock:
            note()
            self._mixed[:] = theta
            self._published[:] = theta
            self._touched[:] = False

    # The training thread's side.

    @property
    def published(self) -> Vector:
        """theta as it was at the last boundary, read-only; changes with the next."""
        view = self._published.view()
        view.flags.writeable = False
        return view

    @property
    def touched(self) -> bool:
        """Whether any difference came in since the last boundary."""
        return bool(self._touched.any())

    def boundary(self, theta: Vector | Sequence[Vector]) -> tuple[Vector, bool]:
        """Publish theta plus all that came in since the last boundary: (the sum, whether anything came).

        theta: (P,), or flat pieces of it in order. The sum, (P,), is `published` itself: read it before the next
        boundary. A chunk that nobody touched is theta's, bit for bit. theta must be memory of its own: ValueError if it
        is `published`.
        """
        parts = [theta] if isinstance(theta, np.ndarray) else theta
        if any(np.may_share_memory(part, self._published) for part in parts):
            raise ValueError("boundary needs the learner's own theta: got the published vector itself; copy it first")
        changed = [self._publish(chunk, pieces) for chunk, pieces in enumerate(self._cut(parts))]
        return self.published, any(changed)

    def publish(self, chunk: int, theta: Vector) -> bool:
        """`boundary` for one chunk of theta (P,): whether anything had come in."""
        return self._publish(chunk, [theta[self._spans[chunk]]])

    def _cut(self, parts: Sequence[Vector]) -> Iterator[list[Vector]]:
        """For each chunk the pieces of the parts that make it up, in order."""
        k, begin = 0, 0  # the part that the chunk starts in or after, and the coordinate where it begins
        for span in self._spans:
            pieces = []
            at = span.start
            while at < span.stop:
                while at >= begin + parts[k].size:
                    begin += parts[k].size
                    k += 1
                pieces.append(parts[k][at - begin : span.stop - begin])
                at += pieces[-1].size
            yield pieces

    def _publish(self, chunk: int, pieces: list[Vector]) -> bool:
        span = self._spans[chunk]
        with self._lock:
            published, mixed = self._published[span], self._mixed[span]
            touched = bool(self._touched[chunk])
            if touched:
                self._touched[chunk] = False
                np.subtract(mixed, published, out=published)
            at = 0
            for piece in pieces:
                end = at + piece.size
                if touched:
                    published[at:end] += piece
                else:
                    published[at:end] = piece
                at = end
            mixed[:] = published
            self._note_published(chunk)
        return touched


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
