"""Whose a name is, where a second agent claims one that a living agent has. Sans-IO.

The one that has it is probed. If it answers, the second is refused; if it doesn't, it is over, and the second is a
later start of it. Meanwhile Hello is not answered, and so comes again: nothing of the first ends by what the second
claims. Only the answer to this probe counts: of an agent that has ended, other messages may still be on their way.
Where agents have keys a name stays with its key until that agent has left, and a key has one name at a time.
"""

from dataclasses import dataclass

from agents.protocol.events import Effect, Notice, Send
from agents.protocol.handshake import Handshake
from agents.protocol.incarnation import Incarnation
from agents.protocol.membership import Membership
from agents.protocol.probing import Probing
from agents.protocol.signing import Screening
from transport.addresses import key_of
from transport.messages import AgentId, Alive, ConnectionId, Hello, Probe, Refuse, Welcome

ANSWER_PERIODS = 2
"""In periods of probing: how long an agent whose name another claims has to answer."""

MAX_CLAIMS = 64
"""Claims that we look into at the same time."""


@dataclass
class Claim:
    """A name that somebody claims. of: who has it; number: of its probe; since_s: when that was first sent."""

    of: Incarnation
    number: int
    since_s: float
    answered: bool = False


class Names:
    """members, handshake: who has which name, and on which connection. period_s: of probing."""

    def __init__(
        self, members: Membership, handshake: Handshake, probing: Probing, period_s: float, screening: Screening
    ) -> None:
        self._members, self._handshake, self._probing, self._period_s = members, handshake, probing, period_s
        self._screening = screening
        self._claims: dict[tuple[AgentId, ConnectionId], Claim] = {}

    def claim(self, connection: ConnectionId, hello: Hello | Welcome, now: float) -> list[Effect] | None:
        """What follows from it in place of a welcome, ours or its own; None if no other living agent has the name."""
        key = key_of(connection)
        if self._screening.is_impostor(Incarnation(hello.agent, hello.incarnation, key)):
            return _refused(connection, hello.agent)
        other = self._screening.other_name(key, hello.agent)
        if other == self._members.me.agent:
            return _shares_key(connection, hello.agent, other)
        name = other or hello.agent
        known = self._members.get(name)
        first = Incarnation.of(known) if known is not None else Incarnation(name, hello.incarnation, key)
        connected = self._handshake.route(first)
        same = other is None and first.number == hello.incarnation
        which = name, connection  # Each claim has a probe of its own: who answered an earlier one may be over by now.
        if same or connected is None or not self._members.is_met(name):
            self._claims.pop(which, None)
            return None
        wait_s = ANSWER_PERIODS * self._period_s
        claim = self._claims.get(which)
        if claim is None or claim.of != first or now - claim.since_s >= 2 * wait_s:
            if len(self._claims) >= MAX_CLAIMS:
                self._claims.clear()
            claim = self._claims[which] = Claim(first, self._probing.next_number(), now)
        if claim.answered:
            del self._claims[which]
            return _shares_key(connection, hello.agent, other) if other else _refused(connection, name)
        if now - claim.since_s < wait_s:
            return [Send(connected, Probe(claim.number, name))]
        del self._claims[which]
        return None

    def on_alive(self, peer: Incarnation, alive: Alive) -> None:
        """An answer to a probe came from this incarnation itself."""
        for claim in self._claims.values():
            if claim.of == peer and claim.number == alive.number:
                claim.answered = True


def _refused(connection: ConnectionId, name: AgentId) -> list[Effect]:
    refuse = Refuse("name", "one that no other agent has", name)
    text = f"refused another agent that calls itself {name} ({connection})"
    return [Send(connection, refuse), Notice(text, "refused", connection, name)]


def _shares_key(connection: ConnectionId, name: AgentId, other: AgentId) -> list[Effect]:
    refuse = Refuse("key", "one that no other agent has", f"that of {other}")
    return [Send(connection, refuse), Notice(f"refused {name}: it has the key of {other}", "refused", connection, name)]
