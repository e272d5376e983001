"""Whose a name is, where a second agent claims one that a living agent has. Sans-IO.

The one that has it is probed. If it answers, the second is refused; if it doesn't, it is over, and the second is a
later start of it. Meanwhile Hello is not answered, and so comes again: nothing of the first ends by what the second
claims.
"""

from agents.protocol.events import Effect, Notice, Send
from agents.protocol.handshake import Handshake
from agents.protocol.incarnation import Incarnation
from agents.protocol.membership import Membership
from agents.protocol.probing import Probing
from transport.messages import AgentId, ConnectionId, Hello, Refuse

ANSWER_PERIODS = 2
"""In periods of probing: how long an agent whose name another claims has to answer."""

MAX_CLAIMS = 64
"""Claims that we look into at the same time."""


class Names:
    """members, handshake: who has which name, and on which connection. period_s: of probing."""

    def __init__(self, members: Membership, handshake: Handshake, probing: Probing, period_s: float) -> None:
        self._members, self._handshake, self._probing, self._period_s = members, handshake, probing, period_s
        self._claimed_s: dict[AgentId, float] = {}

    def claim(self, connection: ConnectionId, hello: Hello, now: float) -> list[Effect] | None:
        """What follows from this Hello in place of a welcome; None if no other living agent has the name."""
        name, known = hello.agent, self._members.get(hello.agent)
        number = known.incarnation if known is not None else hello.incarnation
        connected = self._handshake.route(Incarnation(name, number))
        if number == hello.incarnation or connected is None or not self._members.is_met(name):
            self._claimed_s.pop(name, None)
            return None
        claimed_s = self._claimed_s.get(name)
        if claimed_s is None:
            if len(self._claimed_s) >= MAX_CLAIMS:
                self._claimed_s.clear()
            self._claimed_s[name] = now
            return self._probing.probe(name, now)
        if self._members.contact_age_s(name, now) < now - claimed_s:
            del self._claimed_s[name]
            refuse = Refuse("name", "one that no other agent has", name)
            return [Send(connection, refuse), _refused(name, connection)]
        if now - claimed_s < ANSWER_PERIODS * self._period_s:
            return []
        del self._claimed_s[name]
        return None


def _refused(name: AgentId, connection: ConnectionId) -> Notice:
    return Notice(f"refused another agent that calls itself {name} ({connection})", "refused", connection, name)
