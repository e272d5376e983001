"""Carries out the core's work on vectors: exchanges on the replica, and the adoption of a peer's vector.

A `protocol.driver.Vectors` whose payloads are bytes. Called by the network thread alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from agents.mixing.clipping import Radii, Reach
from agents.mixing.codecs import FLOAT32, Codec
from agents.mixing.disagreement import Disagreement
from agents.mixing.learned import Learned
from agents.mixing.norms import Vector, finite, squared_norm
from agents.mixing.privacy import mask, shown
from agents.mixing.replica import FREE, Note, Replica, TooFar, nothing
from agents.protocol.driver import NotYet, Rejected
from agents.protocol.events import KeepPiece
from agents.protocol.incarnation import Incarnation
from agents.recorder import ADOPT, ANSWER, APPLY, KEEP, OFFER, SERVE, Recorder
from transport.memory import lasting_frame
from transport.messages import Answer, Offer, Piece, Pull


class ReplicaVectors:
    """Carries out the core's effects on the replica. is_open: whether an exchange of ours may still be answered.

    radii: to what differences are clipped; None: they aren't. mask: scale of the noise on what others see of the
    vector, 0 for none. agreed: whether it is the mean of all, so that nothing of our own is in it any more. trains:
    whether a peer, or None for us, trains a chunk. codec: in which we begin our exchanges, at first; codecs: the names
    of all in which we may. learned: what that codec had learned when this agent was saved.
    """

    def __init__(
        self,
        replica: Replica,
        codec: Codec,
        is_open: Callable[[int], bool],
        recorder: Recorder | None = None,
        radii: Radii | None = None,
        mask: float = 0.0,
        agreed: Callable[[], bool] = lambda: False,
        trains: Callable[[Incarnation | None, int], bool] = lambda peer, chunk: True,
        learned: Vector | None = None,
        codecs: Sequence[str] = (),
    ) -> None:
        self.replica = replica
        self._codec, self._codecs = codec, [*codecs] or [codec.name, FLOAT32.name]
        self._is_open = is_open
        self._recorder = recorder
        self._scale, self._agreed, self._trains = mask, agreed, trains
        self._radii = radii or Radii(math.inf, replica.chunks)
        self._learned = Learned(codec, replica, learned, self._codecs)
        self._disagreement = Disagreement(replica.layout)
        self._offered: dict[tuple[int, int], tuple[Any, Reach, Codec]] = {}
        """By exchange and chunk: what was offered, if that is needed again, how far the offer let it reach, and how."""
        self._frames: dict[int, Any] = {}
        """By chunk: what is sent where an offer is the replica's own memory."""
        self._shown: dict[int, tuple[Vector, Vector]] = {}
        """By chunk: what was served under a mask last, without and with it."""
        self._adopting: np.ndarray[Any, np.dtype[np.float32]] | None = None
        self._part: int | None = None
        self.adopted: Callable[[], None] = nothing
        """Called when an adopted vector is complete."""

    def adopt(self, part: int | None = None) -> None:
        """Make room for a peer's vector. part: of which subnetwork, None for our own."""
        self._adopting, self._part = self.replica.snapshot(), part  # What isn't exchanged stays our own.

    def stop_adopting(self) -> None:
        """Release the memory for a vector to adopt: none is adopted."""
        self._adopting = None

    def learned(self, note: Callable[[], None]) -> Vector:
        """What the codec has learned, to be saved. note: called meanwhile, while no difference is applied."""

        def look() -> Vector:
            note()
            return self._learned.saved

        found: Vector = self.replica.still(look)
        return found

    def layers(self) -> dict[str, float]:
        """How far this agent is from its neighbors in each parameter, as its exchanges find (`mixing.disagreement`).

        {} where models are masked: what a mask adds to a difference would be taken for disagreement.
        """
        return {} if self._scale > 0 else self._disagreement.layers()

    # driver.Vectors

    def offer(self, peer: Incarnation, offer: Offer) -> Offer:
        """The offer with its reach and its packed chunk, kept if the codec, the mask or the recorder needs it again."""
        key = offer.exchange, offer.chunk
        codec = self._codec_of(offer)
        kept = self._recorder is not None or codec.needs_offer or self._scale > 0
        if key not in self._offered:
            self._forget_answered()
            note = partial(self._note(OFFER, peer, offer.chunk, offer.exchange), float(self._codecs.index(codec.name)))
            code = None
            if kept:
                theta = self.replica.copy(offer.chunk, note)
                code = self._learned.offer(codec.name, offer.chunk, theta, shown(theta, self._mask(offer)))
            self._offered[key] = code, self._reach(peer, offer), codec
        code, reach, _ = self._offered[key]
        if not kept:
            theta = self.replica.read(offer.chunk)
            code = self._learned.offer(codec.name, offer.chunk, theta)
            if code is theta:
                return replace(offer, radius=reach.radius, limit=reach.limit, payload=self._as_it_lies(offer.chunk))
        return replace(offer, radius=reach.radius, limit=reach.limit, payload=codec.pack(code))

    def apply_offer(self, peer: Incarnation, offer: Offer, answer: Answer, rate: float) -> tuple[Answer, float]:
        """Apply the difference to an offer: the answer with its scale and packed code, and the squared norm of it.

        That is 0 of a vector beside theta: distances are theta's.
        """
        try:
            codec = self._codec_of(offer)
            offered = codec.unpack(offer.payload, self.replica.size(offer.chunk))
            lent = not codec.needs_offer and isinstance(offered, np.ndarray) and offered.flags.writeable
            out = offered if lent else None
            recorded = self._note(ANSWER, peer, offer.chunk, offer.exchange)

            def note(rate: float, answered: Any) -> None:
                self._learned.learn(codec.name, offer.chunk, answered, began=False)
                recorded(rate)

            reaches = Reach(offer.radius, offer.limit), self._reach(peer, offer)
            done = self.replica.answer(offer.chunk, offered, rate, codec, out, note, reaches, self._mask(offer))
        except ValueError as error:
            if isinstance(error, TooFar) and self._radii.is_guess(offer.chunk):
                raise NotYet(f"{error}; ours is zero, and training has not moved it yet") from None
            raise Rejected(str(error)) from None
        self._showed(peer, offer.chunk, done.squared)
        self._disagreement.found(offer.chunk, done.difference, codec.name)
        squared = done.squared if self.replica.of_theta(offer.chunk) else 0.0
        return replace(answer, scale=done.scale, payload=codec.pack(done.code)), squared

    def apply_answer(self, peer: Incarnation, answer: Answer, rate: float) -> float:
        """Apply the difference that an answer to our offer makes known; its squared norm, 0 beside theta."""
        try:
            key = answer.exchange, answer.chunk
            offered, reach, codec = self._offered.get(key, (None, FREE, self._codec))
            if answer.codec != codec.name:
                raise Rejected(f"an answer in codec {answer.codec[:64]!r} to an offer in {codec.name!r}")
            answered = codec.unpack_answer(answer.payload, self.replica.size(answer.chunk))
            d = codec.difference(offered, answered, self.replica.size(answer.chunk))
            recorded = self._note(APPLY, peer, answer.chunk, answer.exchange)

            def note(rate: float) -> None:
                self._learned.learn(codec.name, answer.chunk, answered, began=True)
                recorded(rate)

            squared = self.replica.apply(answer.chunk, d, rate, note, answer.scale, reach)
        except ValueError as error:
            raise Rejected(str(error)) from None
        self._offered.pop(key, None)
        self._showed(peer, answer.chunk, squared)
        self._disagreement.found(answer.chunk, d, codec.name)
        return squared if self.replica.of_theta(answer.chunk) else 0.0

    def piece(self, peer: Incarnation, pull: Pull, chunk: int) -> Piece:
        """A chunk of our vector, masked unless all agree; recorded if the peer is an agent, who may start from it."""
        served = self.replica.read(chunk)
        if self._scale > 0 and not self._agreed():
            served = self._masked(chunk)
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
            turned_to = 0 if self._part is None else self._part + 1
            recorded = self._note(ADOPT, peer, turned_to, piece.request)
            self.replica.adopt(self._adopting, recorded)
            self._learned.begin()
            self._adopting = None
            self.adopted()

    def _masked(self, chunk: int) -> Vector:
        """The chunk with a mask: the same copy to all, until the chunk has moved by as much as the mask hides.

        With a new mask each time, who pulls often could average them away.
        """
        theta, kept = self.replica.copy(chunk), self._shown.get(chunk)
        if kept is None or squared_norm(theta - kept[0]) > theta.size * self._scale**2:
            kept = self._shown[chunk] = theta, shown(theta, mask(theta.size, self._scale))
        return kept[1]

    def _as_it_lies(self, chunk: int) -> Any:
        """A frame over the replica's own memory, which stays where it is: made once for each chunk."""
        if chunk not in self._frames:
            self._frames[chunk] = lasting_frame(self.replica.read(chunk).data)
        return self._frames[chunk]

    def _codec_of(self, offer: Offer) -> Codec:
        """For this chunk; in the exact finish all speak the one that is exact."""
        return self._learned.codec(FLOAT32.name if offer.finish else offer.codec, offer.chunk)

    def _forget_answered(self) -> None:
        for exchange, chunk in [key for key in self._offered if not self._is_open(key[0])]:
            del self._offered[exchange, chunk]

    def _mask(self, offer: Offer) -> Vector | None:
        """A new mask for this chunk; none in the exact finish, which would not be exact."""
        return None if offer.finish else mask(self.replica.size(offer.chunk), self._scale)

    def _reach(self, peer: Incarnation, offer: Offer) -> Reach:
        chunk = offer.chunk
        trained, by_peer = self._trains(None, chunk), self._trains(peer, chunk)
        if not self.replica.of_theta(chunk) and (offer.finish or not trained):
            return FREE  # Nobody uses it here, and theta's finish is exact where nothing is clipped.
        return self._radii.of(chunk, self.replica.read(chunk), bool(offer.finish), trained, by_peer)

    def _showed(self, peer: Incarnation, chunk: int, squared: float) -> None:
        if self._trains(peer, chunk):
            self._radii.showed(peer.agent, chunk, math.sqrt(squared))

    def _note(self, op: int, peer: Incarnation, chunk: int, number: int) -> Note:
        """What the replica calls once it has done this."""
        if self._recorder is None:
            return nothing
        return partial(self._recorder.note, op, chunk, peer, number)
