"""The two ends of one exchange as state machines: a stream of chunks, each idempotent under (exchange, chunk).

    Outgoing   we began it. It offers chunks in order, as many unanswered at a time as the responder gives credit for,
               and offers again, by the same number, what stays unanswered too long. It never forgets an open chunk.
    Incoming   a peer began it. It remembers each answer until the initiator has applied it, so a chunk that is offered
               again gets the same answer and is applied once.

The initiator begins no new exchange with a peer while one with that peer is open. So an exchange with a higher number
means that the one before is complete, and we hold one window of answers for each initiator, no more. Nobody but the
methods here changes a state; each change is looked up in a table, and one that the table doesn't have is a bug.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.protocol.incarnation import Incarnation
from agents.protocol.transitions import INCOMING, OUTGOING, Incoming, Outgoing, Step, Turn, looked_up
from transport.messages import Answer

WINDOW = 8
"""Chunks unanswered at a time: at 1 MiB each, what one exchange may hold in memory. Not a sensitive number.

The one window of the protocol: what the handshake offers as credit, and what is enforced.
"""

REPEAT_S = 30.0
"""An open chunk is offered again at least so often, as long as its peer can be reached."""


@dataclass
class OutgoingSession:
    """An exchange that we began. chunks: up to which. credit: how many may be unanswered. first: the first chunk.

    progress_s: when an answer last came, or offers were last repeated. seen: the last exchange of the peer's that we
    had received when this one began. began_s: when that was. received_s: when an answer last came, or began_s. rates:
    ours in each block, where alpha and the weights don't make them. trained: the block that the peer trains. finish: to
    which round of the exact finish it belongs. codec: in which it is offered. waited_for: training waits for it to be
    over. whole: no chunk was declined so far. squared, scale: of the difference so far, and the least that was applied
    of it. weight: ours in all of it, whatever our model weighs by its end.
    """

    exchange: int
    round: int
    peer: Incarnation
    chunks: int
    alpha: float
    credit: int
    progress_s: float
    seen: int = 0
    began_s: float = 0.0
    received_s: float = 0.0
    rates: Sequence[float] | None = None
    finish: str = ""
    codec: str = "float32"
    state: Outgoing = Outgoing.OFFERING
    waited_for: bool = True
    trained: int | None = 0
    whole: bool = True
    squared: float = 0.0
    scale: float = 1.0
    first: int = 0
    weight: float = 1.0
    _next: int = 0
    _applying: int | None = None
    _open: dict[int, float] = field(default_factory=dict)
    _repeats: int = 0

    def __post_init__(self) -> None:
        self._next = self.first

    def offer(self, now: float) -> list[int]:
        """The chunks that credit lets us offer now, marked as open; none once the exchange was stopped."""
        if self.state is not Outgoing.OFFERING:
            return []
        room = min(self.credit - len(self._open), self.acknowledged + self.credit - self._next)
        last = min(self.chunks, self._next + max(0, room))
        fresh = list(range(self._next, last))
        self._open.update((chunk, now) for chunk in fresh)
        self._next = last
        return fresh

    def answered(self, chunk: int, now: float) -> float | None:
        """The chunk's answer came: how long it took, or None if it isn't open, so it must not be applied (again)."""
        offered_s = self._open.pop(chunk, None)
        if offered_s is None:
            return None
        self._applying = chunk
        self.progress_s = self.received_s = now
        self._repeats = 0
        return now - offered_s

    def has_applied(self, chunk: int, squared: float, scale: float) -> bool:
        """The chunk's answer was applied; False if it isn't the one that was being applied."""
        if chunk != self._applying:
            return False
        self._applying = None
        self.squared += squared
        self.scale = min(self.scale, scale)
        self._finish_if_empty()
        return True

    def repeat(self, now: float, timeout_s: float) -> list[int]:
        """The open chunks to offer once more, if the peer has been silent for long; half as often each time."""
        if now - self.progress_s < min(REPEAT_S, timeout_s * 2**self._repeats):
            return []
        self._repeats = min(self._repeats + 1, 16)
        self.progress_s = now
        self._open.update(dict.fromkeys(self._open, now))
        return sorted(self._open)

    def repeat_soon(self) -> None:
        """The peer is back: offer again without the delay that its silence has built up."""
        self._repeats = 0

    def declined(self, chunk: int) -> bool:
        """The peer won't apply this chunk, nor any that follows it: whether it was open."""
        if self._open.pop(chunk, None) is None:
            return False
        self.stop()
        return True

    def stop(self) -> None:
        """Offer no further chunk, but complete those that are open."""
        self.whole, self._applying = False, None
        self._go(Step.STOP)
        self._finish_if_empty()

    def abandon(self) -> None:
        """The peer is gone for good: what is open stays unanswered."""
        self._go(Step.ABANDON)

    def is_open(self, chunk: int) -> bool:
        """Whether this chunk was offered and not answered yet."""
        return chunk in self._open

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The chunks that were offered and not answered yet: the peer may have applied them, we haven't."""
        return tuple(sorted(self._open))

    @property
    def acknowledged(self) -> int:
        """Every chunk below this one has been applied here, or declined there."""
        return min(self._open, default=self._next)

    @property
    def over(self) -> bool:
        """Whether nothing is open, and nothing remains to be offered."""
        return self.state is Outgoing.OVER

    def _finish_if_empty(self) -> None:
        if not self._open and self._applying is None and (self.state is Outgoing.STOPPED or self._next == self.chunks):
            self._go(Step.FINISH)

    def _go(self, step: Step) -> None:
        self.state = looked_up(OUTGOING, self.state, step)


