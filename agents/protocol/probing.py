"""Who is still there: one member asked after the other, through others where it doesn't answer itself. Sans-IO.

The failure detector of SWIM (Das, Gupta and Motivala, DSN 2002) with the local health of Lifeguard (Dadgar, Phillips
and Currey, arXiv 1707.00788): each period one member is probed, in an order that is shuffled anew in each pass. Who
doesn't answer in time is probed by some others for us; who answers none of them is suspected. An agent whose own probes
fail, or that is itself suspected, is probably slow itself: it gives others more time. Every message carries records.
"""

import math
import random
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agents.protocol.events import Effect, Send
from agents.protocol.membership import MAX_SUSPECTS, Membership
from transport.messages import AgentId, Alive, ConnectionId, Gossip, Member, Message, Probe, Suspect

HELPERS = 3
"""So many others probe for us who doesn't answer."""

AT_ONCE, FEW = 2, 32
"""Members probed in a period, where there are few: with one, nobody may ask for a certain one for some periods."""

FAN_OUT = 6
"""So many others are sent a new suspicion, or its refutation, at once."""

DIRECT, IN_ALL = 0.6, 1.6
"""In periods: how long we wait before others are asked, and before a probe has failed."""

MAX_HEALTH = 8
"""The most by which an agent that is slow itself multiplies its waiting, less one."""

MAX_MEETING = 16
"""Members we know from others and try to reach at the same time."""

MEETING = 6
"""In periods: how long we try to reach a member that we know from others only."""

MANY = 256
"""Where there are more members, one of each two opens the connection between them: none opens one to everybody."""

IMPATIENCE = 0.05
"""How likely the other of the two opens it all the same, when it is to meet somebody: the first may not be able to."""

MAX_RELAYED, OF_ONE = 64, 16
"""Probes that we carry out for others at the same time, in all and for one."""


@dataclass
class Pending:
    """A probe of ours. asked: whether others were asked to probe for us. sent: whether a connection was there."""

    number: int
    began_s: float
    asked: bool = False
    sent: bool = False


@dataclass
class Relayed:
    """A probe that we carry out for another agent: whom its answer goes to, under which number."""

    connection: ConnectionId
    number: int
    since_s: float


