"""The one place where the training thread and the network thread meet (DESIGN 1.4).

    published   theta as it was at the last boundary
    mixed       published plus every difference taken in since

The network thread reads and changes `mixed` chunk by chunk. The training thread, at a boundary, carries
`mixed - published` into theta and publishes anew. A lock is held for one chunk at a time, so neither waits for
more than the mixing of a megabyte. Nothing is ever lost between the two: every difference is in `mixed` until
it is in theta.
"""

import math
import threading
from typing import Any

import numpy as np

from agents.mixing.chunks import chunk_count, chunk_slice
from agents.mixing.exchange import close, concede, difference

Vector = np.ndarray[Any, np.dtype[np.float32]]


class NotFinite(ValueError):
    """A difference that holds NaN or infinity, or is absurdly large: it must not be mixed in."""


class Replica:
    """theta: (P,) float32, the vector to start from; copied."""

    def __init__(self, theta: Vector) -> None:
        self._lock = threading.Lock()
        self._published = np.array(theta, np.float32)
        self._mixed = self._published.copy()
        self._touched = np.zeros(chunk_count(theta.size), bool)

    @property
    def parameters(self) -> int:
        """P, the length of the vector."""
        return self._mixed.size

    @property
    def chunks(self) -> int:
        """How many chunks the vector has."""
        return self._touched.size

    def size(self, chunk: int) -> int:
        """How many coordinates this chunk has."""
        span = chunk_slice(chunk, self.parameters)
        return span.stop - span.start

    # The network thread's side.

    def read(self, chunk: int) -> Vector:
        """A copy of the chunk, as an offer or a piece of the whole."""
        with self._lock:
            return self._mixed[chunk_slice(chunk, self.parameters)].copy()

    def answer(self, chunk: int, offered: Vector, alpha: float, share: float) -> tuple[Vector, float]:
        """Concede to an offer: the difference to send back, and its squared norm. Raises NotFinite, changing nothing."""
        span = chunk_slice(chunk, self.parameters)
        with self._lock:
            d = difference(self._mixed[span], offered)
            squared = _squared_norm(d)
            self._mixed[span] = concede(self._mixed[span], d, alpha, share)
            self._touched[chunk] = True
        return d, squared

    def close(self, chunk: int, d: Vector, alpha: float, share: float) -> float:
        """Take in the answer to our offer; its squared norm. Raises NotFinite, changing nothing."""
        span = chunk_slice(chunk, self.parameters)
        squared = _squared_norm(d)
        with self._lock:
            self._mixed[span] = close(self._mixed[span], d, alpha, share)
            self._touched[chunk] = True
        return squared

    def adopt(self, theta: Vector) -> None:
        """Replace everything: a late joiner takes a peer's vector before it has anything of its own."""
        with self._lock:
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

    def boundary(self, theta: Vector) -> tuple[Vector, bool]:
        """Publish theta plus all that came in since the last boundary: (the sum, whether anything came).

        The sum, (P,), is `published` itself: read it before the next boundary. A chunk nobody touched is theta's,
        bit for bit.
        """
        changed = False
        for chunk in range(self.chunks):
            span = chunk_slice(chunk, self.parameters)
            with self._lock:
                published, mixed = self._published[span], self._mixed[span]
                if self._touched[chunk]:
                    self._touched[chunk] = False
                    changed = True
                    np.subtract(mixed, published, out=published)
                    published += theta[span]
                else:
                    published[:] = theta[span]
                mixed[:] = published
        return self.published, changed


def finite(values: Vector) -> Vector:
    """The values themselves. Raises NotFinite if one is not."""
    _squared_norm(values)
    return values


def _squared_norm(d: Vector) -> float:
    """One pass that measures and guards: any NaN or infinity in d makes d . d not finite."""
    squared = float(np.dot(d, d))
    if not math.isfinite(squared):
        raise NotFinite("a difference with NaN, infinity or values beyond 1e19 was not mixed in")
    return squared
