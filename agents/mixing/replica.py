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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from agents.mixing.clipping import Reach
from agents.mixing.codecs import FLOAT32, Codec
from agents.mixing.exchange import answer, apply, clip
from agents.mixing.layout import Layout
from agents.mixing.norms import Vector, distance, squared_norm
from agents.mixing.pieces import cut, fill
from agents.mixing.privacy import shown
from topology.errors import GossamerError

Note = Callable[..., None]
"""Called while the chunk's lock is held: what it writes down stands in the order in which things were done.

Of a difference that was applied it gets the rate, in which the clipping is; of an offer's, also the codec's answer.
"""


def nothing(rate: float = 0.0, answered: Any = None) -> None:
    """Record nothing."""


class Answered(NamedTuple):
    """An offer that was applied. code: the codec's answer, to send back. difference (n,): what both sides know now.

    squared: its squared norm. scale: how much of it both sides apply, in (0, 1].
    """

    code: Any
    difference: Vector
    squared: float
    scale: float


class TooFar(GossamerError, ValueError):
    """A difference beyond what is taken for a model of this run, or beyond what our offer allowed."""

    code = "G207"


FREE = Reach()

ROUNDING = 1e-3
"""By how much the norm of a difference may come out otherwise on another machine."""


class Replica:
    """The vector that the network mixes while training works on a copy, with what came in since the last boundary.

    theta: (P,) float32, the vector to start from; (V * P,) where the layout has V; copied. published: called for each
    chunk that is published. layout: which coordinates are exchanged, in which chunks; all if None. moved: called with
    each chunk that is published, and how far training has moved it since the last time.
    """

    def __init__(
        self,
        theta: Vector,
        published: Callable[[int], None] | None = None,
        layout: Layout | None = None,
        moved: Callable[[int, float], None] | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._note_published = published or (lambda chunk: None)
        self._note_moved = moved
        self._mixed = np.array(theta, np.float32)
        self.layout = layout = layout or Layout.flat(theta.size)
        self._spans, self.parameters, self._of_theta = layout.chunks, layout.size, len(layout.theta_chunks)
        self._before: list[Vector | None] = [None] * len(self._spans)
        self._spare: list[Vector] = []
        edges = [0, *(edge for span in self._spans for edge in (span.start, span.stop)), theta.size]
        self._gaps = [slice(*gap) for gap in zip(edges[::2], edges[1::2], strict=True) if gap[0] < gap[1]]
        self._published, self._longest = 0, max((span.stop - span.start for span in self._spans), default=0)

    def of_theta(self, chunk: int) -> bool:
        """Whether a chunk is theta's, and not of a vector beside it."""
        return chunk < self._of_theta

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

    def still(self, look: Callable[[], Any]) -> Any:
        """What `look` returns, while no difference is applied."""
        with self._lock:
            return look()

    def answer(
        self,
        chunk: int,
        offered: Any,
        rate: float,
        codec: Codec = FLOAT32,
        out: Vector | None = None,
        note: Note = nothing,
        reaches: Sequence[Reach] = (),
        mask: Vector | None = None,
    ) -> Answered:
        """Apply an offer, clipped to the least of these radii.

        rate: how far this side moves, > 0. out: (n,), memory that the answer may take; may be that of `offered`, which
        is then gone. mask: (n,), what we answer with is theta plus this. Raises NotFinite or TooFar, changing nothing.
        """
        with self._lock:
            theta = self._mixed[self._spans[chunk]]
            with np.errstate(over="ignore", invalid="ignore"):  # What comes of it is looked at next.
                answered, d = answer(codec, shown(theta, mask), offered, out)
            squared = squared_norm(d)
            norm = math.sqrt(squared)
            for reach in reaches:
                if 0 < reach.limit < norm:
                    raise TooFar(f"the models are {norm:.3g} apart, where at most {reach.limit:.3g} is taken for one")
            scale = clip(norm, *(reach.radius for reach in reaches))
            self._move(chunk, theta, -rate * scale, d)
            note(rate * scale, answered)
        return Answered(answered, d, squared, scale)

    def apply(
        self, chunk: int, d: Vector, rate: float, note: Note = nothing, scale: float = 1.0, reach: Reach = FREE
    ) -> float:
        """Take in the difference that came of our offer; its squared norm.

        scale: how much of it the responder applied, in (0, 1]. reach: that our offer named, which it had to keep to.
        Raises NotFinite or TooFar, changing nothing.
        """
        squared = squared_norm(d)
        norm, most = math.sqrt(squared), 1 + ROUNDING
        for moved, allowed in ((scale * norm, reach.radius), (norm, reach.limit)):
            if not 0 < scale <= 1 or 0 < allowed * most < moved:
                raise TooFar(f"an answer {norm:.3g} away, of which {scale:g} applies: we offered {allowed:.3g} at most")
        with self._lock:
            self._move(chunk, self._mixed[self._spans[chunk]], rate * scale, d)
            note(rate * scale)
        return squared

    def adopt(self, theta: Vector, note: Note = nothing) -> None:
        """Replace theta, (P,): a late joiner takes a peer's before it has anything of its own."""
        with self._lock:
            note()
            self._mixed[: theta.size] = theta
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
        cuts, whole, sums = list(cut(theta, self._spans)), None, list[list[Vector]]()
        untouched = []
        for chunk, pieces in enumerate(cuts):
            with self._lock:
                touched = self._before[chunk] is not None
                if not touched:
                    untouched.append(chunk)
                elif whole is None:
                    whole = fresh()
                    sums = list(cut(whole, self._spans))
                self._publish(chunk, pieces, sums[chunk] if touched else [])
        if whole is None:
            return None
        rest = zip(cut(theta, self._gaps), cut(whole, self._gaps), strict=True)
        for pieces, outs in [*((cuts[chunk], sums[chunk]) for chunk in untouched), *rest]:
            for piece, out in zip(pieces, outs, strict=True):
                out[:] = piece
        return whole

    def _withdraw(self, theta: Sequence[Vector]) -> None:
        """Undo a boundary of this theta as far as it came: all that it added comes in again at the next."""
        for chunk, pieces in enumerate(cut(theta, self._spans)):
            if chunk < self._published:
                with self._lock:
                    before = self._memory()
                    fill(before, pieces)
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
        if self._note_moved is not None:
            self._note_moved(chunk, distance(pieces, mixed if before is None else before))
        if before is not None:
            at = 0
            for piece, out in zip(pieces, sums, strict=True):
                end = at + piece.size
                np.add(piece, np.subtract(mixed[at:end], before[at:end], out=out), out=out)
                at = end
        now = pieces if before is None else sums

        def commit() -> None:
            fill(mixed, now)
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