class Probing:
    """members: whom we know. period_s: between two probes. route: finds a ready connection to a member.

    dial: opens one. records: what a message on a connection carries.
    """

    def __init__(
        self,
        members: Membership,
        period_s: float,
        route: Callable[[AgentId], ConnectionId | None],
        dial: Callable[[AgentId, float], list[Effect]],
        records: Callable[[ConnectionId, float], tuple[Member, ...]],
        choose: random.Random,
    ) -> None:
        self._members, self._period_s = members, period_s
        self._route, self._dial, self._records, self._random = route, dial, records, choose
        self._pending: dict[AgentId, Pending] = {}
        self._meeting: dict[AgentId, float] = {}
        self._relayed: dict[int, Relayed] = {}
        self._turn: list[AgentId] = []
        self._number = 0
        self._next_s = 0.0
        self.health = 0
        """How much slower than it should be this agent is, 0 to MAX_HEALTH: its timeouts are (1 + health) as long."""

    @property
    def _slack(self) -> float:
        return self._period_s * (1 + self.health)

    def tick(self, now: float) -> list[Effect]:
        """Meet whom we know from others; probe the next one; see to those that did not answer."""
        effects = self._meet(now)
        for agent, pending in list(self._pending.items()):
            effects += self._look_after(agent, pending, now)
        if now >= self._next_s:
            self._next_s = now + self._period_s
            self._relayed = {
                number: relayed
                for number, relayed in self._relayed.items()
                if now - relayed.since_s < IN_ALL * MAX_HEALTH * self._period_s
            }
            self._members.publish()
            for agent in self._chosen():
                if not self._members.is_alive(agent) and self._members.contact_age_s(agent, now) < math.inf:
                    effects += self._dial(agent, now)  # What it had opened to us may be gone with an earlier start.
                effects += self.probe(agent, now)
        return effects

    def next_number(self) -> int:
        """A number that no probe of ours had before."""
        self._number += 1
        return self._number

    def probe(self, agent: AgentId, now: float) -> list[Effect]:
        """Ask this agent whether it is there, unless we do already."""
        if agent in self._pending:
            return []
        self._pending[agent] = Pending(self.next_number(), now)
        return self._send(agent, self._pending[agent], now)

    def on_message(self, sender: AgentId, connection: ConnectionId, message: Probe | Alive, now: float) -> list[Effect]:
        """A question or an answer from this agent."""
        if isinstance(message, Probe):
            return self._on_probe(connection, message, now)
        return self._on_alive(sender, message, now)

    def _on_probe(self, connection: ConnectionId, probe: Probe, now: float) -> list[Effect]:
        """We are there; or another is to be probed for the sender."""
        if probe.agent == self._members.me.agent:
            return [self._message(connection, Alive(probe.number, probe.agent), now)]
        other = self._route(probe.agent)
        theirs = sum(relayed.connection == connection for relayed in self._relayed.values())
        if other is None or len(self._relayed) >= MAX_RELAYED or theirs >= OF_ONE:
            return []
        number = self.next_number()
        self._relayed[number] = Relayed(connection, probe.number, now)
        return [self._message(other, Probe(number, probe.agent), now)]

    def _on_alive(self, sender: AgentId, alive: Alive, now: float) -> list[Effect]:
        """An answer to a probe of ours: from the agent itself, or from one that probed it for us."""
        relayed = self._relayed.pop(alive.number, None)
        if relayed is not None:
            return (
                [self._message(relayed.connection, Alive(relayed.number, sender), now)] if sender == alive.agent else []
            )
        pending = self._pending.get(alive.agent)
        if pending is None or pending.number != alive.number or (sender != alive.agent and not pending.asked):
            return []
        if sender != alive.agent:
            self._members.vouched(alive.agent, now)
        self.answered(alive.agent)
        return []

    def answered(self, agent: AgentId) -> None:
        """Something came from this agent: no probe of it need go on."""
        self._meeting.pop(agent, None)
        if self._pending.pop(agent, None) is not None:
            self.health = max(0, self.health - 1)

    def on_suspects(self, sender: AgentId, suspects: Iterable[Suspect], now: float) -> list[Effect]:
        """Another agent suspects these, or counts them as gone: ask them ourselves. If it is us, refute it at once."""
        effects: list[Effect] = []
        me = self._members.me
        for suspect in [each for each in suspects if each.agent == me.agent or self._members.is_alive(each.agent)][
            :MAX_SUSPECTS
        ]:
            if suspect.agent == me.agent:
                if suspect.incarnation == me.incarnation:
                    self.health = min(MAX_HEALTH, self.health + 1)
                    self._members.publish()
                    effects += self._spread(now, first=sender)
                continue
            known = self._members.get(suspect.agent)
            is_it = known is not None and known.incarnation == suspect.incarnation
            if is_it and self._members.suspect(suspect.agent, now, by=sender):
                effects += self.probe(suspect.agent, now)
        return effects

    def _look_after(self, agent: AgentId, pending: Pending, now: float) -> list[Effect]:
        """Send a probe that could not be sent; ask others for help; give up."""
        waited_s = now - pending.began_s
        if waited_s >= IN_ALL * self._slack:
            del self._pending[agent]
            alive = self._members.is_alive(agent)
            if alive:
                self.health = min(MAX_HEALTH, self.health + 1)
            return self._spread(now) if alive and self._members.suspect(agent, now) else []
        effects: list[Effect] = []
        if not pending.sent:
            effects += self._send(agent, pending, now)
        if waited_s >= DIRECT * self._slack and not pending.asked and self._members.is_alive(agent):
            pending.asked = True
            others = [member.agent for member in self._members.met() if member.agent != agent]
            for helper in self._random.sample(others, min(HELPERS, len(others))):
                connection = self._route(helper)
                if connection is not None:
                    effects.append(self._message(connection, Probe(pending.number, agent), now))
        return effects

    def _send(self, agent: AgentId, pending: Pending, now: float) -> list[Effect]:
        connection = self._route(agent)
        if connection is None:
            return self._dial(agent, now)
        pending.sent = True
        return [self._message(connection, Probe(pending.number, agent), now)]

    def _chosen(self) -> list[AgentId]:
        """The next ones in turn, and one of those gone: it may be back."""
        chosen: list[AgentId] = []
        while len(chosen) < (AT_ONCE if self._members.count <= FEW else 1):
            while self._turn and not self._members.is_alive(self._turn[-1]):
                self._turn.pop()
            if not self._turn:
                self._turn = [member.agent for member in self._members.others() if member.agent not in chosen]
                self._random.shuffle(self._turn)
            if not self._turn:
                break
            chosen.append(self._turn.pop())
        silent = [member.agent for member in self._members.gone() if member.state != "left"]
        return chosen + self._random.sample(silent, min(1, len(silent)))

    def _meet(self, now: float) -> list[Effect]:
        """Reach those that we know from others only, a few at a time: before they answered they count for nothing."""
        effects: list[Effect] = []
        for agent, since_s in list(self._meeting.items()):
            if now - since_s >= MEETING * self._slack:
                del self._meeting[agent]
                effects += self.probe(agent, now)  # Through others, and suspected if that fails too.
        if len(self._meeting) >= MAX_MEETING:
            return effects
        unmet = [agent for agent in self._members.unmet() if agent not in self._meeting and agent not in self._pending]
        room, many = MAX_MEETING - len(self._meeting), self._members.count > MANY
        chosen = self._random.sample(unmet, min(len(unmet), 4 * room if many else room))
        for agent in [agent for agent in chosen if not many or self._opens(agent)][:room]:
            self._meeting[agent] = now
            effects += self._dial(agent, now)
        return effects

    def _opens(self, agent: AgentId) -> bool:
        """Whether it is for us, of the two, to open the connection: both come to the same, each for half of all."""
        first, second = sorted((self._members.me.agent, agent))
        ours = (zlib.crc32(f"{first}/{second}".encode()) & 1 == 0) == (first == self._members.me.agent)
        return ours or self._random.random() < IMPATIENCE

    def _spread(self, now: float, first: AgentId | None = None) -> list[Effect]:
        """Send what just changed to some others at once, to this one before all."""
        others = [member.agent for member in self._members.met() if member.agent != first]
        chosen = ([first] if first else []) + self._random.sample(others, min(FAN_OUT, len(others)))
        connections = [connection for agent in chosen if (connection := self._route(agent))]
        suspects = self._members.suspects()
        return [Send(each, Gossip(self._records(each, now), suspects=suspects)) for each in connections]

    def _message(self, connection: ConnectionId, message: Probe | Alive, now: float) -> Send:
        kind: type[Probe] | type[Alive] = type(message)
        records, suspects = self._records(connection, now), self._members.suspects()
        filled: Message = kind(message.number, message.agent, records, suspects)
        return Send(connection, filled)
