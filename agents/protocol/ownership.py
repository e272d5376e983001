"""The weight of an agent in each chunk of an exchange: its own weight in the block that it trains, zero elsewhere.

Where a run's agents train blocks of the model (`--submodel`), who trains which follows from the shard that a member
publishes, and is the same to both sides of an exchange: no weight that is sent beside an offer changes it. Of a swarm
in which all train everything there is one block. Of a nested model blocks are levels, and an agent holds those up to
that of the capacity that it publishes: two exchange the chunks of the levels that both hold. Sans-IO.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from agents.mixing.bounds import MAX_WEIGHT
from agents.mixing.capacities import steps_down
from agents.protocol.incarnation import Incarnation
from transport.messages import AgentId, Member

UNKNOWN = "its record, with its shard, has not come yet"
"""Why nothing is exchanged with a peer of whom it isn't known what it trains."""

ROUNDING = 1e-9
"""By how much a mass may come out greater than the greatest weight of which it is a mean."""


class Ownership:
    """chunks: the block of each chunk, () if there is one. me: our own record. get: that of another member.

    nested: whether blocks are levels of a nested model. most: that an agent may weigh.
    """

    def __init__(
        self,
        chunks: Sequence[int],
        me: Member,
        get: Callable[[AgentId], Member | None],
        nested: bool = False,
        most: float = MAX_WEIGHT,
    ) -> None:
        self._chunks, self._get, self._me, self.nested = tuple(chunks), get, me.agent, nested
        self._most = most * (1 + ROUNDING)
        self.count = max(self._chunks, default=0) + 1
        self.ours = self._block(me) or 0

    def block(self, chunk: int) -> int:
        """The block of a chunk."""
        return self._chunks[chunk] if self._chunks else 0

    def of(self, peer: Incarnation) -> int | None:
        """The block that a peer trains; None where its record isn't here."""
        if self.count == 1:
            return 0
        member = self._get(peer.agent)
        return self._block(member) if member is not None and Incarnation.of(member) == peer else None

    def trains(self, peer: Incarnation | None, chunk: int) -> bool:
        """Whether a peer trains this chunk, or we do, for None."""
        return self._trains(self.ours if peer is None else self.of(peer), self.block(chunk))

    def exchanged(self, peer: Incarnation, chunks: int) -> int | None:
        """How many chunks we exchange with a peer, the first ones of our own, which are so many; None if unknown."""
        if not self.nested:
            return chunks
        theirs = self.of(peer)
        return None if theirs is None else len(self.span(0, min(self.ours, theirs)))

    def span(self, first: int, last: int) -> range:
        """The chunks from the first of a block to the last of another."""
        return range(bisect_left(self._chunks, first), bisect_right(self._chunks, last))

    def same_block(self, agents: list[AgentId]) -> list[AgentId]:
        """Those of these agents, us included, that train our block, in order; all of them if no other agent does."""
        members = {agent: self._get(agent) for agent in agents}
        found = [
            a
            for a, m in members.items()
            if a == self._me or (m is not None and self._trains(self._block(m), self.ours))
        ]
        return found if len(found) > 1 else agents

    def weight(self, weight: float, trained: int | None, chunk: int) -> float:
        """What an agent of this weight, which trains this block, weighs in an exchange of a chunk."""
        return weight if self._trains(trained, self.block(chunk)) else 0.0

    def masses(self, member: Member) -> tuple[float, ...]:
        """What a member's vector weighs in each block when the exact finish begins.

        A round makes of weights means of them, so what is carried from a pass that was not completed is none if it is
        more than any agent may weigh.
        """
        report = member.report
        if self.count == 1:
            return (report.mass,) if 0 < report.mass <= self._most else self.own(member)
        return masses_in(report.masses, self.count, self._most) or self.own(member)

    def own(self, member: Member) -> tuple[float, ...]:
        """What a member's vector weighs in each block that it trains, whatever the exact finish has made of that."""
        block = self._block(member)
        return tuple(member.report.weight if self._trains(block, k) else 0.0 for k in range(self.count))

    def carried(self, masses: tuple[float, ...]) -> dict[str, Any]:
        """The fields of our record for the weight of our vector after a finish pass that was not completed.

        What others handed to it, which they can't give to all themselves, counts no more than any agent may weigh.
        """
        masses = tuple(min(mass, self._most) for mass in masses)
        return {"mass": masses[0]} if self.count == 1 else {"masses": " ".join(map(repr, masses))}

    def _block(self, member: Member) -> int | None:
        """None for a shard that is none: whoever publishes such a thing trains nothing."""
        if self.count == 1:
            return 0
        if self.nested:
            down = steps_down(member.report.capacity)
            return None if down is None or down >= self.count else self.count - 1 - down
        shard = re.fullmatch(r"(\d{1,9})/\d{1,9}", member.report.shard)
        return int(shard[1]) % self.count if shard else None

    def _trains(self, own: int | None, block: int) -> bool:
        """Whether who trains `own` trains a block; of levels those below as well."""
        return own is not None and (block <= own if self.nested else block == own)


def masses_in(text: str, count: int, most: float = MAX_WEIGHT) -> tuple[float, ...]:
    """The weights of a vector by block that a record's text gives; () unless it is `count` numbers from 0 to `most`.

    The text may come from any agent. most: the largest weight that an agent may have.
    """
    try:
        masses = tuple(map(float, text.split()))
    except ValueError:
        return ()
    return masses if len(masses) == count and all(0 <= each <= most for each in masses) else ()
