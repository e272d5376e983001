"""The two ends of one exchange: a stream of chunks, each zero-sum by itself and idempotent under its id.

    Initiation   offers chunks in order, as many unanswered at a time as the responder gives credit for;
                 offers again by the same id what stays unanswered too long; never forgets an open chunk
    Ledger       remembers each answer until the initiator has applied it; answers a repeated offer with the
                 same difference and never mixes it in twice

The initiator begins no new exchange with a peer while one with that peer is open. So an exchange with a higher
number says that the one before is complete, and a ledger holds one window of answers for each initiator, no more.
"""

from dataclasses import dataclass, field
from typing import Any

REPEAT_S = 30.0
"""An open chunk is offered again at least so often, as long as its peer can be reached."""

PATIENCE_S = 10.0
"""The longest that training waits for an answer, however slow the answers before it were."""


@dataclass
class Initiation:
    """Our side of an exchange we began. chunks: of the whole vector; credit: how many may be unanswered.

    seen: the last exchange of the peer's that we had heard of.
    """

    exchange: int
    round: int
    peer: str
    incarnation: int
    chunks: int
    alpha: float
    credit: int
    progress_s: float
    seen: int = 0
    next: int = 0
    open: dict[int, float] = field(default_factory=dict)
    stopped: bool = False
    waited_for: bool = True
    repeats: int = 0

    def to_offer(self, now: float) -> list[int]:
        """The chunks that credit lets us offer now, marked as open; none once the exchange was stopped."""
        if self.stopped:
            return []
        room = min(self.credit - len(self.open), self.acked + self.credit - self.next)
        last = min(self.chunks, self.next + max(0, room))
        fresh = list(range(self.next, last))
        self.open.update((chunk, now) for chunk in fresh)
        self.next = last
        return fresh

    def take(self, chunk: int, now: float) -> float | None:
        """The chunk's answer came: how long it took, or None if it isn't open, so it must not be applied (again)."""
        offered_s = self.open.pop(chunk, None)
        if offered_s is None:
            return None
        self.progress_s = now
        self.repeats = 0
        return now - offered_s

    def to_repeat(self, now: float, patience_s: float) -> list[int]:
        """The open chunks to offer once more, if the peer has been silent for long; twice as long each time."""
        if now - self.progress_s < min(REPEAT_S, patience_s * 2**self.repeats):
            return []
        self.repeats = min(self.repeats + 1, 16)
        self.progress_s = now
        self.open.update(dict.fromkeys(self.open, now))
        return sorted(self.open)

    def stop(self, chunk: int) -> bool:
        """The peer won't mix this open chunk: offer no further one, but see those through that are open."""
        if self.open.pop(chunk, None) is None:
            return False
        self.stopped = True
        return True

    @property
    def acked(self) -> int:
        """Every chunk below this one has been applied here, or declined there."""
        return min(self.open, default=self.next)

    @property
    def complete(self) -> bool:
        """Whether nothing is open, and nothing remains to be offered."""
        return not self.open and (self.stopped or self.next == self.chunks)


@dataclass
class Ledger:
    """Our side of an exchange that a peer began: the answers it may not have applied yet.

    conceding: the chunk that is being mixed right now, -1 for none. used_s: when it was last heard of.
    failed: why no further chunk is mixed; the answers given before are still owed.
    """

    exchange: int
    used_s: float
    answers: dict[int, Any] = field(default_factory=dict)
    below: int = 0
    mixed: int = 0
    conceding: int = -1
    closed: bool = False
    failed: str = ""

    def acknowledge(self, below: int) -> None:
        """The initiator has applied every chunk below this one."""
        for chunk in range(self.below, below):
            self.answers.pop(chunk, None)
        self.below = max(self.below, below)

    def close(self, failed: str = "") -> None:
        """The exchange is over: complete, or given up for this reason."""
        self.answers.clear()
        self.closed, self.failed = True, failed


class Patience:
    """How long to wait for an answer: Jacobson and Karels' estimator (RFC 6298), between floor_s and PATIENCE_S."""

    def __init__(self, first_s: float, floor_s: float) -> None:
        self._first_s = first_s
        self._floor_s = floor_s
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    def learn(self, took_s: float) -> None:
        """One answer took this long."""
        if self._mean_s is None:
            self._mean_s, self._deviation_s = took_s, took_s / 2
        else:
            self._deviation_s += (abs(took_s - self._mean_s) - self._deviation_s) / 4
            self._mean_s += (took_s - self._mean_s) / 8

    @property
    def patience_s(self) -> float:
        """Mean plus four deviations."""
        if self._mean_s is None:
            return self._first_s
        return min(PATIENCE_S, max(self._floor_s, self._mean_s + 4 * self._deviation_s))
