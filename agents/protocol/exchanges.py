"""All exchanges of one agent, those it began and those it answers. Sans-IO; a payload is passed on as it came.

Two agents that offer to each other at the same time must not mix twice: with alpha 1/2 they would swap their models
instead of averaging them. Each offer names the last exchange of the other's that its sender had received; from that
both see that their offers crossed, and the agent with the smaller name goes on alone.
"""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from typing import Any

from agents.mixing.exchange import EXACT, OVERLAP, rate
from agents.mixing.layout import THETA
from agents.protocol.codecs import Codecs
from agents.protocol.events import (
    AnswerApplied,
    ApplyAnswer,
    ApplyOffer,
    Completed,
    Effect,
    Lost,
    OfferApplied,
    RoundOver,
    Send,
    SendOffer,
    Unusable,
)
from agents.protocol.incarnation import Incarnation
from agents.protocol.ledger import Ledger
from agents.protocol.ownership import UNKNOWN, Ownership
from agents.protocol.session import WINDOW, IncomingSession, OutgoingSession
from agents.protocol.settings import ExchangeSettings
from agents.protocol.standing import MAX_OPEN, Standing
from agents.protocol.waiting import Waiting
from transport.messages import Ack, AgentId, Answer, ConnectionId, Decline, Identity, Member, Offer

MAX_INITIATORS = 4096
"""Initiators we remember; beyond it the one of long ago whose exchange is closed is forgotten."""

CROSSING_S = 2.0
"""For so long after our own exchange an offer may come in that was made without knowledge of it."""

NO_VECTOR, DRAINING, FINISHING = "it holds no vector of the swarm yet", "it is leaving", "it has finished training"
"""Why an agent exchanges nothing, before it has adopted a vector, when it leaves, and but for the exact finish."""

ANOTHER = "it trains another subnetwork"
"""Why it exchanges nothing with this peer; and why what was open is over, once it has changed its subnetwork."""

Route = Callable[[Incarnation], ConnectionId | None]
"""Finds a ready connection to an incarnation of a peer."""


