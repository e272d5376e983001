"""Whole vectors, chunk by chunk: to adopt one, to serve ours, to pass on that of an agent behind NAT. Sans-IO."""

from dataclasses import dataclass, field

from agents.mixing.layout import THETA
from agents.protocol.events import Effect, KeepPiece, Send
from agents.protocol.serving import Serving
from agents.protocol.session import WINDOW
from transport.messages import AgentId, ConnectionId, Piece, Pull

ASK_AGAIN_S = 3.0
"""A request is repeated after so long without a piece."""

RELAY_S = 30.0
"""A relay that nobody uses for so long is forgotten."""

MAX_RELAYS, OF_ONE = 256, 4
"""Pulls that we pass on at a time, in all and of one connection, which asks for one vector after the other."""


@dataclass
class Download:
    """The receiving end: which chunks are here, which to ask for next. Chunks may come twice or in any order.

    asked_s: when pieces were last asked for or came. began_s: when the download began. vector: the name of what is
    pulled.
    """

    agent: AgentId
    request: int
    chunks: int
    asked_s: float
    began_s: float
    vector: str = THETA
    have: set[int] = field(default_factory=set)
    next: int = 0

    @property
    def complete(self) -> bool:
        """Whether every chunk is here."""
        return len(self.have) == self.chunks

    def ask(self, now: float) -> Pull | None:
        """The next request, as soon as all that was asked for is here; the same one again after ASK_AGAIN_S."""
        waiting = [chunk for chunk in range(self.next) if chunk not in self.have] if self.next else []
        if self.complete or (waiting and now - self.asked_s < ASK_AGAIN_S):
            return None
        first = waiting[0] if waiting else self.next
        count = min(WINDOW, self.chunks - first)
        self.next, self.asked_s = first + count, now
        return Pull(self.request, first, count, self.agent, self.vector)

    def take(self, piece: Piece, now: float) -> bool:
        """Whether this piece is one we wait for and don't have yet."""
        if piece.request != self.request or not 0 <= piece.chunk < self.chunks or piece.chunk in self.have:
            return False
        self.have.add(piece.chunk)
        self.asked_s = now
        return True


@dataclass
class Relay:
    """A pull that we pass on: where its pieces go back to, and whose they must be."""

    connection: ConnectionId
    request: int
    agent: AgentId
    since_s: float


class Pulls:
    """The pulls of one agent: its own download, and those that it serves or relays.

    chunks: of our vector; parameters: its length.
    """

    def __init__(self, agent: AgentId, chunks: int, parameters: int) -> None:
        self._agent = agent
        self._chunks = chunks
        self._parameters = parameters
        self._serving = Serving(4 * parameters / max(1, chunks), 2 * WINDOW)
        self._number = 0
        self._relays: dict[int, Relay] = {}
        self._vector = THETA
        self.download: Download | None = None

    def holds(self, vector: str) -> None:
        """Serve, and adopt, the vector of this name from now on, and nothing of the one before."""
        if vector != self._vector:
            self._vector = vector
            self._serving.forget()

    def begin(self, agent: AgentId, connection: ConnectionId, now: float, chunks: int | None = None) -> list[Effect]:
        """Start to adopt the vector of this agent. chunks: how many of ours it has, from the first on; None for all."""
        self._number += 1
        many = self._chunks if chunks is None else chunks
        self.download = Download(agent, self._number, many, asked_s=now, began_s=now, vector=self._vector)
        pull = self.download.ask(now)
        return [Send(connection, pull)] if pull else []

    def on_pull(self, connection: ConnectionId, pull: Pull, onward: ConnectionId | None, now: float) -> list[Effect]:
        """Serve our own vector, or pass the request on, on the connection `onward`, to the agent it names."""
        if pull.agent in ("", self._agent) and pull.vector == self._vector:
            last = min(self._chunks, pull.first + min(pull.count, 2 * WINDOW))
            if self._serving.ask(connection, pull, range(max(0, pull.first), last)):
                return self._serving.serve(now)
            return [Send(connection, Piece(pull.request, 0, -1))]
        if onward is None:
            return [Send(connection, Piece(pull.request, 0, -1))]
        for number, relay in self._relays.items():
            if (relay.connection, relay.request, relay.agent) == (connection, pull.request, pull.agent):
                relay.since_s = now
                return [Send(onward, Pull(number, pull.first, pull.count, pull.agent, pull.vector))]
        theirs = [number for number, relay in self._relays.items() if relay.connection == connection]
        for number in theirs[: max(0, 1 + len(theirs) - OF_ONE)]:
            del self._relays[number]
        if len(self._relays) >= MAX_RELAYS:
            return [Send(connection, Piece(pull.request, 0, -1))]
        self._number += 1
        self._relays[self._number] = Relay(connection, pull.request, pull.agent, now)
        return [Send(onward, Pull(self._number, pull.first, pull.count, pull.agent, pull.vector))]

    def on_piece(self, agent: AgentId, connection: ConnectionId, piece: Piece, now: float) -> list[Effect]:
        """Keep what we adopt, pass on what we relay: pieces of the agent that was asked, no other's."""
        relay = self._relays.get(piece.request)
        if relay is not None and relay.agent == agent:
            relay.since_s = now
            return [Send(relay.connection, Piece(relay.request, piece.chunk, piece.parameters, piece.payload))]
        download = self.download
        if download is None or download.agent != agent or piece.parameters != self._parameters:
            return []
        if not download.take(piece, now):
            return []
        if download.complete:
            self.download = None
            return [KeepPiece(connection, piece.chunk, piece.payload, True, piece.request)]
        pull = download.ask(now)
        keep: Effect = KeepPiece(connection, piece.chunk, piece.payload, False, piece.request)
        return [keep, Send(connection, pull)] if pull else [keep]

    def tick(self, now: float) -> list[Effect]:
        """Send what may be sent of what others pull; forget relays that nobody uses any longer."""
        for number, relay in list(self._relays.items()):
            if now - relay.since_s > RELAY_S:
                del self._relays[number]
        return self._serving.serve(now)
