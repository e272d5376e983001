"""For how long training waits for an exchange, whatever its peer does. Sans-IO.

Each chunk may be answered just inside its timeout, and so hold an exchange for ever. So an exchange is also waited for
as a whole: some times as long as those with the quickest peer take. A peer that took longer is not waited for at all
until it has completed some exchanges in time, twice as many after each offense: it costs training a number of waits
that grows with the logarithm of its exchanges. The exchange itself goes on meanwhile.
"""

from agents.protocol.timeout import TimeoutEstimate
from transport.messages import AgentId

SLOWER = 4
"""An exchange is waited for so many times as long as those with the quickest peer take."""

FIRST = 10
"""Before any exchange was completed, so many times as long as for the first answer."""

MOST_OFFENSES = 10
"""More than these don't count: after 1,024 exchanges in time every peer is waited for again."""

MAX_PEERS = 4096


class Waiting:
    """floor_s: any exchange is waited for as long; first_s: how long for the first answer, before any came."""

    def __init__(self, first_s: float, floor_s: float) -> None:
        self._first_s, self._floor_s = first_s, floor_s
        self._answers = TimeoutEstimate(first_s, floor_s)
        self._mean_s: dict[AgentId, float] = {}
        self._offenses: dict[AgentId, int] = {}
        self._owed: dict[AgentId, int] = {}

    def answered(self, took_s: float) -> None:
        """One chunk's answer took so long."""
        self._answers.add(took_s)

    @property
    def timeout_s(self) -> float:
        """How long the next answer is waited for."""
        return self._answers.timeout_s

    @property
    def limit_s(self) -> float:
        """How long an exchange is waited for as a whole."""
        if not self._mean_s:
            return FIRST * self._first_s
        return max(self._floor_s, SLOWER * min(self._mean_s.values()))

    def waits_for(self, peer: AgentId) -> bool:
        """Whether training waits for this peer at all."""
        return peer not in self._owed

    def completed(self, peer: AgentId, took_s: float) -> None:
        """An exchange with this peer took so long."""
        in_time = took_s <= self.limit_s
        mean_s = self._mean_s.get(peer)
        if len(self._mean_s) >= MAX_PEERS and mean_s is None:
            del self._mean_s[next(iter(self._mean_s))]
        self._mean_s[peer] = took_s if mean_s is None else mean_s + (took_s - mean_s) / 8
        if in_time and peer in self._owed:
            self._owed[peer] -= 1
            if not self._owed[peer]:
                del self._owed[peer]

    def overdue(self, silent_s: float, lasted_s: float) -> str:
        """Why an exchange of this age, silent for so long, is waited for no longer; "" if it is."""
        if silent_s > self.timeout_s:
            return f"did not answer for {silent_s:.1f} s"
        return f"takes longer than {self.limit_s:.1f} s" if lasted_s > self.limit_s else ""

    def late(self, peer: AgentId) -> None:
        """Training has stopped waiting for this peer."""
        if peer in self._owed:
            return
        if len(self._offenses) >= MAX_PEERS and peer not in self._offenses:
            del self._offenses[next(iter(self._offenses))]
        self._offenses[peer] = min(MOST_OFFENSES, self._offenses.get(peer, -1) + 1)
        self._owed[peer] = 2 ** self._offenses[peer]
