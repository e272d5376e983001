"""All exchanges of one agent, those it began and those it answers. Sans-IO; a payload is passed on as it came.

Two agents that offer to each other at the same time must not mix twice: with alpha 1/2 they would swap their models
instead of averaging them. Each offer says which exchange of the other's its sender had heard of; from that both see
that they crossed, and the agent with the smaller id goes on alone.
"""

from collections.abc import Callable
from dataclasses import replace

from agents.protocol.events import Answered, Close, Completed, Concede, Effect, Propose, RoundOver, Send, Unusable
from agents.protocol.stream import Initiation, Ledger, Patience
from transport.messages import Ack, Answer, Decline, Offer

WINDOW = 8
"""Chunks under way unanswered: at 1 MiB each, what one exchange may hold in memory. Not a sensitive number."""

MAX_LEDGERS = 32
"""Exchanges answered at a time: 32 windows of answers are 512 MiB at worst, and a swarm rarely has 3."""

IDLE_S = 600.0
"""An exchange whose initiator was silent for so long gives way, with its answers, where MAX_LEDGERS are open."""

MAX_LIVES = 4096
"""Initiators we remember; beyond it the one of long ago whose exchange is closed is forgotten."""

CROSSING_S = 2.0
"""For so long after our own exchange an offer may come in that was made without knowledge of it."""

Life = tuple[str, int]
"""An agent and its incarnation."""

DoorTo = Callable[[str, int], str | None]
"""Finds a ready door to a life."""


