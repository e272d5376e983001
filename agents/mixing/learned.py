"""What an agent's codecs have learned of the differences to others, chunk by chunk (`Codec.learn`)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.mixing.codecs import Codec, named
from agents.mixing.norms import Vector
from agents.mixing.replica import Replica


class Learned:
    """The codecs of an agent's exchanges, fitted to each chunk of the replica, and their states.

    codec: the agent's own, of which `saved` tells. saved: as that returned it, None to begin afresh. Of another codec
    than this one a state begins with the first offer in it. Of what was saved of another model, or is no number,
    nothing is taken over. others: names of further codecs in which the agent may offer later: what those compile is
    compiled here, so that no exchange waits for it.
    """

    def __init__(self, codec: Codec, replica: Replica, saved: Vector | None = None, others: Sequence[str] = ()) -> None:
        self._codec, self._replica = codec, replica
        self._fitted: dict[tuple[str, int], Codec] = {}
        self._states: dict[tuple[str, int], Any] = {}
        self.begin()
        for name in others:
            self.codec(name, 0).begin(replica.read(0))
        if saved is not None and saved.shape == self.saved.shape and np.isfinite(saved).all():
            ends = np.cumsum([np.size(state) for state in self._own])
            parts = np.split(np.asarray(saved, np.float32), ends[:-1])
            self._states |= {(codec.name, chunk): part.copy() for chunk, part in enumerate(parts) if part.size}

    def begin(self) -> None:
        """Afresh, from the replica as it is."""
        self._states.clear()
        for chunk in range(self._replica.chunks):
            self.state(self._codec.name, chunk, self._replica.read(chunk))

    def codec(self, name: str, chunk: int) -> Codec:
        """The codec of this name for a chunk. Raises UnknownCodec."""
        if (name, chunk) not in self._fitted:
            codec = self._codec if name == self._codec.name else named(name)
            if len(self._fitted) > 64 * self._replica.chunks:  # Peers may name as many as they like.
                self._fitted.clear()
            self._fitted[name, chunk] = codec.on(self._replica.layout.matrices(self._replica.span(chunk)))
        return self._fitted[name, chunk]

    def state(self, name: str, chunk: int, theta: Vector) -> Any:
        """What the codec of this name has learned of a chunk, for an offer of theta, from which it begins."""
        if (name, chunk) not in self._states:
            self._states[name, chunk] = self.codec(name, chunk).begin(theta)
        return self._states[name, chunk]

    def offer(self, name: str, chunk: int, theta: Vector, shown: Vector | None = None) -> Any:
        """What we offer of a chunk in the codec of this name. shown: what others see of theta, if that is another."""
        state = self.state(name, chunk, theta)
        return self.codec(name, chunk).offer(theta if shown is None else shown, state)

    def learn(self, name: str, chunk: int, answered: Any, began: bool) -> None:
        """An exchange of a chunk was applied, in this codec: of one in which we offer nothing, nothing is learned.

        began: whether it was ours.
        """
        if (name, chunk) in self._states:
            before, theta = self._states[name, chunk], self._replica.read(chunk)
            self._states[name, chunk] = self.codec(name, chunk).learn(before, answered, theta, began)

    @property
    def saved(self) -> Vector:
        """The states of all chunks as one float32 vector, for a checkpoint; empty for a codec without state."""
        return np.concatenate([np.ravel(np.asarray(state, np.float32)) for state in self._own])

    @property
    def _own(self) -> list[Any]:
        return [self._states[self._codec.name, chunk] for chunk in range(self._replica.chunks)]
