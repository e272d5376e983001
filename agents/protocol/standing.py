"""Whose exchange is given up where too many are open: of who is silent, that with the fewest completed ones. Sans-IO.

What is open with a peer that went stays open, since both sides must apply the same; but each takes memory, and a name
costs nothing. So it isn't open for ever where room is short, and less long with a stranger than with a peer that has
completed exchanges with us.
"""

from collections import Counter
from collections.abc import Mapping

from agents.protocol.incarnation import Incarnation
from transport.messages import AgentId

MAX_OPEN = 32
"""Exchanges open at a time, each way: 32 windows are 256 MiB at worst, and a swarm rarely has 3."""

YIELD_S = 30.0
"""An exchange on which nothing came for so long yields to one with a peer that has completed as many."""

IDLE_S = 600.0
"""After so long it yields to any."""

MAX_PEERS = 4096


class Standing:
    """How many exchanges each peer has completed with us: both sides have all that was applied."""

    def __init__(self) -> None:
        self._completed: Counter[AgentId] = Counter()

    def completed(self, peer: AgentId) -> None:
        """One more."""
        if len(self._completed) >= MAX_PEERS and peer not in self._completed:
            del self._completed[min(self._completed, key=self._completed.__getitem__)]
        self._completed[peer] += 1

    def yields(self, silent: Mapping[Incarnation, float], peer: AgentId, now: float) -> Incarnation | None:
        """Of peers that are silent since then, the one whose exchange is given up for one with `peer`, if any is."""
        least = self._completed[peer]
        found = [
            (self._completed[each.agent], since_s, each)
            for each, since_s in silent.items()
            if now - since_s >= (YIELD_S if self._completed[each.agent] <= least else IDLE_S)
        ]
        return min(found)[2] if found else None
