"""Carries out the core's work on vectors: exchanges on the replica, and the adoption of a peer's vector.

A `protocol.driver.Vectors` whose payloads are bytes. Called by the network thread alone.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from agents.mixing.codecs import FLOAT32, Codec
from agents.mixing.replica import Note, Replica, finite, nothing
from agents.protocol.driver import Rejected
from agents.protocol.events import KeepPiece
from agents.protocol.incarnation import Incarnation
from agents.recorder import ADOPT, ANSWER, APPLY, KEEP, OFFER, SERVE, Recorder
from transport.messages import AgentId, Answer, Offer, Piece, Pull


class ReplicaVectors:
    """Carries out the core's effects on the replica. is_open: whether an exchange of ours may still be answered."""

    def __init__(
        self,
        replica: Replica,
        codec: Codec,
        is_open: Callable[[int], bool],
        recorder: Recorder | None = None,
    ) -> None:
        self.replica = replica
        self.peer_step: int | None = None
        """How far the last peer had trained that something was exchanged with."""
        self._codec = codec
        self._is_open = is_open
        self._recorder = recorder
        self._offered: dict[tuple[int, int], Any] = {}
        self._squared: dict[tuple[AgentId, bool], float] = {}
        self._adopting: np.ndarray[Any, np.dtype[np.float32]] | None = None
        self.adopted: Callable[[], None] = nothing
        """Called when an adopted vector is complete."""

    def distance(self, peer: AgentId, initiated: bool) -> float:
        """Norm of the difference in the exchange with this peer that was just completed."""
        return math.sqrt(self._squared.pop((peer, initiated), 0.0))

    def adopt(self) -> None:
        """Make room for a peer's vector."""
        self._adopting = np.empty(self.replica.parameters, np.float32)

    def stop_adopting(self) -> None:
        """Release the memory for a vector to adopt: none is adopted."""
        self._adopting = None

    # driver.Vectors

    def offer(self, peer: Incarnation, offer: Offer) -> Any:
        """The packed chunk; kept until it is answered, where the codec or the recorder needs it again."""
        if self._recorder is None and not self._codec.needs_offer:
            return self._codec.pack(self._codec.offer(self.replica.read(offer.chunk)))
        key = offer.exchange, offer.chunk
        if key not in self._offered:
            self._forget_answered()
            theta = self.replica.copy(offer.chunk, self._note(OFFER, peer, offer.chunk, offer.exchange))
            self._offered[key] = self._codec.offer(theta)
        return self._codec.pack(self._offered[key])

    def apply_offer(self, peer: Incarnation, offer: Offer, rate: float) -> Any:
        """Apply the difference to an offer, and return the packed answer."""
        try:
            offered = self._codec.unpack(offer.payload, self.replica.size(offer.chunk))
            lent = not self._codec.needs_offer and isinstance(offered, np.ndarray) and offered.flags.writeable
            out = offered if lent else None
            note = self._note(ANSWER, peer, offer.chunk, offer.exchange, rate)
            answered, _, squared = self.replica.answer(offer.chunk, offered, rate, self._codec, out, note)
        except ValueError as error:
            raise Rejected(str(error)) from None
        self._measure(peer, False, squared, offer.step)
        return self._codec.pack(answered)

    def apply_answer(self, peer: Incarnation, answer: Answer, rate: float) -> None:
        """Apply the difference that an answer to our offer makes known."""
        try:
            if answer.codec != self._codec.name:
                raise Rejected(f"an answer in codec {answer.codec!r} to an offer in {self._codec.name!r}")
            answered = self._codec.unpack(answer.payload, self.replica.size(answer.chunk))
            d = self._codec.difference(self._offered.pop((answer.exchange, answer.chunk), None), answered)
            note = self._note(APPLY, peer, answer.chunk, answer.exchange, rate)
            squared = self.replica.apply(answer.chunk, d, rate, note)
        except ValueError as error:
            raise Rejected(str(error)) from None
        self._measure(peer, True, squared, answer.step)

    def piece(self, peer: Incarnation, pull: Pull, chunk: int) -> Piece:
        """A chunk of our vector as it is; recorded if the peer is an agent, who may start from it."""
        served = self.replica.read(chunk)
        if self._recorder is not None and peer.agent:
            served = self.replica.copy(chunk, self._note(SERVE, peer, chunk, pull.request))
        return Piece(pull.request, chunk, self.replica.parameters, served.data)

    def keep(self, peer: Incarnation, piece: KeepPiece) -> None:
        """A chunk of the vector that we adopt."""
        if self._adopting is None:
            return
        span = self.replica.span(piece.chunk)
        try:
            self._adopting[span] = finite(FLOAT32.unpack(piece.payload, span.stop - span.start))
        except ValueError as error:
            raise Rejected(str(error)) from None
        self._note(KEEP, peer, piece.chunk, piece.request)()
        if piece.last:
            self.replica.adopt(self._adopting, self._note(ADOPT, peer, 0, piece.request))
            self._adopting = None
            self.adopted()

    def _forget_answered(self) -> None:
        for exchange, chunk in [key for key in self._offered if not self._is_open(key[0])]:
            del self._offered[exchange, chunk]

    def _note(self, op: int, peer: Incarnation, chunk: int, number: int, rate: float = 0.0) -> Note:
        """What the replica calls once it has done this."""
        if self._recorder is None:
            return nothing
        return partial(self._recorder.note, op, chunk, peer, number, rate)

    def _measure(self, peer: Incarnation, initiated: bool, squared: float, step: int) -> None:
        key = peer.agent, initiated
        self._squared[key] = self._squared.get(key, 0.0) + squared
        self.peer_step = step
