"""The gossip core: who exchanges with whom, and when. Sans-IO: `step(event, now) -> effects`.

It reads no clock, opens no socket, starts no thread and never sees a vector. `driver` carries out what it wants: over
ZeroMQ in real time for live agents, over a network without I/O under a virtual clock for the simulator and for tests.

    Due          choose a neighbor in the topology laid over the living members, sorted by name, and offer
    Offer        apply and answer at once                   (session.IncomingSession: never twice)
    Answer       apply, offer on                            (session.OutgoingSession: never twice)
    Tick         send Hello, spread records, offer again what stays unanswered, release training where that is too long
    Adopt, Pull  a whole vector, for late joiners and for the consensus
    Drain        begin nothing more, decline what is new, complete what is open

Nothing that a peer sends raises. What makes no sense here is declined or ignored.
"""

import random
from dataclasses import replace
from typing import Any

from agents.protocol.adoption import Adoption
from agents.protocol.events import (
    Adopt,
    Drain,
    Due,
    Effect,
    Event,
    Notice,
    OfferApplied,
    Received,
    RoundOver,
    Send,
    StopAdopting,
    Tick,
    Unusable,
)
from agents.protocol.exchanges import DRAINING, NO_VECTOR, Exchanges
from agents.protocol.handshake import Handshake
from agents.protocol.incarnation import Incarnation
from agents.protocol.membership import Membership
from agents.protocol.pull import Pulls
from agents.protocol.session import WINDOW
from agents.protocol.settings import CoreSettings, ExchangeSettings
from topology import overlay, select
from transport.addresses import is_address, is_loopback
from transport.messages import (
    VERSION,
    Ack,
    Address,
    AgentId,
    Answer,
    ConnectionId,
    Decline,
    Gossip,
    Hello,
    Member,
    Message,
    Offer,
    Piece,
    Pull,
    Refuse,
    Stranger,
    Unknown,
    Welcome,
)


