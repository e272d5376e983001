"""Chunks of our vector that are still to be sent to those who pull it: so many bytes a second in all. Sans-IO.

Whoever pulls in a loop gets no more than its share, and keeps nobody waiting: connections are served in turn, and each
has one window of chunks asked for at a time.
"""

from collections import deque

from agents.protocol.events import Effect, SendPiece
from transport.messages import ConnectionId, Pull

BYTES_S = 256e6
"""More than two gigabits a second: whoever pulls over a network doesn't notice."""

BURST_BYTES = 32e6

MAX_SERVED = 1024
"""Connections that are served at a time, in turn: more than are open, else who pulls without end turns others away."""


class Serving:
    """chunk_bytes: of one chunk. most: chunks that one connection may have asked for and not got."""

    def __init__(self, chunk_bytes: float, most: int) -> None:
        self._chunk_bytes = max(1.0, chunk_bytes)
        self._most = most
        self._asked: dict[ConnectionId, deque[tuple[Pull, int]]] = {}
        self._allowed = max(BURST_BYTES, most * self._chunk_bytes)
        self._burst = self._allowed
        self._since_s = 0.0

    def ask(self, connection: ConnectionId, pull: Pull, chunks: range) -> bool:
        """Somebody pulls these chunks; False if too many others are being served. What is asked again is sent once."""
        if connection not in self._asked and len(self._asked) >= MAX_SERVED:
            return False
        asked = self._asked.setdefault(connection, deque(maxlen=self._most))
        known = {(other.request, chunk) for other, chunk in asked}
        asked.extend((pull, chunk) for chunk in chunks[: self._most] if (pull.request, chunk) not in known)
        return True

    def forget(self) -> None:
        """Send nothing of what was asked for so far: our vector is another one now."""
        self._asked.clear()

    def serve(self, now: float) -> list[Effect]:
        """The chunks that may be sent now, one of each connection in turn."""
        self._allowed = min(self._burst, self._allowed + (now - self._since_s) * BYTES_S)
        self._since_s = now
        effects: list[Effect] = []
        while self._asked and self._allowed >= self._chunk_bytes:
            connection, asked = next(iter(self._asked.items()))
            del self._asked[connection]
            if not asked:
                continue
            self._allowed -= self._chunk_bytes
            effects.append(SendPiece(connection, *asked.popleft()))
            if asked:
                self._asked[connection] = asked  # Last in turn.
        return effects