class Given(NamedTuple):
    """An answer that we owe. moved: by how much the chunk moved our vector, in norm; 0 where that isn't known."""

    answer: Answer
    moved: float


@dataclass
class IncomingSession:
    """An exchange that a peer began. used_s: when something of it last came. applied: how many chunks.

    refusal: why no further chunk is applied; the answers given before are still owed. rates, trained, squared, scale,
    weight: as in the other. chunks: how many there are.
    """

    exchange: int
    peer: Incarnation
    used_s: float
    chunks: int = 0
    state: Incoming = Incoming.OPEN
    applied: int = 0
    refusal: str = ""
    rates: Sequence[float] | None = None
    trained: int | None = 0
    squared: float = 0.0
    scale: float = 1.0
    weight: float = 1.0
    _answers: dict[int, Given] = field(default_factory=dict)
    _reminded_s: float = 0.0
    _reminders: int = 0
    _below: int = 0
    _applying: int | None = None
    _rate: float = 0.0

    def answer(self, chunk: int) -> Answer | None:
        """With what this chunk was answered, if that answer is still owed."""
        given = self._answers.get(chunk)
        return given.answer if given is not None else None

    def is_echo(self, chunk: int) -> bool:
        """Whether an offer of this chunk is an old one: applied on both sides long ago, or on ours in a moment."""
        return chunk < self._below or self.state is Incoming.APPLYING

    @property
    def accepts(self) -> bool:
        """Whether a chunk that was not seen before may be applied: within the credit we gave."""
        return self.state is Incoming.OPEN and len(self._answers) < WINDOW

    @property
    def applying(self) -> bool:
        """Whether a chunk is being applied."""
        return self.state is Incoming.APPLYING

    @property
    def completed(self) -> bool:
        """Whether the initiator has every answer."""
        return self.state is Incoming.ACKNOWLEDGED

    @property
    def under_way(self) -> bool:
        """Whether further chunks may be applied."""
        return self.state in (Incoming.OPEN, Incoming.APPLYING)

    @property
    def occupied(self) -> bool:
        """Whether it counts among the exchanges that we are answering."""
        return self.under_way or bool(self._answers)

    @property
    def owes(self) -> bool:
        """Whether it holds answers that the initiator may not have."""
        return bool(self._answers)

    @property
    def owed(self) -> tuple[int, ...]:
        """The chunks whose answers it holds: we have applied them, the initiator may not."""
        return tuple(sorted(self._answers))

    @property
    def moved(self) -> float:
        """By how much these moved our vector, in norm, as far as that is known."""
        return math.hypot(*(given.moved for given in self._answers.values()))

    def remind(self, now: float, timeout_s: float) -> int | None:
        """A chunk whose answer to send once more: we owe it, and the initiator is silent. Its Ack may be lost."""
        silent_s = now - max(self.used_s, self._reminded_s)
        if not self._answers or silent_s < min(REPEAT_S, 2 * timeout_s * 2**self._reminders):
            return None
        self._reminders, self._reminded_s = min(self._reminders + 1, 16), now
        return min(self._answers)

    def acknowledge(self, below: int) -> None:
        """The initiator has applied every chunk below this one."""
        for chunk in range(self._below, below):
            self._answers.pop(chunk, None)
        self._below = max(self._below, below)

    def apply(self, chunk: int, rate: float = 0.0) -> None:
        """This chunk is being applied. rate: ours."""
        self._go(Turn.APPLY)
        self._applying, self._rate = chunk, rate

    def has_applied(self, chunk: int, answer: Answer, squared: float = 0.0) -> bool:
        """This chunk was applied and answered so; False if it isn't the one that was being applied."""
        if chunk != self._applying:
            return False
        self._go(Turn.APPLIED)
        self._applying = None
        self._answers[chunk] = Given(answer, self._rate * answer.scale * math.sqrt(squared))
        self._reminders, self._reminded_s = 0, self.used_s
        self.applied += 1
        self.squared += squared
        self.scale = min(self.scale, answer.scale)
        return True

    def refuse(self, why: str) -> int | None:
        """Apply no further chunk, for good. Returns the one that was being applied, if there was one."""
        chunk, self._applying = self._applying, None
        self._go(Turn.REFUSE)
        self.refusal = why
        return chunk

    def give_up(self, why: str) -> None:
        """Refuse, and forget the answers: the initiator has been silent for too long, or there is no room."""
        self.refuse(why)
        self._answers.clear()

    def complete(self) -> None:
        """The initiator has applied every answer."""
        if self.state is not Incoming.APPLYING:
            self._go(Turn.ACKNOWLEDGE)
            self._answers.clear()

    def _go(self, turn: Turn) -> None:
        self.state = looked_up(INCOMING, self.state, turn)
