"""How long whole exchanges with each neighbor take: the median of the last few. Sans-IO.

By these an agent may choose its neighbors (`choosing`), and training knows whether an exchange will be over in time
(`agents.lateness`).
"""

from collections import OrderedDict, deque
from statistics import median

from transport.messages import AgentId

WINDOW = 5
"""Exchanges whose times give the median: three long ones make a neighbor slow, three short ones quick."""

MAX_PEERS = 4096
"""Of whom times are remembered; beyond it those of who was measured the longest ago are forgotten."""


class Times:
    """Of exchanges that we began, from the first offer to the last answer."""

    def __init__(self) -> None:
        self._took: OrderedDict[AgentId, deque[float]] = OrderedDict()
        self._latest: deque[float] = deque(maxlen=WINDOW)

    def completed(self, peer: AgentId, took_s: float) -> None:
        """One with this peer took so long."""
        self._latest.append(took_s)
        self._took.setdefault(peer, deque(maxlen=WINDOW)).append(took_s)
        self._took.move_to_end(peer)
        if len(self._took) > MAX_PEERS:
            self._took.popitem(last=False)

    def forget(self, peer: AgentId) -> None:
        """It starts anew, maybe on another machine."""
        self._took.pop(peer, None)

    def of(self, peer: AgentId) -> float | None:
        """How long one with this peer takes, in seconds; None if none was measured."""
        took = self._took.get(peer)
        return median(took) if took else None

    def expected_s(self, peer: AgentId) -> float:
        """The same, and of a peer that isn't measured what the last exchanges took; 0 if nothing is known."""
        took_s = self.of(peer)
        return took_s if took_s is not None else median(self._latest or (0.0,))
