"""What an agent knows of one other member: its freshest record, contact with it, and whether it is suspected."""

import math
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter

from transport.messages import AgentId, Member, Report

CONFIRMATIONS = 3
"""After the suspicions of so many other agents, one of ours lasts the shortest time."""

NUMBERS_BYTES = 280
"""The most that the numbers of a record take, and the lengths of its texts."""

_texts = attrgetter(*(item.name for item in fields(Report) if item.type is str))

SHORTEST = 1 / 3
"""The shortest time that a suspicion lasts, as a share of the longest."""


@dataclass
class Suspicion:
    """since_s: when it began. by: the other agents that suspect it too. failed: whether a probe of ours failed."""

    since_s: float
    by: set[AgentId] = field(default_factory=set)
    failed: bool = False

    def confirm(self, by: AgentId) -> None:
        """Another agent suspects it as well."""
        if len(self.by) < CONFIRMATIONS:
            self.by.add(by)

    def lasts_s(self, longest_s: float, others: int) -> float:
        """How long it lasts where so many others could share it: shorter by each that does (Lifeguard, IV.B)."""
        needed = min(CONFIRMATIONS, others)
        if needed <= 0:
            return longest_s
        share = math.log(min(len(self.by), needed) + 1) / math.log(needed + 1)
        return longest_s * (1 - share * (1 - SHORTEST))


@dataclass
class Known:
    """The freshest record of a member, and what is known of whether it is alive.

    alive_s: when it was certainly alive: its record was published, or something came from it. contact_s: when something
    last came from the agent itself, -inf for never: it isn't met then. direct: the heartbeat that it last sent itself.
    gone_s: when it last became gone. spread: in how many messages the record still precedes others.
    vouched: whether another ever got an answer from it for us.
    """

    member: Member
    alive_s: float
    alive: bool
    contact_s: float = -math.inf
    direct: int = -1
    gone_s: float = -math.inf
    suspicion: Suspicion | None = None
    spread: int = 0
    vouched: bool = False

    @property
    def met(self) -> bool:
        """Whether it ever sent something to us in this incarnation."""
        return self.contact_s > -math.inf

    @property
    def bytes(self) -> int:
        """At most what the record takes in a message."""
        return bytes_of(self.member)


def bytes_of(member: Member) -> int:
    """At most what a record takes in a message: its numbers, and its texts."""
    who, report = member.identity, member.report
    proofs = who.key + who.hidden + who.vouch + member.signature
    return NUMBERS_BYTES + _bytes("".join((who.agent, who.address, member.state, *_texts(report)))) + len(proofs)


@lru_cache(maxsize=8192)
def _bytes(text: str) -> int:
    return len(text.encode())
