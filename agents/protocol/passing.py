"""The records that a message to one peer carries: no loopback address leaves its machine, and all go out seldom."""

import math
from collections.abc import Callable
from dataclasses import replace

from agents.protocol.events import Effect, Send
from agents.protocol.handshake import DIALED_S, Handshake
from agents.protocol.incarnation import Incarnation
from agents.protocol.limits import MAX_ROUTES
from agents.protocol.membership import Membership
from agents.protocol.signing import Signing
from transport.addresses import digest, is_loopback
from transport.messages import Address, AgentId, ConnectionId, Gossip, Member

AT_ONCE = 64
"""Connections to which our record is sent as soon as it has changed.

Where all of a thousand agents finish at the same moment each would else send and read a thousand messages then.
"""

PER_S = 32.0
"""Further connections to which it is sent in a second, unless they have it from others before."""


class Passing:
    """members: what there is to pass on. handshake: who is behind a connection. address: where a member listens.

    period_s: all that we know goes to the same peer at most so often. signing: of our record, None without keys.
    """

    def __init__(
        self,
        members: Membership,
        handshake: Handshake,
        address: Callable[[AgentId], Address],
        period_s: float,
        signing: Signing | None = None,
    ) -> None:
        self._members, self._handshake, self._address, self._period_s = members, handshake, address, period_s
        self._signing = signing
        self._passed_s: dict[ConnectionId, float] = {}
        self._introduced_s = -math.inf
        self._waiting: list[ConnectionId] = []
        self._sent_s = -math.inf

    def all(self, connection: ConnectionId, now: float) -> list[Effect]:
        """All we know, in pages; to the same peer not more often than once a period, and little in between."""
        if now - self._passed_s.get(connection, -math.inf) < self._period_s:
            return [Send(connection, Gossip(self.some(connection, now)))]
        if len(self._passed_s) >= MAX_ROUTES:
            self._passed_s.clear()
        self._passed_s[connection] = now
        return [Send(connection, Gossip(self._fit(page, connection))) for page in self._members.pages(now)]

    def some(self, connection: ConnectionId, now: float) -> tuple[Member, ...]:
        """Our own record and a bounded number of others."""
        return self._fit(self._members.deltas(now), connection)

    def tick(self, now: float) -> list[Effect]:
        """Once a period, our record again to those that have welcomed us and whose own, of this start, never came.

        Nothing else is ever sent on such a connection: who isn't known isn't probed, and a probe of an agent goes to
        the start that we know of it. What comes back is its record, or that we are a stranger to a later start. Where
        nothing comes back for long, the handshake begins anew, and soon costs less than records do.
        """
        effects = self._to_waiting(now)
        if now - self._introduced_s < self._period_s:
            return effects
        self._introduced_s = now
        for connection, peer, received_s in self._handshake.opened():
            if self._is_known(peer):
                continue
            if now - received_s >= DIALED_S:
                effects += self._handshake.on_stranger(connection, now)
            else:
                effects.append(Send(connection, Gossip(self.some(connection, now), reply=True)))
        return effects

    def ours(self) -> list[Effect]:
        """Our own record, to every connection: AT_ONCE of them now, PER_S a second of the others; all now if we leave.

        Those that still wait for the record before come first.
        """
        there = dict.fromkeys(self._handshake.connections())
        connections = [*dict.fromkeys([*(each for each in self._waiting if each in there), *there])]
        many = len(connections) if self._members.me.state == "left" else AT_ONCE
        self._waiting = connections[many:]
        return self._ours(connections[:many])

    def at_once(self, members: tuple[Member, ...]) -> list[Effect]:
        """These records to every connection, as whoever needs them may have nobody but us to get them from."""
        return [Send(each, Gossip(self._fit(members, each))) for each in self._handshake.connections()]

    @property
    def busy(self) -> bool:
        """Whether some connections still wait for our record."""
        return bool(self._waiting)

    def _to_waiting(self, now: float) -> list[Effect]:
        """Our record to as many of those that wait for it as it is time for."""
        since_s = max(self._sent_s, now - 1.0) if self._waiting else now
        many = int((now - since_s) * PER_S + 1e-6)
        self._sent_s = since_s + many / PER_S
        chosen, self._waiting = self._waiting[:many], self._waiting[many:]
        return self._ours([each for each in chosen if self._handshake.peer(each) is not None])

    def _ours(self, connections: list[ConnectionId]) -> list[Effect]:
        mine = (self._members.me,)
        return [Send(each, Gossip(self._fit(mine, each))) for each in connections]

    def _is_known(self, peer: Incarnation) -> bool:
        """Whether we have its record, and it hasn't left; or one of another key, whose name it has no right to."""
        known = self._members.get(peer.agent)
        if known is None or known.state == "left":
            return False
        return known.identity.key != peer.key or known.incarnation == peer.number

    def _fit(self, members: tuple[Member, ...], connection: ConnectionId) -> tuple[Member, ...]:
        """These records for the peer on this connection: ours signed, no loopback address sent to another machine."""
        if self._signing is not None:
            run, me = self._handshake.ours.run, self._members.me
            members = tuple(self._signing.signed(member, run) if member is me else member for member in members)
        if is_loopback(self._leads_to(connection)):
            return members
        return tuple(_without_address(member) if is_loopback(member.address) else member for member in members)

    def _leads_to(self, connection: ConnectionId) -> Address:
        """An address of who is at the other end; of an observer, which has none, the one of ours that it used."""
        if not connection.startswith("route:"):
            return Address(connection)
        agent = self._handshake.identify(connection).agent
        return self._address(agent) if agent else self._handshake.reached(connection)


def _without_address(member: Member) -> Member:
    """With the digest of its address in its place, so that a signature holds."""
    hidden = digest(member.address) if member.signature else ""
    return replace(member, identity=replace(member.identity, address=Address(""), hidden=hidden))
