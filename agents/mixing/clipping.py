"""How far one exchange may move a chunk: the radius to which its difference is clipped (docs/theory.md 23).

    radius = the greatest of: factor * movement, NEAR * |chunk|, the usual distance     where we train
    limit = BEYOND * |chunk| + 2 * radius: a chunk farther from ours than that is no model of this run, and is refused

    radius = FIRST * |chunk|, limit = BEYOND * |chunk|        before the first boundary, of the chunk as it was at first
    none                                                                                where nothing is trained

Where others train the chunk and we follow them, or our shard happens not to move it, its own movement says nothing. How
fast the run moves is then read from the chunks that we train, as a share of their norm: movement = share * |chunk|, of
the chunk that moves most; and for a chunk that is all zeros, as a step of each coordinate. Of a chunk of zeros of which
nothing at all is known yet, as before the first boundary, we guess that coordinates will be about 1. The
usual distance is that of those who train the chunk. So a liar among those shifts us as it does those who train, and one
that only follows no farther. Whoever trains a chunk isn't moved by who follows, and sets no radius for it.

movement is what training moved the chunk between two boundaries: no peer has a say in it. The usual distance is the
lower median of what the peers last showed, one value each, of two at least: a liar among them shifts it by no more than
its neighbor in rank, while a swarm of which most are far apart, as after a partition, meets at full. Two agents alone
can't tell which of them is wrong. Where nothing is trained there is no measure: vectors may start anywhere, and that
some have agreed says nothing of the others.
"""

import math
from statistics import median_low
from typing import NamedTuple

import numpy as np

from agents.mixing.exchange import Array

NEAR = 1 / 10
"""Of a chunk's norm: whoever was away for long, or cut off, comes back in some dozens of exchanges."""

BEYOND = 4.0
"""Two models whose norms differ by less than a factor of three are never farther apart."""

FIRST = 2.0
"""Of a chunk's norm, while we know nothing else: vectors that were drawn apart are within."""

FINISHING = 4.0
"""So many times the radius in the exact finish, which is exact where nothing is clipped; of one peer alone: limit."""

MAX_PEERS = 64
"""Peers whose last distances count, the ones met last."""

FADES, GROWS = 0.9, 1.25
"""The estimate of the movement from one boundary to the next, at least and at most as many times what it was.

A step that was short by chance clips nothing, and who was thrown far off takes long steps, but is not thrown farther.
"""


class Reach(NamedTuple):
    """How far a difference may reach: clipped to the radius, refused beyond the limit; 0 for none. Units of theta."""

    radius: float = 0.0
    limit: float = 0.0


class Radii:
    """The radius of each chunk of one agent's vector. factor: infinity sets none. chunks: how many there are.

    `moved` is called by the training thread, everything else by the network thread.
    """

    def __init__(self, factor: float, chunks: int) -> None:
        self.factor = factor
        self._chunks = chunks
        self._movement = np.full(chunks, math.nan)
        self._norms = np.full(chunks, math.nan)
        self._sizes = np.ones(chunks)
        self._first = np.full(chunks, math.nan)
        self._guessed = np.zeros(chunks, bool)
        self._shown: dict[str, Array] = {}

    def moved(self, chunk: int, distance: float) -> None:
        """Training moved the chunk so far since the last boundary; 0 where it didn't train, which changes nothing."""
        before = self._movement[chunk]
        if not before > 0:
            self._movement[chunk] = distance if distance < math.inf else 0.0
        elif 0 < distance < math.inf:
            self._movement[chunk] = min(max(distance, FADES * before), GROWS * before)

    def showed(self, peer: str, chunk: int, distance: float) -> None:
        """A peer's chunk, which it trains, was so far from ours, before it was clipped."""
        shown = self._shown.pop(peer, None)
        if shown is None:
            shown = np.full(self._chunks, math.nan)
            if len(self._shown) >= MAX_PEERS:
                del self._shown[next(iter(self._shown))]
        self._shown[peer] = shown
        shown[chunk] = distance

    def of(
        self, chunk: int, theta: Array, finishing: bool = False, trained: bool = True, by_peer: bool = True
    ) -> Reach:
        """The radius and the limit now. theta: (n,), our chunk. finishing: for an exchange of the exact finish.

        trained, by_peer: whether we train this chunk, and whether the peer does.
        """
        if math.isinf(self.factor) or (trained and not by_peer and not finishing):
            return Reach()
        shown = [each for peer in self._shown.values() if not math.isnan(each := float(peer[chunk]))]
        norm, movement = float(np.linalg.norm(theta)), float(self._movement[chunk])
        self._sizes[chunk] = theta.size
        if math.isnan(movement):
            return self._at_first(chunk, norm)
        if trained:
            self._norms[chunk] = norm
            if not (self._movement > 0).any():
                return Reach()
        if movement == 0 or not trained:
            movement = self._share * norm or self._step * math.sqrt(theta.size)
        usual = median_low(shown) if len(shown) > 1 else 0.0
        radius = max(self.factor * movement, NEAR * norm, usual)
        limit = BEYOND * norm + 2 * radius
        if radius == 0:
            return self._at_first(chunk, norm)
        self._guessed[chunk] = False
        if finishing:
            radius = FINISHING * radius if len(shown) > 1 else limit
        return Reach(radius, limit)

    def is_guess(self, chunk: int) -> bool:
        """Whether what `of` last said of this chunk is no more than a guess: it was zero, and nothing else is known."""
        return bool(self._guessed[chunk])

    def _at_first(self, chunk: int, norm: float) -> Reach:
        """Where training says nothing yet: by what the chunk was when that was asked first, whatever came in since."""
        if math.isnan(self._first[chunk]):
            self._guessed[chunk] = norm == 0
            self._first[chunk] = norm or math.sqrt(self._sizes[chunk])
        return Reach(FIRST * float(self._first[chunk]), BEYOND * float(self._first[chunk]))

    @property
    def _share(self) -> float:
        """Of its norm, by how much training moves that of our chunks which it moves most; 0 where that isn't known."""
        known = self._movement[(self._movement > 0) & (self._norms > 0)]
        norms = self._norms[(self._movement > 0) & (self._norms > 0)]
        return float((known / norms).max()) if known.size else 0.0

    @property
    def _step(self) -> float:
        """By how much training moves a coordinate, of that of our chunks which it moves most; 0 if it moves none."""
        return float((np.nan_to_num(self._movement) / np.sqrt(self._sizes)).max(initial=0.0))
