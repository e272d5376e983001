"""Who is behind which connection: Hello, Welcome, Refuse. Sans-IO.

On a connection that we opened we send Hello until it is welcomed or refused, less and less often. A connection that was
opened to us is ready once a Hello that fits ours came on it. An agent may be reached by several connections; any ready
one will do, so an agent behind NAT is reached by the connection that it opened itself.

ZeroMQ reconnects what the network has broken, unless bytes came that make no sense: then a socket receives nothing any
more, in one direction or for ever. So a connection on which nobody answers is opened anew, again and again, and one to
a member that is gone at once.
"""

import math
from collections.abc import Collection, Container, Iterable
from dataclasses import replace

from agents.manifest import Manifest
from agents.protocol.contact import RETRY_S, Contact
from agents.protocol.events import Dial, Effect, Fatal, HangUp, Notice, Send
from agents.protocol.incarnation import NOBODY, Incarnation
from agents.protocol.limits import MAX_DIALED, MAX_ROUTES
from agents.protocol.refusals import HINTS, mismatch
from transport.addresses import key_of
from transport.messages import Address, ConnectionId, Hello, Refuse, Welcome

RETRY_MAX_S = 2.0

REMIND_S = 5.0
"""Between two notices that an address given with --join has never answered."""

DIALED_S = 10.0
"""How long a connection we opened may be silent before we doubt that anybody is there."""


