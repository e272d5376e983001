"""How far an agent's training is ahead of the middle of those it exchanges with: for that it rests (DESIGN 1.6).

The middle, not the slowest: where half of them are behind, they are waited for; one that is slow, new, or claims to be
behind moves the middle by no more than its neighbor in rank, and costs the others nothing.
"""

from collections.abc import Container
from statistics import median_low

from transport.messages import AgentId

RECENT = 8
"""So many peers count, those met last."""


class Pace:
    """Leads over the peers met last, in local steps; one value a peer, and 0 for ourselves."""

    def __init__(self) -> None:
        self._leads: dict[AgentId, float] = {}

    def met(self, peer: AgentId, lead: float) -> None:
        """An exchange with this peer was completed; we had taken `lead` steps more."""
        self._leads.pop(peer, None)
        self._leads[peer] = lead
        if len(self._leads) > RECENT:
            del self._leads[next(iter(self._leads))]

    def rested(self, steps: float) -> None:
        """We have waited as long as so many steps take: the others have taken them meanwhile."""
        self._leads = {peer: lead - steps for peer, lead in self._leads.items()}

    def lead(self, living: Container[AgentId]) -> float:
        """How many steps we are ahead of the middle of those that are alive; the lower of two in the middle."""
        return median_low([0.0, *(lead for peer, lead in self._leads.items() if peer in living)])
