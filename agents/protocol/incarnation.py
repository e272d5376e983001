"""One start of an agent: a restarted agent is a later incarnation, with whom nothing of the earlier one is open."""

from typing import NamedTuple

from transport.messages import AgentId


class Incarnation(NamedTuple):
    """One start of an agent. agent: its name, "" for an observer. number: grows with each start."""

    agent: AgentId
    number: int


NOBODY = Incarnation(AgentId(""), 0)
"""Who has not introduced itself."""