class Exchanges:
    """weight: ours, as every exchange uses it. chunks: of our vector. alpha: the rate of exchanges we begin."""

    def __init__(self, me: str, alpha: float, weight: float, chunks: int, *, first_s: float, floor_s: float) -> None:
        self._me = me
        self._alpha = alpha
        self._weight = weight
        self._chunks = chunks
        self._begun: dict[int, Initiation] = {}
        self._ledgers: dict[Life, Ledger] = {}
        self._patience = Patience(first_s, floor_s)
        self._number = 0
        self._latest: dict[Life, tuple[int, float]] = {}
        self.step = 0

    @property
    def open_peers(self) -> set[Life]:
        """The lives with which we have an exchange of our own open: none other may be begun with them."""
        return {(begun.peer, begun.incarnation) for begun in self._begun.values()}

    def is_open(self, exchange: int) -> bool:
        """Whether this exchange of our own may still be offered or answered."""
        return exchange in self._begun

    def begin(self, peer: Life, door: str, round: int, credit: int, now: float) -> list[Effect]:
        """Offer our vector to a peer; the round is over when its last answer was taken in, or takes too long."""
        self._number += 1
        ledger = self._ledgers.get(peer)
        seen = ledger.exchange if ledger else 0
        begun = Initiation(self._number, round, *peer, self._chunks, self._alpha, min(credit, WINDOW), now, seen)
        self._latest[peer] = (self._number, now)
        self._begun[begun.exchange] = begun
        return self._offer(begun, begun.to_offer(now), door)

    def on_answer(self, life: Life, door: str, answer: Answer, now: float) -> list[Effect]:
        """Close the chunk and offer the next ones."""
        begun = self._begun.get(answer.exchange)
        if begun is None or (begun.peer, begun.incarnation) != life or answer.weight <= 0:
            return []
        took_s = begun.take(answer.chunk, now)
        if took_s is None:
            return []
        self._patience.learn(took_s)
        begun.credit = max(1, min(answer.credit, WINDOW))
        share = _share(answer.weight, self._weight)
        effects: list[Effect] = [Close(door, answer, begun.alpha, share)]
        if not begun.complete:
            return effects + self._offer(begun, begun.to_offer(now), door)
        self._ended(begun, now)
        effects.append(Send(door, Ack(begun.exchange)))
        if not begun.stopped:
            effects.append(Completed(begun.peer, initiated=True))
        return effects + self._release(begun, "")

    def on_decline(self, life: Life, door: str, decline: Decline) -> list[Effect]:
        """The peer mixes no further chunk of this exchange; what it mixed before is seen through."""
        begun = self._begun.get(decline.exchange)
        if begun is None or (begun.peer, begun.incarnation) != life or not begun.stop(decline.chunk):
            return []
        return self._stopped(begun, door, f"{begun.peer} declined: {decline.why}")

    def on_offer(self, life: Life, door: str, offer: Offer, now: float) -> list[Effect]:
        """Concede to a chunk offered for the first time; repeat the answer to one offered again."""
        reason = self._objection(offer)
        ledger = self._ledgers.get(life)
        if reason:
            return [Send(door, Decline(offer.exchange, offer.chunk, reason))]
        if ledger is None or offer.exchange > ledger.exchange:
            ledger = self._open(life, offer.exchange, now)
        if offer.exchange < ledger.exchange or offer.chunk < ledger.below or ledger.conceding >= 0:
            return []  # An echo of what both sides have long applied, or will have in a moment.
        ledger.used_s = now
        ledger.acknowledge(min(offer.acked, offer.chunk))
        answer = Answer(offer.exchange, offer.chunk, self._weight, self._credit(), self.step)
        if offer.chunk in ledger.answers:
            return [Send(door, replace(answer, payload=ledger.answers[offer.chunk]))]
        ledger.failed = ledger.failed or self._collision(life, offer, now)
        if ledger.failed:  # For good: an echo of this offer may come when the reason is long past.
            ledger.closed = not ledger.answers
            return [Send(door, Decline(offer.exchange, offer.chunk, ledger.failed))]
        if ledger.closed or len(ledger.answers) >= WINDOW:
            return []  # An echo, or more than the credit we gave: not one of ours.
        ledger.conceding = offer.chunk
        return [Concede(door, offer, _share(offer.weight, self._weight), answer)]

    def answered(self, life: Life, event: Answered) -> list[Effect]:
        """A chunk was conceded: keep the difference until the initiator has it."""
        ledger = self._ledgers.get(life)
        if ledger is None or (ledger.exchange, ledger.conceding) != (event.offer.exchange, event.offer.chunk):
            return []
        ledger.conceding = -1
        ledger.answers[event.offer.chunk] = event.payload
        ledger.mixed += 1
        return [Completed(life[0], initiated=False)] if ledger.mixed == event.offer.chunks else []

    def unusable(self, life: Life, event: Unusable) -> list[Effect]:
        """A chunk could not be mixed, here or there: nothing more is begun in this exchange."""
        ledger = self._ledgers.get(life)
        if ledger is not None and ledger.exchange == event.exchange and ledger.conceding >= 0:
            chunk, ledger.conceding, ledger.failed = ledger.conceding, -1, event.why
            return [Send(event.door, Decline(event.exchange, chunk, event.why))]
        begun = self._begun.get(event.exchange)  # Both sides count from 1: the same number may be ours and theirs.
        if begun is None or (begun.peer, begun.incarnation) != life:
            return []
        begun.stopped = True
        return self._stopped(begun, event.door, event.why)

    def on_ack(self, life: Life, ack: Ack) -> None:
        """The initiator has everything."""
        ledger = self._ledgers.get(life)
        if ledger is not None and ledger.exchange == ack.exchange:
            ledger.close()

    def tick(self, door_to: DoorTo, now: float) -> list[Effect]:
        """Offer again what stays unanswered; let training go on where that takes too long."""
        effects: list[Effect] = []
        patience_s = self._patience.patience_s
        for begun in self._begun.values():
            silent_s = now - begun.progress_s
            door = door_to(begun.peer, begun.incarnation) if silent_s >= patience_s else None
            if door is not None:
                effects += self._offer(begun, begun.to_repeat(now, patience_s), door)
            if silent_s > patience_s:
                effects += self._release(begun, f"{begun.peer} did not answer for {silent_s:.1f} s")
        return effects

    def forget(self, life: Life) -> list[Effect]:
        """A life is over for good: what is open with it never closes."""
        effects: list[Effect] = []
        self._ledgers.pop(life, None)
        for number, begun in list(self._begun.items()):
            if (begun.peer, begun.incarnation) == life:
                del self._begun[number]
                effects += self._release(begun, f"{begun.peer} has gone")
        return effects

    def resume(self, peer: str) -> None:
        """A silent peer is back: what is open with it is offered again soon."""
        for begun in self._begun.values():
            if begun.peer == peer:
                begun.repeats = 0

    def release(self, peer: str) -> list[Effect]:
        """A peer is silent: training need not wait for it, though the exchange stays open."""
        return [
            effect
            for begun in self._begun.values()
            if begun.peer == peer
            for effect in self._release(begun, f"{peer} is silent")
        ]

    def answering(self, now: float) -> set[Life]:
        """The lives whose exchange we are answering right now: to begin one with them would mix twice."""
        return {
            life
            for life, ledger in self._ledgers.items()
            if not (ledger.closed or ledger.failed) and ledger.mixed < self._chunks and now - ledger.used_s < CROSSING_S
        }

    def _collision(self, life: Life, offer: Offer, now: float) -> str:
        """Why a chunk can't be conceded next to an exchange of our own with the same peer; "" if it can."""
        number, ended_s = self._latest.get(life, (0, 0.0))
        begun = self._begun.get(number)
        if offer.seen < number and (begun is not None or now - ended_s < CROSSING_S):
            return "our offers crossed, and mine goes first" if self._me < life[0] else ""
        return "my own offer of this chunk is open" if begun is not None and offer.chunk in begun.open else ""

    def _ended(self, begun: Initiation, now: float) -> None:
        del self._begun[begun.exchange]
        self._latest[begun.peer, begun.incarnation] = (begun.exchange, now)

    def _release(self, begun: Initiation, why: str) -> list[Effect]:
        if not begun.waited_for:
            return []
        begun.waited_for = False
        return [RoundOver(begun.round, begun.peer, why)]

    def _stopped(self, begun: Initiation, door: str, why: str) -> list[Effect]:
        """What follows when no further chunk is offered: training goes on; with nothing open the exchange is over."""
        effects = self._release(begun, why)
        if begun.complete:
            del self._begun[begun.exchange]
            effects.append(Send(door, Ack(begun.exchange)))
        return effects

    def _offer(self, begun: Initiation, chunks: list[int], door: str) -> list[Effect]:
        acked = begun.acked
        return [
            Propose(
                door,
                Offer(
                    begun.exchange,
                    chunk,
                    begun.chunks,
                    begun.alpha,
                    self._weight,
                    acked,
                    step=self.step,
                    seen=begun.seen,
                ),
            )
            for chunk in chunks
        ]

    def _credit(self) -> int:
        busy = sum(bool(ledger.answers) for ledger in self._ledgers.values())
        return max(1, WINDOW // max(1, busy))

    def _open(self, life: Life, exchange: int, now: float) -> Ledger:
        """A ledger for an exchange we hear of for the first time; one that has failed if too many are open."""
        if len(self._ledgers) >= MAX_LIVES and life not in self._ledgers:
            del self._ledgers[next(other for other, led in self._ledgers.items() if led.closed)]
        ledger = Ledger(exchange, now)
        idle = [(led.used_s, other) for other, led in self._ledgers.items() if not led.closed and other != life]
        if len(idle) >= MAX_LEDGERS:
            used_s, other = min(idle)
            if now - used_s < IDLE_S:
                ledger.close(f"busy with {MAX_LEDGERS} exchanges")
            else:
                self._ledgers[other].close(f"given up after {IDLE_S:.0f} s of silence")
        self._ledgers[life] = ledger
        return ledger

    def _objection(self, offer: Offer) -> str:
        if offer.vector != "theta":
            return f"there is no vector {offer.vector[:64]!r} here"
        if offer.codec != "float32":
            return f"codec {offer.codec[:64]!r} is not known here"
        if offer.chunks != self._chunks or not 0 <= offer.chunk < offer.chunks or offer.acked < 0:
            return f"chunk {offer.chunk} of {offer.chunks}: our vector has {self._chunks}"
        if not 0 <= offer.alpha <= 1 or not offer.weight > 0:
            return f"alpha {offer.alpha} must be in [0, 1] and weight {offer.weight} positive"
        return ""


def _share(theirs: float, ours: float) -> float:
    """2 w_other / (w_i + w_j), in an order in which no weight that a peer may say overflows."""
    return 2 * (theirs / (ours + theirs))