class Handshake:
    """Which agent is at the other end of each connection, and which connections to open.

    ours: the Hello that we send. join: the addresses through which we mean to meet the swarm.
    parameters: length of theta. credit: how many chunks we take unanswered. key: ours, "" where agents have none.
    dialed: how many connections we may open.
    """

    def __init__(
        self,
        ours: Hello,
        manifest: Manifest,
        parameters: int,
        join: Iterable[Address],
        credit: int,
        key: str = "",
        dialed: int = MAX_DIALED,
    ) -> None:
        self.ours = replace(ours, manifest=manifest.hash)
        self._manifest = manifest
        self._parameters = parameters
        self._join = {ConnectionId(address) for address in join}
        self._credit, self._key, self._dialed = credit, key, dialed
        self._contacts: dict[ConnectionId, Contact] = {}
        # Where to look for a peer's connections: all that it was last introduced on, and perhaps some that are gone.
        self._by_peer: dict[Incarnation, set[ConnectionId]] = {}
        self._introduced = 0
        self._due_s = 0.0  # When to look at all contacts again.
        self._full_s = 0.0  # Until when none that we opened makes room.
        self.welcomed = False

    def peer(self, connection: ConnectionId) -> Incarnation | None:
        """Whom we know on this connection, if a handshake succeeded on it."""
        contact = self._contacts.get(connection)
        return contact.peer if contact is not None and contact.ready else None

    def credit(self, connection: ConnectionId) -> int:
        """How many chunks the peer on this connection takes unanswered."""
        return self._contacts[connection].credit if connection in self._contacts else 1

    def reached(self, connection: ConnectionId) -> Address:
        """The address by which who opened this connection reached us, by its Hello; "" where we opened it."""
        return Address(self._contacts[connection].reached) if connection in self._contacts else Address("")

    def route(self, peer: Incarnation) -> ConnectionId | None:
        """A ready connection to this incarnation: one we opened, unless another was used much more recently."""
        found = ((connection, self._contacts.get(connection)) for connection in self._by_peer.get(peer, ()))
        connections = [
            (contact.received_s + DIALED_S * contact.dialed, connection)
            for connection, contact in found
            if contact is not None and contact.ready and contact.peer == peer
        ]
        return max(connections)[1] if connections else None

    def connections(self) -> list[ConnectionId]:
        """Every ready connection to an agent or an observer."""
        return [connection for connection, contact in self._contacts.items() if contact.ready]

    def opened(self) -> list[tuple[ConnectionId, Incarnation, float]]:
        """Every ready connection that we opened, with who is there, and when something last came on it."""
        found = self._contacts.items()
        return [(name, each.peer, each.received_s) for name, each in found if each.dialed and each.ready and each.peer]

    def observed(self, now: float, watchers: Container[ConnectionId] = (), lately_s: float = 3.0) -> bool:
        """Whether an observer sent anything lately. watchers: connections of those for whom nobody need stay."""
        return any(
            contact.ready and contact.peer is not None and not contact.peer.agent and connection not in watchers
            for connection, contact in self._contacts.items()
            if now - contact.received_s < lately_s
        )

    def received(self, connection: ConnectionId, now: float) -> None:
        """Something came in on this connection."""
        if connection in self._contacts:
            self._contacts[connection].received_s = now

    def dial(self, address: Address, now: float) -> list[Effect]:
        """Open a connection, if it isn't open already."""
        connection = ConnectionId(address)
        if not address or connection in self._contacts or (now < self._full_s and connection not in self._join):
            return []
        effects: list[Effect] = []
        dialed = self._silent_since(dialed=True) if len(self._contacts) >= self._dialed else []
        if len(dialed) >= self._dialed and connection not in self._join:
            received_s, silent = min(
                ((s, name) for s, name in dialed if name not in self._join), default=(now, ConnectionId(""))
            )
            if now - received_s < DIALED_S:
                self._full_s = received_s + DIALED_S
                return []
            del self._contacts[silent]
            effects.append(HangUp(silent))
        contact = Contact(True, hello_s=now, received_s=now, remind_s=now + REMIND_S / 5, dialed_s=now)
        self._contacts[connection], self._due_s = contact, 0.0
        return [*effects, Dial(address)]

    def tick(self, now: float) -> list[Effect]:
        """Send Hello where it is time to; forget old refusals; notify the operator of a --join that doesn't answer."""
        if now >= self._due_s:
            self._contacts = {n: c for n, c in self._contacts.items() if not (c.refused and now >= c.due_s)}
        missing = sorted(
            each for each in self._join if each not in self._contacts
        )  # A difference would go through all.
        effects = [effect for each in missing for effect in self.dial(Address(each), now)]
        if now < self._due_s:
            return effects
        for connection, contact in self._contacts.items():
            if contact.refused or now < contact.due_s:
                continue
            if now - contact.dialed_s >= DIALED_S:
                contact.dialed_s = now
                effects += [HangUp(connection), Dial(Address(connection))]
            contact.hello_s = now + contact.retry_s
            contact.retry_s = min(RETRY_MAX_S, 1.5 * contact.retry_s)
            effects.append(Send(connection, replace(self.ours, address=Address(connection), credit=self._credit)))
            if connection in self._join and now >= contact.remind_s:
                contact.remind_s = now + REMIND_S
                effects.append(
                    Notice(f"no answer from {connection} yet; still trying. Is an agent listening there?", "unanswered")
                )
        self._due_s = min((contact.due_s for contact in self._contacts.values()), default=math.inf)
        return effects

    def on_hello(self, connection: ConnectionId, hello: Hello, now: float) -> list[Effect]:
        """Welcome who fits, refuse who doesn't. Hello counts only on a connection that was opened to us."""
        known = self._contacts.get(connection)
        if known is not None and known.dialed:
            return []
        refuse = mismatch(self.ours, self._manifest, self._key, connection, hello)
        if refuse is not None:
            who = f"refused {hello.agent or 'an observer'} ({connection})"
            differs = f"its {refuse.name} is {refuse.got}, ours {refuse.expected}"
            shared = "a setting that all agents share differs; it reports which"
            text = f"{who}: {shared if refuse.name == 'manifest' else differs}"
            return [Send(connection, refuse), Notice(text, "refused", connection, hello.agent)]
        if known is not None and known.peer is not None and known.peer.agent not in ("", hello.agent):
            return [Send(connection, Refuse("name", known.peer.agent, hello.agent))]  # One connection, one agent.
        if (hello.agent, hello.incarnation) == (self.ours.agent, self.ours.incarnation):
            return [Send(connection, self._welcome())]  # We dialed ourselves, or somebody claims to be us: no peer.
        self._take_run(hello.run)
        routes = self._silent_since(dialed=False) if len(self._contacts) >= MAX_ROUTES else []
        if len(routes) >= MAX_ROUTES and connection not in self._contacts:
            del self._contacts[min(routes)[1]]
        peer = Incarnation(hello.agent, hello.incarnation, key_of(connection))
        self.welcomed = self.welcomed or bool(hello.agent)  # It found us: who we meant to join through may be gone.
        credit = max(1, hello.credit)
        self._contacts[connection] = Contact(False, peer, True, credit=credit, received_s=now, reached=hello.address)
        self._introduce(peer, connection)
        return [Send(connection, self._welcome())]

    def on_welcome(self, connection: ConnectionId, welcome: Welcome, now: float) -> list[Effect]:
        """The connection we opened is ready, and we know who is there."""
        contact = self._contacts.get(connection)
        if contact is None or not contact.dialed or contact.refused:
            return []
        peer = Incarnation(welcome.agent, welcome.incarnation, key_of(connection))
        if peer == (self.ours.agent, self.ours.incarnation, self._key):
            self._join.discard(connection)
            return self.refuse(connection)
        refuse = mismatch(self.ours, self._manifest, self._key, connection, welcome)
        if refuse is not None:  # Two runs may both take one that had none at its Hello; it takes one of them.
            return self._refused(connection, contact, refuse, ours=refuse.expected, theirs=refuse.got)
        self._take_run(welcome.run)
        self.welcomed = True
        contact.peer = peer
        contact.ready, contact.received_s, contact.retry_s = True, now, RETRY_S
        contact.remind_s = math.inf  # It has answered: if it goes later, the notice is about the member.
        contact.credit = max(1, welcome.credit)
        self._introduce(contact.peer, connection)
        return []

    def on_refuse(self, connection: ConnectionId, refuse: Refuse) -> list[Effect]:
        """We don't fit. Before anybody has welcomed us that ends us; later it is a peer we can't mix with."""
        contact = self._contacts.get(connection)
        if contact is None or not contact.dialed or contact.refused:
            return []
        return self._refused(connection, contact, refuse, ours=refuse.got, theirs=refuse.expected)

    def asks(self, connection: ConnectionId) -> bool:
        """Whether we opened this connection and don't know yet who is there."""
        found = self._contacts.get(connection)
        return found is not None and found.dialed and not found.ready and not found.refused

    def refuse(self, connection: ConnectionId) -> list[Effect]:
        """Close a connection that we opened, for a while: it leads to ourselves or to an impostor."""
        self._contacts[connection].refused, self._due_s = True, 0.0
        return [HangUp(connection)]

    def on_stranger(self, connection: ConnectionId, now: float) -> list[Effect]:
        """The peer lost track of us, or is a new incarnation at the same address: start the handshake again."""
        contact = self._contacts.get(connection)
        if contact is None or not contact.dialed or contact.refused:
            return []
        contact.ready, contact.peer, contact.hello_s, self._due_s = False, None, now, 0.0
        return self.tick(now)

    def lost(self, peer: Incarnation, now: float) -> None:
        """A member is gone: no connection to it works. Those that we opened are opened anew, at the next tick.

        Those that it opened are forgotten: if it is alive, it sends Hello on them again, or misses us as we miss it.
        """
        self._due_s = 0.0
        for connection, contact in list(self._contacts.items()):
            if contact.ready and contact.peer == peer:
                if contact.dialed:
                    contact.ready, contact.peer, contact.hello_s, contact.dialed_s = False, None, now, now - DIALED_S
                else:
                    del self._contacts[connection]

    def forget(self, peer: Incarnation) -> None:
        """An incarnation is over: nothing counts as its own any longer; whom we dialed is asked who it is."""
        self._due_s = 0.0
        for connection, contact in list(self._contacts.items()):
            if contact.peer != peer:
                continue
            if contact.dialed:
                contact.ready, contact.peer, contact.hello_s, contact.retry_s = False, None, 0.0, RETRY_S
            else:
                del self._contacts[connection]

    def expel(self, keys: Collection[str]) -> tuple[list[Incarnation], list[Effect]]:
        """Close every connection to who has one of these keys: who that was."""
        contacts = [(each, contact) for each, contact in self._contacts.items() if key_of(each) in keys]
        for connection, _ in contacts:
            del self._contacts[connection]
        self._full_s = 0.0
        peers = [contact.peer for _, contact in contacts if contact.peer]
        return peers, [HangUp(connection) for connection, contact in contacts if contact.dialed]

    def identify(self, connection: ConnectionId) -> Incarnation:
        """Whom we know on this connection, or NOBODY."""
        return self.peer(connection) or NOBODY

    def _introduce(self, peer: Incarnation, connection: ConnectionId) -> None:
        """Remember where to look for a peer. What leads nowhere any longer is left out when there is too much of it."""
        self._by_peer.setdefault(peer, set()).add(connection)
        self._introduced += 1
        if self._introduced > 2 * len(self._contacts) + MAX_DIALED:
            self._introduced = len(self._contacts)
            self._by_peer.clear()
            for each, contact in self._contacts.items():
                if contact.peer is not None:
                    self._by_peer.setdefault(contact.peer, set()).add(each)

    def _silent_since(self, dialed: bool) -> list[tuple[float, ConnectionId]]:
        """(since when nothing came, connection) of all that we opened, or of all that were opened to us."""
        return [(each.received_s, name) for name, each in self._contacts.items() if each.dialed == dialed]

    def _welcome(self) -> Welcome:
        ours = self.ours
        settings, suggestions = dict(self._manifest.settings), dict(self._manifest.suggestions)
        who = ours.version, ours.agent, ours.incarnation, ours.run, ours.manifest
        return Welcome(*who, settings, suggestions, self._parameters, self._credit, ours.codecs)

    def _refused(
        self, connection: ConnectionId, contact: Contact, refuse: Refuse, ours: str, theirs: str
    ) -> list[Effect]:
        contact.refused, contact.ready, self._due_s = True, False, 0.0
        differs = self._manifest.contradiction(refuse.settings) if refuse.settings else None
        what = str(differs) if differs else f"our {refuse.name} is {ours}, theirs {theirs}"
        text = f"{connection} can't be mixed with: {what}; {HINTS.get(refuse.name, HINTS['manifest'])}"
        fatal = connection in self._join and not self.welcomed
        return [HangUp(connection), Fatal(text) if fatal else Notice(text, "refused", connection)]

    def _take_run(self, run: str) -> None:
        if run and not self.ours.run:
            self.ours = replace(self.ours, run=run)
