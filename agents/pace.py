"""How long training rests for one peer in all, whatever that peer says of its own steps."""

from transport.messages import AgentId

SHARE = 0.05
"""Of the time trained: so much rest any one peer may cost, besides the first periods."""

FIRST_PERIODS = 40
"""So many periods of rest any one peer may cost in any case: machines that start together differ most at first."""

MAX_PEERS = 4096


class RestBudget:
    """What each peer has cost so far. A peer that is slower for good, or claims to be, is soon waited for no longer."""

    def __init__(self) -> None:
        self._spent_s: dict[AgentId, float] = {}
        self._all_s = 0.0

    def grant(self, peer: AgentId, wanted_s: float, elapsed_s: float, period_s: float) -> float:
        """How much of the rest wanted for this peer there is.

        elapsed_s: since training began, rests included. period_s: between two exchanges.
        """
        trained_s = max(0.0, elapsed_s - self._all_s)
        spent_s = self._spent_s.get(peer, 0.0)
        granted_s = max(0.0, min(wanted_s, FIRST_PERIODS * period_s + SHARE * trained_s - spent_s))
        if granted_s:
            if len(self._spent_s) >= MAX_PEERS and peer not in self._spent_s:
                del self._spent_s[next(iter(self._spent_s))]
            self._spent_s[peer] = spent_s + granted_s
            self._all_s += granted_s
        return granted_s
