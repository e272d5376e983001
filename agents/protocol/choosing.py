"""With which of its neighbors an agent begins an exchange (`--choose`). Sans-IO.

    uniform      each that is free is equally likely
    roundrobin   one after the other, in an order that is another in each lap; who isn't free is passed over
    fastest      the likelier, the less time exchanges with it took

With "fastest" a share of FLOOR is drawn uniformly, the rest in proportion to 1 / time. So the expected mixing matrix is
a mixture too: whatever the times are, an exchange contracts the swarm in expectation by at least FLOOR times what a
uniform choice gives, and the graph that agents exchange on stays connected. And each neighbor is measured anew now and
then, so one whose link has become quick is found out. One that isn't measured yet counts as the quickest.

A choice follows from seed, agent and round, and with "fastest" from the times; nothing else is remembered.
"""

from collections.abc import Collection, Sequence

from agents.protocol.times import Times
from topology import need_choice, select, select_by, turns
from transport.messages import AgentId

FLOOR = 0.2
"""The share of choices that is uniform."""


class Choosing:
    """The choices of one agent. choose: by what; seed, me, times: of the agent. Raises TopologyError."""

    def __init__(self, choose: str, seed: int, me: AgentId, times: Times | None = None) -> None:
        need_choice(choose)
        self._choose, self._seed, self._me, self.times = choose, seed, me, times or Times()

    def of(self, round: int, neighbors: Sequence[AgentId], free: Collection[AgentId]) -> AgentId:
        """One of the neighbors that are free, of whom there is one at least. neighbors: all that can exchange."""
        if self._choose == "roundrobin":
            return next(each for each in turns(self._seed, self._me, round, sorted(neighbors)) if each in free)
        candidates = sorted(free)
        if self._choose == "fastest":
            return select_by(self._seed, self._me, round, candidates, self.chances(candidates))
        return AgentId(select(self._seed, self._me, round, candidates))

    def chances(self, candidates: Sequence[AgentId]) -> list[float]:
        """How likely "fastest" chooses each of them; they sum to 1."""
        times = [self.times.of(each) for each in candidates]
        quickest = min((took for took in times if took is not None), default=1.0)
        speeds = [1 / max(quickest if took is None else took, 1e-9) for took in times]
        return [FLOOR / len(speeds) + (1 - FLOOR) * speed / sum(speeds) for speed in speeds]
