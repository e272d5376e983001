"""All exchanges of one agent, those it began and those it answers. Sans-IO; a payload is passed on as it came."""

from collections.abc import Callable
from dataclasses import replace

from agents.protocol.events import Answered, Close, Completed, Concede, Effect, Propose, RoundOver, Send, Unusable
from agents.protocol.stream import Initiation, Ledger, Patience
from transport.messages import Ack, Answer, Decline, Offer

WINDOW = 8
"""Chunks under way unanswered: 8 MiB fill any pipe that a host can serve."""

MAX_LEDGERS = 64
"""Exchanges answered at a time: 64 windows of answers are 512 MiB at worst, and a swarm rarely has 3."""

Life = tuple[str, int]
"""An agent and its incarnation."""

DoorTo = Callable[[str, int], str | None]
"""Finds a ready door to a life."""


class Exchanges:
    """weight: ours, as every exchange uses it. chunks: of our vector. alpha: the rate of exchanges we begin."""

    def __init__(self, alpha: float, weight: float, chunks: int, *, first_s: float, floor_s: float) -> None:
        self._alpha = alpha
        self._weight = weight
        self._chunks = chunks
        self._begun: dict[int, Initiation] = {}
        self._ledgers: dict[Life, Ledger] = {}
        self._patience = Patience(first_s, floor_s)
        self._number = 0

    @property
    def open_peers(self) -> set[Life]:
        """The lives with which we have an exchange of our own open: none other may be begun with them."""
        return {(begun.peer, begun.incarnation) for begun in self._begun.values()}

    def begin(self, peer: Life, door: str, round: int, credit: int, now: float) -> list[Effect]:
        """Offer our vector to a peer; the round is over when its last answer was taken in, or takes too long."""
        self._number += 1
        begun = Initiation(self._number, round, *peer, self._chunks, self._alpha, min(credit, WINDOW), now)
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
        share = 2 * answer.weight / (self._weight + answer.weight)
        effects: list[Effect] = [Close(door, answer, begun.alpha, share)]
        if begun.complete:
            del self._begun[begun.exchange]
            effects += [Send(door, Ack(begun.exchange)), Completed(begun.peer, initiated=True)]
            effects += self._release(begun, "")
        else:
            effects += self._offer(begun, begun.to_offer(now), door)
        return effects

    def on_decline(self, life: Life, decline: Decline) -> list[Effect]:
        """The peer mixes no further chunk of this exchange."""
        begun = self._begun.get(decline.exchange)
        if begun is None or (begun.peer, begun.incarnation) != life:
            return []
        del self._begun[decline.exchange]
        return self._release(begun, f"{begun.peer} declined: {decline.why}")

    def on_offer(self, life: Life, door: str, offer: Offer) -> list[Effect]:
        """Concede to a chunk offered for the first time; repeat the answer to one offered again."""
        reason = self._objection(life, offer)
        if reason:
            return [Send(door, Decline(offer.exchange, reason))]
        ledger = self._ledgers.get(life)
        if ledger is None or offer.exchange > ledger.exchange:
            ledger = self._ledgers[life] = Ledger(offer.exchange)
        if ledger.failed and offer.exchange == ledger.exchange:
            return [Send(door, Decline(offer.exchange, ledger.failed))]
        if offer.exchange < ledger.exchange or ledger.closed or offer.chunk < ledger.below:
            return []  # An echo of what both sides have long applied.
        ledger.acknowledge(min(offer.acked, offer.chunk))
        answer = Answer(offer.exchange, offer.chunk, self._weight, self._credit())
        if offer.chunk in ledger.answers:
            return [Send(door, replace(answer, payload=ledger.answers[offer.chunk]))]
        if len(ledger.answers) > WINDOW:
            return []  # More than the credit we gave: not one of ours.
        share = 2 * offer.weight / (self._weight + offer.weight)
        return [Concede(door, offer, share, answer)]

    def answered(self, life: Life, event: Answered) -> list[Effect]:
        """A chunk was conceded: keep the difference until the initiator has it."""
        ledger = self._ledgers[life]
        ledger.answers[event.offer.chunk] = event.payload
        ledger.mixed += 1
        return [Completed(life[0], initiated=False)] if ledger.mixed == event.offer.chunks else []

    def unusable(self, life: Life, event: Unusable) -> list[Effect]:
        """A chunk could not be mixed, here or there: this exchange ends, with what was mixed before."""
        begun = self._begun.get(event.exchange)
        if begun is not None and (begun.peer, begun.incarnation) == life:
            del self._begun[event.exchange]
            return self._release(begun, event.why)
        ledger = self._ledgers.get(life)
        if ledger is not None and ledger.exchange == event.exchange:
            ledger.close(event.why)
        return [Send(event.door, Decline(event.exchange, event.why))]

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
            again = begun.to_repeat(now, patience_s)
            door = door_to(begun.peer, begun.incarnation) if again else None
            if door is not None:
                effects += self._offer(begun, again, door)
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

    def release(self, peer: str) -> list[Effect]:
        """A peer is silent: training need not wait for it, though the exchange stays open."""
        return [
            effect
            for begun in self._begun.values()
            if begun.peer == peer
            for effect in self._release(begun, f"{peer} is silent")
        ]

    def _release(self, begun: Initiation, why: str) -> list[Effect]:
        if not begun.waited_for:
            return []
        begun.waited_for = False
        return [RoundOver(begun.round, begun.peer, why)]

    def _offer(self, begun: Initiation, chunks: list[int], door: str) -> list[Effect]:
        acked = begun.acked
        return [
            Propose(door, Offer(begun.exchange, chunk, begun.chunks, begun.alpha, self._weight, acked))
            for chunk in chunks
        ]

    def _credit(self) -> int:
        busy = sum(bool(ledger.answers) for ledger in self._ledgers.values())
        return max(1, WINDOW // max(1, busy))

    def _objection(self, life: Life, offer: Offer) -> str:
        if offer.vector != "theta":
            return f"there is no vector {offer.vector!r} here"
        if offer.codec != "float32":
            return f"codec {offer.codec!r} is not known here"
        if offer.chunks != self._chunks or not 0 <= offer.chunk < offer.chunks or offer.acked < 0:
            return f"chunk {offer.chunk} of {offer.chunks}: our vector has {self._chunks}"
        if not 0 <= offer.alpha <= 1 or not offer.weight > 0:
            return f"alpha {offer.alpha} must be in [0, 1] and weight {offer.weight} positive"
        if life not in self._ledgers and sum(not led.closed for led in self._ledgers.values()) >= MAX_LEDGERS:
            return f"busy with {MAX_LEDGERS} exchanges"
        return ""