class GossipCore:
    """The protocol of one agent, without I/O. me: its record, whose weight is that of each of its exchanges."""

    def __init__(self, settings: CoreSettings, me: Member) -> None:
        self.settings = settings
        ours = Hello(VERSION, me.agent, me.incarnation, settings.run)
        join = tuple(map(Address, settings.join))
        self.members = Membership(me, silent_s=settings.silent_s, sweep_s=settings.tick_s)
        self.handshake = Handshake(ours, settings.manifest, settings.parameters, join, WINDOW)
        self.exchanges = Exchanges(
            me.agent,
            ExchangeSettings(
                settings.alpha,
                me.report.weight,
                settings.chunks,
                settings.codec,
                settings.first_s,
                settings.floor_s,
            ),
        )
        self._pulls = Pulls(me.agent, settings.chunks, settings.parameters)
        self._random = random.Random(f"{settings.seed}/{me.agent}")
        self._ping_s = 0.0
        self._adoption = Adoption(self.members, self._pulls, self._route, self._random)
        self.draining = False
        self._admit()

    def step(self, event: Event, now: float) -> list[Effect]:
        """What follows from this event. now: seconds on any clock that only goes forward."""
        match event:
            case Received(connection, message):
                self.handshake.received(connection, now)
                return self._receive(connection, message, now)
            case Tick():
                return self._tick(now)
            case Due(round):
                return self._begin(round, now)
            case OfferApplied(connection):
                return self.exchanges.on_applied(self.handshake.identify(connection), event)
            case Unusable(connection):
                return self.exchanges.on_unusable(self.handshake.identify(connection), event)
            case Adopt(instead_of):
                return self._adoption.begin(now, instead_of)
            case StopAdopting():
                return self._adoption.stop()
            case Drain():
                self.draining = True
                return self._admit()

    def publish(self, **changes: Any) -> None:
        """Change our record, by the names of its fields; others receive it with the next gossip or exchange."""
        self.members.publish(**changes)
        self.exchanges.step = self.members.me.report.step
        self._admit()

    def announce(self, now: float, **changes: Any) -> list[Effect]:
        """Change our record, and send it at once to everyone we can reach."""
        self.publish(**changes)
        return [Send(connection, self._gossip(connection, now)) for connection in self.handshake.connections()]

    def _admit(self) -> list[Effect]:
        """While we hold no vector of the swarm, or drain, nothing is exchanged with us either way."""
        joining = self.members.me.state == "joining"
        self.exchanges.refusal = NO_VECTOR if joining else DRAINING if self.draining else ""
        return []

    # What comes in.

    def _receive(self, connection: ConnectionId, message: Message, now: float) -> list[Effect]:
        match message:
            case Hello():
                effects = self.handshake.on_hello(connection, message, now)
                return effects + self._introduced(connection, message)
            case Welcome():
                effects = self.handshake.on_welcome(connection, message, now) + self._introduced(connection, message)
                if self.handshake.peer(connection) is None:
                    return effects
                return [*effects, Send(connection, self._gossip(connection, now, reply=True))]
            case Refuse():
                return self.handshake.on_refuse(connection, message)
            case Stranger():
                return self.handshake.on_stranger(connection, now)
            case Unknown():
                return []
        peer = self.handshake.peer(connection)
        if peer is None:
            return [Send(connection, Stranger())]
        match message:
            case Gossip(members, reply):
                effects = self._learn(members if peer.agent else (), now)
                return [*effects, Send(connection, self._gossip(connection, now))] if reply else effects
            case Pull():
                return self._on_pull(connection, message, now)
            case Piece():
                return self._pulls.on_piece(peer.agent, connection, message, now)
        if not peer.agent:
            return []  # An observer has nothing to mix.
        match message:
            case Offer():
                return self._on_offer(peer, connection, message, now)
            case Answer():
                return self.exchanges.on_answer(peer, connection, message, now)
            case Decline():
                return self.exchanges.on_decline(peer, connection, message)
            case Ack():
                self.exchanges.on_ack(peer, message)
        return []

    def _on_offer(self, peer: Incarnation, connection: ConnectionId, offer: Offer, now: float) -> list[Effect]:
        """An agent that holds no vector of the swarm yet has nothing to offer."""
        member = self.members.get(peer.agent)
        joining = member is not None and member.incarnation == peer.number and member.state == "joining"
        return self.exchanges.on_offer(peer, connection, offer, now, NO_VECTOR if joining else "")

    def _on_pull(self, connection: ConnectionId, pull: Pull, now: float) -> list[Effect]:
        """Serve our vector, or pass the request on. Before we have adopted one there is none of ours to serve."""
        ours = pull.agent in ("", self.members.me.agent)
        if ours and self.members.me.state == "joining":
            return [Send(connection, Piece(pull.request, 0, -1))]
        return self._pulls.on_pull(connection, pull, self._route(pull.agent), now)

    def _learn(self, members: tuple[Member, ...], now: float) -> list[Effect]:
        """Take in records of members, and what follows: connections to new neighbors, incarnations that are over."""
        effects: list[Effect] = []
        before = {member.agent: self.members.get(member.agent) for member in members}
        came, left = self.members.receive(members, now)
        for agent in came:
            old = before[agent]
            effects.append(Notice(f"{agent} is {'here' if old is None else 'back'}"))
            self.exchanges.resume(agent)
        for agent in left:
            effects.append(Notice(f"{agent} has left"))
        for agent, old in before.items():
            new = self.members.get(agent)
            if old and new and new is not old and (new.incarnation != old.incarnation or new.state == "left"):
                effects += self._over(Incarnation(agent, old.incarnation))
        for agent in set(came).intersection(self.neighbors(0)) if came else ():
            effects += self.handshake.dial(self._address(agent), now)
        return effects

    def _introduced(self, connection: ConnectionId, message: Hello | Welcome) -> list[Effect]:
        """If the handshake succeeded: learn our own address, and that an earlier incarnation of the agent is over."""
        if self.handshake.identify(connection) != (message.agent, message.incarnation):
            return []
        if isinstance(message, Hello):
            self._learn_address(message.address)
        known = self.members.get(message.agent)
        if known is None or known.incarnation >= message.incarnation:
            return []
        return self._over(Incarnation(known.agent, known.incarnation))

    def _learn_address(self, address: Address) -> None:
        """A peer reached us at this address: if we know none of ours that others can use, now we do."""
        if self.settings.listening and not self.members.me.address and is_address(address) and not is_loopback(address):
            self.members.publish(address=address)

    def _over(self, peer: Incarnation) -> list[Effect]:
        self.handshake.forget(peer)
        return self.exchanges.forget(peer)

    # What time brings.

    def _tick(self, now: float) -> list[Effect]:
        effects = self.handshake.tick(now)
        effects += self.exchanges.tick(self.handshake.route, now)
        self._pulls.tick(now)
        for agent in self.members.sweep(now):
            effects.append(Notice(f"{agent} is silent: it counts as gone until something fresh comes from it"))
            effects += self.exchanges.release(agent)
        if now >= self._ping_s:
            self._ping_s = now + self.settings.ping_s
            effects += self._spread(now)
        return effects + self._adoption.tick(now)

    def _spread(self, now: float) -> list[Effect]:
        """Send all records to two of the living, and to one of the silent in case it is back."""
        self.members.publish()
        alive = self.members.others()
        silent = [member for member in self.members.gone() if member.state != "left"]
        chosen = self._random.sample(alive, min(2, len(alive))) + self._random.sample(silent, min(1, len(silent)))
        effects: list[Effect] = []
        for member in chosen:
            connection = self._route(member.agent)
            if connection is None:
                effects += self.handshake.dial(member.address, now)
            else:
                effects.append(Send(connection, self._gossip(connection, now, reply=True)))
        return effects

    def _gossip(self, connection: ConnectionId, now: float, reply: bool = False) -> Gossip:
        """All records, for the peer on this connection: no loopback address is sent to another machine."""
        agent = self.handshake.identify(connection).agent
        members = self.members.records(now)
        if not is_loopback(connection if not connection.startswith("route:") else self._address(agent)):
            members = tuple(
                replace(m, identity=replace(m.identity, address=Address(""))) if is_loopback(m.address) else m
                for m in members
            )
        return Gossip(members, reply)

    # Exchanges.

    def neighbors(self, round: int) -> list[AgentId]:
        """Our neighbors in this round, among those that are alive and hold a vector."""
        agents = self.members.neighbors_among()
        graph = overlay(self.settings.topology, len(agents), self.settings.seed)
        return [agents[index] for index in graph.neighbors(agents.index(self.members.me.agent), round)]

    def _begin(self, round: int, now: float) -> list[Effect]:
        if self.exchanges.refusal:
            return [RoundOver(round, why=self.exchanges.refusal)]
        effects: list[Effect] = []
        busy = {peer.agent for peer in self.exchanges.open_peers | self.exchanges.answering(now)}
        connections: dict[AgentId, ConnectionId] = {}
        for agent in self.neighbors(round):
            connection = self._route(agent)
            if connection is None:
                effects += self.handshake.dial(self._address(agent), now)
            elif agent not in busy:
                connections[agent] = connection
        if not connections:
            return [*effects, RoundOver(round, why="no neighbor is free now")]
        chosen = select(self.settings.seed, self.members.me.agent, round, sorted(connections))
        connection = connections[AgentId(chosen)]
        peer, credit = self.handshake.identify(connection), self.handshake.credit(connection)
        return effects + self.exchanges.begin(peer, connection, round, credit, now)

    def _route(self, agent: AgentId) -> ConnectionId | None:
        member = self.members.get(agent)
        return self.handshake.route(Incarnation(agent, member.incarnation)) if member else None

    def _address(self, agent: AgentId) -> Address:
        member = self.members.get(agent)
        return member.address if member else Address("")