class Exchanges:
    """The exchanges of one agent, a session each. me: our own name; incarnation: the number of our start.

    ownership: who trains what; None: everybody everything. step: how far we have trained. weight: of our model, in each
    exchange that either side begins from now on. measured: called with the
    peer and the seconds of each complete exchange that training began. Numbers of exchanges are not used again by a
    later incarnation: what is on its way from or to an earlier one is taken for nothing of ours.
    """

    def __init__(
        self,
        me: AgentId,
        settings: ExchangeSettings,
        incarnation: int = 1,
        codecs: Codecs | None = None,
        ownership: Ownership | None = None,
        measured: Callable[[AgentId, float], None] = lambda peer, took_s: None,
    ) -> None:
        self._measured = measured
        self._me, self._incarnation = me, incarnation
        self._ownership = ownership or Ownership((), Member(Identity(me, incarnation)), lambda agent: None)
        self.ledger = Ledger()
        self._standing = Standing()
        self._settings = settings
        self._codecs = codecs or Codecs(settings.codec)
        self._outgoing: dict[int, OutgoingSession] = {}
        self._incoming: dict[Incarnation, IncomingSession] = {}
        # All of `_incoming` that are occupied, and few others.
        self._answering: dict[Incarnation, IncomingSession] = {}
        self._waiting = Waiting(settings.first_s, settings.floor_s)
        self.number = (incarnation - 1) % (1 << 30) << 32
        """Of the last exchange that we began."""
        self._latest: dict[Incarnation, tuple[int, float]] = {}
        self.step, self.weight = 0, settings.weight
        self.lost = 0
        """Chunks that may have been applied on one side alone, as whoever had the other one is over."""
        self.refusal = ""
        """Why no exchange is begun or answered now, while those that are open go on; "" if it is."""
        self.vector = THETA
        """The name of the vector that we exchange, which changes with the subnetwork that we hold."""

    @property
    def open_peers(self) -> set[Incarnation]:
        """Peers with whom an exchange that we began is open: none other may be begun with them."""
        return {session.peer for session in self._outgoing.values()}

    @property
    def latest_peer(self) -> AgentId:
        """With whom the exchange is that we began last; "" if it is over."""
        session = self._outgoing.get(self.number)
        return session.peer.agent if session else AgentId("")

    @property
    def occupied(self) -> set[Incarnation]:
        """Peers with whom an exchange is open, whoever began it."""
        return self.open_peers | {peer for peer, session in self._answering.items() if session.owes}

    @property
    def idle(self) -> bool:
        """Whether nothing is open, neither begun nor answered."""
        return not self._outgoing and not any(session.owes for session in self._answering.values())

    @property
    def chunks(self) -> int:
        """How many chunks an exchange has at most."""
        return self._settings.chunks

    def takes(self, weight: float) -> bool:
        """Whether a peer may weigh so much."""
        return self._settings.takes(weight)

    def is_open(self, exchange: int) -> bool:
        """Whether this exchange of our own may still be offered or answered."""
        return exchange in self._outgoing

    def begin(
        self,
        peer: Incarnation,
        connection: ConnectionId,
        round: int,
        credit: int,
        now: float,
        at_rates: Sequence[float] | None = None,
        finish: str = "",
        chunks: range | None = None,
    ) -> list[Effect]:
        """Offer our vector to a peer; the round is over when its last answer was taken in, or takes too long.

        at_rates: ours in each block, in a round of the finish, which training doesn't wait for; finish: which round of
        which pass; chunks: which of them, if not all that both hold.
        """
        given_up: list[Effect] = []
        trained, most = self._ownership.of(peer), self._ownership.exchanged(peer, self._settings.chunks)
        if trained is None or most is None:
            return [RoundOver(round, peer.agent, UNKNOWN)]
        if self.refusal:
            return [RoundOver(round, peer.agent, self.refusal)]
        if len(self._outgoing) >= MAX_OPEN and at_rates is None:
            silent = {session.peer: session.received_s for session in self._outgoing.values()}
            other = self._standing.yields(silent, peer.agent, now)
            if other is None:
                return [RoundOver(round, peer.agent, f"{MAX_OPEN} exchanges are open")]
            given_up = self._abandon(other, f"{other.agent} was silent for too long")
        self._forget_latest(now)
        self.number += 1
        self.ledger.begins()
        if at_rates is None:
            self._codecs.begins(now)
        theirs, chunks = self._incoming.get(peer), range(most) if chunks is None else chunks
        session = OutgoingSession(
            self.number,
            round,
            peer,
            chunks.stop,
            self._settings.alpha,
            min(credit, WINDOW),
            now,
            seen=theirs.exchange if theirs else 0,
            began_s=now,
            received_s=now,
            rates=at_rates,
            finish=finish,
            codec=EXACT if finish else self._codecs.of(peer.agent),
            waited_for=at_rates is None,
            trained=trained,
            first=chunks.start,
            weight=self.weight,
        )
        self._latest[peer] = (self.number, now)
        self._outgoing[session.exchange] = session
        effects = given_up + self._offer(session, session.offer(now), connection)
        if self._waiting.waits_for(peer.agent):
            return effects
        return effects + self._release(session, f"{peer.agent} takes too long")

    def on_answer(self, peer: Incarnation, connection: ConnectionId, answer: Answer, now: float) -> list[Effect]:
        """Apply the chunk's answer."""
        session = self._outgoing.get(answer.exchange)
        if session is None and answer.exchange <= self.number:
            return [Send(connection, Ack(answer.exchange))]  # It is over here: the peer lacks our Ack.
        if session is None or session.peer != peer:
            return []
        took_s = session.answered(answer.chunk, now)
        if took_s is None:
            return []
        if not self._settings.takes(answer.weight) or not 0 < answer.damping <= 1:
            why = f"weight {answer.weight:g}, damping {answer.damping:g}"
            return self.on_unusable(peer, Unusable(connection, answer.exchange, why), now)
        self._waiting.answered(took_s)
        session.credit = max(1, min(answer.credit, WINDOW))
        mine = self._rate(session, session.rates, session.alpha, answer, answer.damping)
        return [ApplyAnswer(connection, answer, mine)]

    def on_answer_applied(self, peer: Incarnation, event: AnswerApplied, now: float) -> list[Effect]:
        """Offer the next chunks, or end the exchange."""
        session, connection, answer = self._outgoing.get(event.answer.exchange), event.connection, event.answer
        if session is None or session.peer != peer:
            return []
        if not session.has_applied(answer.chunk, event.squared, answer.scale):
            return []
        if not session.over:
            return self._offer(session, session.offer(now), connection)
        effects = self._end(session, connection)
        self._latest[peer] = (session.exchange, now)
        if session.whole:
            self._standing.completed(peer.agent)
            self._waiting.completed(peer.agent, now - session.began_s)
            if not session.finish:
                self._measured(peer.agent, now - session.began_s)
                effects += self._codecs.completed(session.codec, now - session.began_s)
        return effects + self._completed(session, initiated=True, now=now) + self._release(session, "")

    def on_decline(self, peer: Incarnation, connection: ConnectionId, decline: Decline) -> list[Effect]:
        """The peer applies no further chunk of this exchange; what it applied before is completed."""
        session = self._outgoing.get(decline.exchange)
        if session is None or session.peer != peer or not session.declined(decline.chunk):
            return []
        return self._stopped(session, connection, f"{peer.agent} declined: {decline.why}")

    def on_offer(
        self,
        peer: Incarnation,
        connection: ConnectionId,
        offer: Offer,
        now: float,
        refusal: str = "",
        at_rates: Sequence[float] | None = None,
        chunks: range | None = None,
    ) -> list[Effect]:
        """Apply a chunk that is new, unless `refusal` says why not; repeat the answer to one offered again.

        at_rates: ours in each block, in a round of the finish, in place of the one that follows from the offer; chunks:
        which of them this round is about, if not all that both hold.
        """
        most = self._ownership.exchanged(peer, self._settings.chunks)
        fewer = bool(offer.finish) and self._ownership.nested
        objection = UNKNOWN if most is None else self._settings.objection(offer, most, fewer, self.vector)
        if most is None or objection:
            return [Send(connection, Decline(offer.exchange, offer.chunk, objection))]
        session = self._incoming.get(peer)
        if session is None or offer.exchange > session.exchange:
            effects = self._open(peer, offer.exchange, now, len(range(most) if chunks is None else chunks), at_rates)
            return effects + self.on_offer(peer, connection, offer, now, refusal, at_rates, chunks)
        if offer.exchange < session.exchange or session.is_echo(offer.chunk):
            return []
        session.used_s = now
        session.acknowledge(min(offer.acked, offer.chunk))
        given = session.answer(offer.chunk)
        if given is not None:
            return [Send(connection, self._repeated(given))]
        at_rates = session.rates if session.applied else at_rates  # It may go on when its pass is over.
        closed = "" if session.applied else refusal or self.refusal or self._objection(peer, offer, now)
        refusal = session.refusal or closed or self._collision(peer, offer, now)
        if refusal and not session.completed:  # For good: an echo of this offer may come when the reason is long past.
            session.refuse(refusal)
            return [Send(connection, Decline(offer.exchange, offer.chunk, refusal))]
        if not session.accepts:
            return []  # An echo, or more than the credit we gave: not one of ours.
        if not session.applied:
            self.ledger.answers(peer.agent)
        damping = self._damping(peer, offer)
        mine = self._rate(session, at_rates, offer.alpha, offer, damping)
        weighs = at_rates is None and self._weight(session, offer.chunk) > 0  # In the finish a vector weighs otherwise.
        session.apply(offer.chunk, mine if weighs else 0.0)
        ours = session.weight, self._credit(), self.step
        answer = Answer(offer.exchange, offer.chunk, *ours, offer.codec, damping=damping)
        return [ApplyOffer(connection, offer, mine, answer)]

    def on_applied(self, peer: Incarnation, event: OfferApplied, now: float) -> list[Effect]:
        """A chunk was applied: keep the answer until the initiator has it."""
        session = self._incoming.get(peer)
        if session is None or session.exchange != event.offer.exchange:
            return []
        applied = session.has_applied(event.offer.chunk, event.answer, event.squared)
        if not applied or session.applied != session.chunks:
            return []
        return self._completed(session, initiated=False, now=now)

    def on_unusable(self, peer: Incarnation, event: Unusable, now: float) -> list[Effect]:
        """A chunk could not be applied, here or there: nothing more is begun in this exchange."""
        effects = self.ledger.rejects(peer.agent, event.why, now) if peer.agent and event.theirs else []
        theirs = self._incoming.get(peer)
        if theirs is not None and theirs.exchange == event.exchange and theirs.applying:
            chunk = theirs.refuse(event.why)
            declines = [] if chunk is None else [Send(event.connection, Decline(event.exchange, chunk, event.why))]
            return [*effects, *declines]
        session = self._outgoing.get(event.exchange)  # Both sides count from 1: the same number may be ours and theirs.
        if session is None or session.peer != peer:
            return effects
        session.stop()
        return effects + self._stopped(session, event.connection, event.why)

    def on_ack(self, peer: Incarnation, ack: Ack) -> None:
        """The initiator has everything."""
        session = self._incoming.get(peer)
        if session is None or session.exchange != ack.exchange:
            return
        if session.applied == session.chunks and not session.completed:
            self._standing.completed(peer.agent)
        session.complete()

    def tick(self, route: Route, now: float) -> list[Effect]:
        """Offer again what stays unanswered, answer again what stays unacknowledged; release training."""
        effects: list[Effect] = []
        timeout_s = self._waiting.timeout_s
        for session in self._outgoing.values():
            silent_s = now - session.progress_s
            connection = route(session.peer) if silent_s >= timeout_s else None
            if connection is not None:
                effects += self._offer(session, session.repeat(now, timeout_s), connection)
            why = self._waiting.overdue(silent_s, now - session.began_s)
            if why and session.waited_for:
                self._waiting.late(session.peer.agent)
                self.ledger.is_late(session.peer.agent)
                effects += self._release(session, f"{session.peer.agent} {why}")
        for peer, owing in self._answering.items():
            chunk = owing.remind(now, timeout_s)
            given = owing.answer(chunk) if chunk is not None else None
            connection = route(peer) if given is not None else None
            if given is not None and connection is not None:
                effects.append(Send(connection, self._repeated(given)))
        return effects

    def forget(self, peer: Incarnation, why: str = "") -> list[Effect]:
        """End the sessions with an incarnation; open chunks count as lost. why: "" where it will not return.

        What it had begun is remembered, without the answers: should it return after all, nothing is applied twice.
        """
        self._answering.pop(peer, None)
        theirs = self._incoming.get(peer)
        effects = self._lose([_owed(theirs)] if theirs is not None and theirs.owes else [])
        if theirs is not None and not theirs.completed:
            theirs.give_up(why or "its incarnation is over")
        return effects + self._abandon(peer, f"{peer.agent}: {why}" if why else f"{peer.agent} has gone")

    def forget_others(self, members: Container[AgentId], why: str) -> list[Effect]:
        """End the sessions with all but these; open chunks count as lost."""
        others = sorted(peer for peer in self.occupied if peer.agent not in members)
        return [effect for peer in others for effect in self.forget(peer, why)]

    def _abandon(self, peer: Incarnation, why: str) -> list[Effect]:
        """End what we began with a peer; its open chunks are counted as lost."""
        effects: list[Effect] = []
        for number, session in list(self._outgoing.items()):
            if session.peer == peer:
                effects += self._lose(_unanswered(session))
                session.abandon()
                del self._outgoing[number]
                effects += self._release(session, why)
        return effects

    def open_with(self, peer: Incarnation) -> list[Lost]:
        """What would be lost if this incarnation were over now; at most a window of each exchange."""
        theirs = self._incoming.get(peer)
        found = [] if theirs is None or not theirs.owes else [_owed(theirs)]
        for session in self._outgoing.values():
            if session.peer == peer:
                found += _unanswered(session)
        return found

    def moved_s(self, peer: AgentId) -> float:
        """When something of an exchange that is open with this agent came last; -infinity if there is none."""
        ours = (session.received_s for session in self._outgoing.values() if session.peer.agent == peer)
        theirs = (session.used_s for other, session in self._answering.items() if other.agent == peer)
        return max((*ours, *theirs), default=-math.inf)

    def excuse(self, stall_s: float, now: float) -> None:
        """We could receive nothing for so long: that doesn't count as silence of those with whom something is open."""
        for ours in self._outgoing.values():
            ours.received_s = min(now, ours.received_s + stall_s)
        for theirs in self._answering.values():
            theirs.used_s = min(now, theirs.used_s + stall_s)

    def _forget_latest(self, now: float) -> None:
        """Of peers with whom nothing is open and no offer can cross ours any more, once there are many."""
        if len(self._latest) >= MAX_INITIATORS:
            self._latest = {
                peer: (number, ended_s)
                for peer, (number, ended_s) in self._latest.items()
                if number in self._outgoing or now - ended_s < CROSSING_S
            }

    def resume(self, peer: AgentId) -> None:
        """A silent peer is back: what is open with it is offered again soon."""
        for session in self._outgoing.values():
            if session.peer.agent == peer:
                session.repeat_soon()

    def release(self, peer: AgentId) -> list[Effect]:
        """A peer is silent: training need not wait for it, though the exchange stays open."""
        return [
            effect
            for session in self._outgoing.values()
            if session.peer.agent == peer
            for effect in self._release(session, f"{peer} is silent")
        ]

    def answering(self, now: float) -> set[Incarnation]:
        """Those whose exchange we are answering right now: to begin one with them would mix twice."""
        return {
            peer
            for peer, session in self._answering.items()
            if session.under_way and session.applied < session.chunks and now - session.used_s < CROSSING_S
        }

    def _collision(self, peer: Incarnation, offer: Offer, now: float) -> str:
        """Why a chunk can't be applied next to an exchange of our own with the same peer; "" if it can."""
        number, ended_s = self._latest.get(peer, (0, 0.0))
        session = self._outgoing.get(number)
        if offer.seen < number and (session is not None or now - ended_s < CROSSING_S):
            return "our offers crossed, and mine goes first" if self._me < peer.agent else ""
        return "my own offer of this chunk is open" if session is not None and session.is_open(offer.chunk) else ""

    def _objection(self, peer: Incarnation, offer: Offer, now: float) -> str:
        """Why nothing is exchanged with this peer now; the rounds of the finish are few, and agreed on by all."""
        if self._ownership.of(peer) is None:
            return UNKNOWN
        return "" if offer.finish else self.ledger.objection(peer.agent, now)

    def _rate(
        self,
        session: OutgoingSession | IncomingSession,
        at_rates: Sequence[float] | None,
        alpha: float,
        theirs: Offer | Answer,
        damping: float,
    ) -> float:
        """Ours for a chunk, from what the peer weighs at all and what it trains."""
        if at_rates is not None:
            return at_rates[self._ownership.block(theirs.chunk)]
        other = self._ownership.weight(theirs.weight, session.trained, theirs.chunk)
        return float(rate(alpha, self._weight(session, theirs.chunk), other, damping))

    def _damping(self, peer: Incarnation, offer: Offer) -> float:
        """Of an answer: less than 1 while a third agent owes us one for this chunk, and never in the exact finish.

        What comes back to our own offer was computed from what this chunk is now: the farther it is moved meanwhile,
        the farther it will then be moved beyond its peer. One to the same peer has crossed this one, and is declined.
        """
        others = (session for session in self._outgoing.values() if session.peer != peer)
        return OVERLAP if not offer.finish and any(session.is_open(offer.chunk) for session in others) else 1.0

    def _weight(self, session: OutgoingSession | IncomingSession, chunk: int) -> float:
        return self._ownership.weight(session.weight, self._ownership.ours, chunk)

    def _completed(self, session: OutgoingSession | IncomingSession, initiated: bool, now: float) -> list[Effect]:
        """What follows once everything was applied that an exchange will apply."""
        peer, distance = session.peer.agent, math.sqrt(session.squared)
        effects = self.ledger.completed(peer, distance, session.scale, now)
        if isinstance(session, OutgoingSession) and not session.whole:
            return effects
        return [Completed(peer, initiated, distance, session.scale), *effects]

    def _release(self, session: OutgoingSession, why: str) -> list[Effect]:
        if not session.waited_for:
            return []
        session.waited_for = False
        return [RoundOver(session.round, session.peer.agent, why)]

    def _stopped(self, session: OutgoingSession, connection: ConnectionId, why: str) -> list[Effect]:
        """What follows when no further chunk is offered: training goes on; with nothing open the exchange is over."""
        return self._release(session, why) + (self._end(session, connection) if session.over else [])

    def _end(self, session: OutgoingSession, connection: ConnectionId) -> list[Effect]:
        del self._outgoing[session.exchange]
        return [Send(connection, Ack(session.exchange))]

    def _offer(self, session: OutgoingSession, chunks: list[int], connection: ConnectionId) -> list[Effect]:
        common: dict[str, Any] = {
            "chunks": session.chunks,
            "alpha": session.alpha,
            "weight": session.weight,
            "acked": session.acknowledged,
            "vector": self.vector,
            "codec": session.codec,
            "step": self.step,
            "seen": session.seen,
            "finish": session.finish,
            "by": self._incarnation,
            "to": session.peer.number,
        }
        return [SendOffer(connection, Offer(session.exchange, chunk, **common)) for chunk in chunks]

    def _repeated(self, given: Answer) -> Answer:
        return replace(given, credit=self._credit(), step=self.step)

    def _credit(self) -> int:
        busy = sum(session.owes for session in self._answering.values())
        return max(1, WINDOW // max(1, busy))

    def _open(
        self, peer: Incarnation, exchange: int, now: float, chunks: int, rates: Sequence[float] | None
    ) -> list[Effect]:
        """Open a session for an exchange that a peer just began, of so many chunks; it refuses if too many are open."""
        effects: list[Effect] = []
        if len(self._incoming) >= MAX_INITIATORS and peer not in self._incoming:
            del self._incoming[next(other for other, session in self._incoming.items() if not session.occupied)]
        fresh = IncomingSession(
            exchange, peer, now, chunks, trained=self._ownership.of(peer), rates=rates, weight=self.weight
        )
        self._answering = {
            other: session for other, session in self._answering.items() if session.occupied and other != peer
        }
        if len(self._answering) >= MAX_OPEN:
            silent = {other: session.used_s for other, session in self._answering.items()}
            other = self._standing.yields(silent, peer.agent, now)
            if other is None:
                fresh.give_up(f"busy with {MAX_OPEN} exchanges")
            else:
                silent_session = self._answering[other]
                effects = self._lose([_owed(silent_session)] if silent_session.owes else [])
                silent_session.give_up("given up, as nothing came for long")
        self._incoming[peer] = self._answering[peer] = fresh
        return effects

    def _lose(self, lost: list[Lost]) -> list[Effect]:
        self.lost += sum(len(each.chunks) for each in lost)
        return [*lost]


def _unanswered(session: OutgoingSession) -> list[Lost]:
    """What the responder may have applied and we didn't, if it is over."""
    return [Lost(session.peer, session.exchange, session.unanswered, initiated=True)] if session.unanswered else []


def _owed(session: IncomingSession) -> Lost:
    """What the initiator may never have applied, if it is over."""
    return Lost(session.peer, session.exchange, session.owed, initiated=False, moved=session.moved)
