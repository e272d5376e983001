"""The swarm as one agent knows it at one moment: what the network thread shows to the training thread."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.protocol.core import GossipCore
from transport.messages import AgentId, Member, Sketch


@dataclass(frozen=True)
class View:
    """The swarm as this agent knows it at one moment.

    others: alive, and reached by us or by others; apart: those with whom we can't exchange; gone: silent or left.
    idle: no exchange is open. draining: none is begun or answered any longer.
    waited_s: for how long at least half of the members have trained no more.
    finish_over: an exact finish is complete, or given up; finish_still_s: for how long it has not progressed, infinity
    before it begins; exact: who holds the mean of all by it, this agent included unless it took that over; missed: the
    digest of the list over which the others have finished without us, "" if they haven't; left_behind: whether they
    have while we train still. taken: whether somebody took
    our whole vector since everyone had finished.
    skipped: boundaries that began no exchange, as the one before was still under way. sketches: of our model and those
    of others, the last few of each, oldest first; sketch_s: how long one takes until all who get it have it.
    bytes_by_codec: what exchanges have sent. weighs: what our vector weighs in each block, () where that is what we
    weigh ourselves; carried: the fields of our record for it.
    """

    me: Member
    others: tuple[Member, ...] = ()
    gone: tuple[Member, ...] = ()
    welcomed: bool = False
    all_finished: bool = True
    observed: bool = False
    idle: bool = True
    draining: bool = False
    waited_s: float = 0.0
    finish_over: bool = False
    finish_still_s: float = 0.0
    exact: tuple[AgentId, ...] = ()
    run: str = ""
    taken: bool = False
    skipped: int = 0
    sketches: Mapping[AgentId, tuple[Sketch, ...]] = field(default_factory=dict)
    sketch_s: float = 0.0
    bytes_by_codec: Mapping[str, int] = field(default_factory=dict)
    apart: frozenset[AgentId] = frozenset()
    missed: str = ""
    left_behind: bool = False
    weighs: tuple[float, ...] = ()
    carried: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> list[Member]:
        """The others that we can reach."""
        return [member for member in self.others if member.agent not in self.apart]


def view_of(core: GossipCore, now: float) -> View:
    """What the core knows now; the training thread must not touch the core itself."""
    members, handshake = core.members, core.handshake
    return View(
        members.me,
        tuple(members.present()),
        tuple(members.gone()),
        handshake.welcomed,
        members.all_finished(),
        handshake.observed(now, core.sketches.watchers),
        core.exchanges.idle,
        core.draining,
        core.finish.waited_s(now),
        core.finish.over,
        core.finish.still_s(now),
        core.finish.equal,
        handshake.ours.run,
        core.takers.taken,
        core.skipped,
        core.sketches.by_agent,
        core.sketches.period_s,
        dict(core.counts.host.bytes_by_codec),
        members.apart,
        core.finish.missed,
        core.finish.left_behind,
        (weighs := core.finish.weighs),
        core.ownership.carried(weighs) if weighs else {},
    )
