"""One start of an agent: a restarted agent is a later incarnation, with whom nothing of the earlier one is open."""

from collections.abc import Iterable
from typing import NamedTuple

from transport.messages import AgentId, Member


class Incarnation(NamedTuple):
    """One start of an agent. agent: its name, "" for an observer. number: grows with each start.

    key: its public key, which its connection has proved to have; "" where agents have none.
    """

    agent: AgentId
    number: int
    key: str = ""

    @classmethod
    def of(cls, member: Member) -> "Incarnation":
        """The one that a record is about."""
        return cls(member.agent, member.incarnation, member.identity.key)


NOBODY = Incarnation(AgentId(""), 0)
"""Who has not introduced itself."""


def is_of_another_start(peer: Incarnation, members: Iterable[Member]) -> bool:
    """Whether records that came on a peer's connection hold one of itself in another start, which is there now.

    An agent passes on no other record under its own name. So our connection leads to a later start than the one that
    had welcomed us, whose welcome came late perhaps; without asking anew, what the later one sends would count as
    messages of the earlier one.
    """
    return bool(peer.agent) and any(
        member.agent == peer.agent and member.incarnation != peer.number for member in members
    )
