"""One start of an agent: a restarted agent is a later incarnation, with whom nothing of the earlier one is open."""

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
