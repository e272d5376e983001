"""The one interpreter of the core's effects, given a link, vectors and a clock.

A live agent's network thread, the virtual network of the simulator and that of the tests differ in their link, their
clock and in what a vector is; this is what they share. A host hands events in and receives signals: the effects
that concern it.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from agents.protocol.core import GossipCore
from agents.protocol.events import (
    Adopt,
    AnswerApplied,
    ApplyAnswer,
    ApplyOffer,
    Dial,
    Effect,
    Event,
    HangUp,
    KeepPiece,
    Malformed,
    OfferApplied,
    Send,
    SendOffer,
    SendPiece,
    Signal,
    Unusable,
)
from agents.protocol.incarnation import Incarnation
from transport.messages import Address, Answer, ConnectionId, Message, Offer, Piece, Pull


class Rejected(ValueError):
    """A payload could not be applied, and nothing was changed. The text goes to the peer."""


class NotYet(Rejected):
    """A payload could not be applied for a reason of our own: nothing is wrong with it."""


class Link(Protocol):
    """Where messages go. `transport.link.Link` is one; `virtual.VirtualLink` another."""

    def dial(self, address: Address) -> Any:
        """Open a connection, named by its address; a failure is reported, not raised."""

    def hang_up(self, connection: ConnectionId) -> None:
        """Close a connection that was dialed."""

    def send(self, connection: ConnectionId, message: Message, payload: Any = None) -> bool:
        """Send a message, with this payload in place of its own; False if it can't be taken now."""


class Vectors(Protocol):
    """What is exchanged, and how. A payload is whatever its link carries: bytes, or a reference to a vector."""

    def offer(self, peer: Incarnation, offer: Offer) -> Offer:
        """The offer with its payload; a repeated offer has the same one as before, if the codec needs it again."""

    def apply_offer(self, peer: Incarnation, offer: Offer, answer: Answer, rate: float) -> tuple[Answer, float]:
        """Move by -rate times the difference; the answer with its payload, and |difference|^2. Raises Rejected."""

    def apply_answer(self, peer: Incarnation, answer: Answer, rate: float) -> float:
        """Move by rate times the difference; |difference|^2, before it was clipped. Raises Rejected."""

    def piece(self, peer: Incarnation, pull: Pull, chunk: int) -> Piece:
        """A chunk of the whole vector, for a peer that pulls it."""

    def keep(self, peer: Incarnation, piece: KeepPiece) -> None:
        """A chunk of a vector that we adopt. Raises Rejected."""


class Driver:
    """Runs `core`: `handle` takes an event and carries out all that follows. now: reads the clock, in seconds.

    signal: called with each effect that concerns the host. rejected: called with the connection and the reason of
    each payload that could not be applied.
    """

    def __init__(
        self,
        core: GossipCore,
        link: Link,
        vectors: Vectors,
        now: Callable[[], float],
        signal: Callable[[Signal], None],
        rejected: Callable[[ConnectionId, str], None] = lambda connection, why: None,
    ) -> None:
        self.core = core
        self._link = link
        self._vectors = vectors
        self._now = now
        self._signal = signal
        self._rejected = rejected

    def handle(self, event: Event) -> None:
        """One event, and all that follows from it here and now."""
        self.carry_out(self.core.step(event, self._now()))

    def publish(self, **changes: Any) -> None:
        """Change our member's record; a change of state, address or subnetwork is announced to all connections."""
        if changes.keys() & {"state", "address", "part"}:
            self.carry_out(self.core.announce(**changes))
        else:
            self.core.publish(**changes)

    def carry_out(self, effects: list[Effect]) -> None:
        """These effects, in order, and those that follow from them."""
        todo = deque(effects)
        while todo:
            event = self._carry_out(todo.popleft())
            if event is not None:
                todo.extend(self.core.step(event, self._now()))

    def _carry_out(self, effect: Effect) -> Event | None:
        match effect:
            case SendOffer(connection, offer):
                self._link.send(connection, self._vectors.offer(self._peer(connection), offer))
            case ApplyOffer():
                return self._apply_offer(effect)
            case ApplyAnswer():
                return self._apply_answer(effect)
            case Send(connection, message):
                self._link.send(connection, message)
            case SendPiece(connection, pull, chunk):
                piece = self._vectors.piece(self._peer(connection), pull, chunk)
                self._link.send(connection, piece, piece.payload)
            case KeepPiece():
                return self._keep(effect)
            case Dial(address):
                self._link.dial(address)
            case HangUp(connection):
                self._link.hang_up(connection)
            case Malformed(connection, why):
                self._rejected(connection, why)
            case _:
                self._signal(effect)
        return None

    def _apply_offer(self, effect: ApplyOffer) -> Event:
        connection, offer = effect.connection, effect.offer
        try:
            answer, squared = self._vectors.apply_offer(self._peer(connection), offer, effect.answer, effect.rate)
        except NotYet as error:
            return Unusable(connection, offer.exchange, str(error), theirs=False)
        except Rejected as error:
            self._rejected(connection, str(error))
            return Unusable(connection, offer.exchange, str(error))
        self._link.send(connection, answer)
        return OfferApplied(connection, offer, answer, squared)

    def _apply_answer(self, effect: ApplyAnswer) -> Event:
        connection, answer = effect.connection, effect.answer
        try:
            squared = self._vectors.apply_answer(self._peer(connection), answer, effect.rate)
        except Rejected as error:
            self._rejected(connection, str(error))
            return Unusable(connection, answer.exchange, str(error))
        return AnswerApplied(connection, answer, squared)

    def _keep(self, effect: KeepPiece) -> Event | None:
        peer = self._peer(effect.connection)
        try:
            self._vectors.keep(peer, effect)
        except Rejected as error:
            self._rejected(effect.connection, str(error))
            return Adopt(instead_of=peer.agent)
        return None

    def _peer(self, connection: ConnectionId) -> Incarnation:
        return self.core.handshake.identify(connection)
