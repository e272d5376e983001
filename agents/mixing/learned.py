"""What an agent's codec has learned of the differences to others, chunk by chunk (`Codec.learn`)."""

from typing import Any

import numpy as np

from agents.mixing.codecs import Codec
from agents.mixing.norms import Vector
from agents.mixing.replica import Replica


class Learned:
    """The codec's state of each chunk of the replica. saved: as `saved` returned it, None to begin afresh.

    Of what was saved of another model, or is no length, nothing is taken over.
    """

    def __init__(self, codec: Codec, replica: Replica, saved: Vector | None = None) -> None:
        self._codec, self._replica = codec, replica
        self._states: list[Any] = []
        self.begin()
        if saved is not None and saved.shape == self.saved.shape and np.isfinite(saved).all() and (saved >= 0).all():
            ends = np.cumsum([np.size(state) for state in self._states])
            self._states = [part.copy() for part in np.split(np.asarray(saved, np.float32), ends[:-1])]

    def begin(self) -> None:
        """Afresh, from the replica as it is."""
        chunks = range(self._replica.chunks)
        self._states = [self._codec.begin(self._replica.read(chunk)) for chunk in chunks]

    def __getitem__(self, chunk: int) -> Any:
        return self._states[chunk]

    def learn(self, codec: Codec, chunk: int, answered: Any, began: bool) -> None:
        """An exchange of a chunk was applied, in this codec: of one in another than ours nothing is learned.

        began: whether it was ours.
        """
        if codec is self._codec:
            self._states[chunk] = codec.learn(self._states[chunk], answered, self._replica.read(chunk), began)

    @property
    def saved(self) -> Vector:
        """The states of all chunks as one float32 vector, for a checkpoint; empty for a codec without state."""
        return np.concatenate([np.ravel(np.asarray(state, np.float32)) for state in self._states])
