"""Who stands behind which door: Hello, Welcome, Refuse. Sans-IO.

A door we dialed says Hello until it is welcomed or refused, less and less often. A door that was opened to us
is ready once it said a Hello that fits ours. An agent may be behind several doors; any ready one will do, so an
agent behind NAT is reached by the connection it opened itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agents.protocol.events import Dial, Effect, Fatal, HangUp, Notice, Send
from transport.messages import Hello, Refuse, Welcome

RETRY_S = 0.02
RETRY_MAX_S = 2.0
NAG_S = 5.0
MAX_ROUTES = 4096
"""Connections opened to us that we remember; beyond it the one silent for longest is forgotten."""

MAX_DIALED = 512
"""Connections we open, a socket each; beyond it the one silent for longest gives way, if it is for DIALED_S."""

DIALED_S = 10.0
"""How long a door we dialed may be silent before we doubt that anybody is behind it."""


@dataclass
class Contact:
    """One door. agent None: not known yet; "": an observer. hello_s: when to say Hello next."""

    dialed: bool
    agent: str | None = None
    incarnation: int = 0
    ready: bool = False
    refused: bool = False
    credit: int = 1
    heard_s: float = 0.0
    hello_s: float = 0.0
    retry_s: float = RETRY_S
    nag_s: float = 0.0


class Greeting:
    """ours: what we say of ourselves. join: the addresses through which we mean to meet the swarm."""

    def __init__(self, ours: Hello, join: Iterable[str], credit: int) -> None:
        self.ours = ours
        self._join = set(join)
        self._credit = credit
        self._contacts: dict[str, Contact] = {}
        self.welcomed = False

    def contact(self, door: str) -> Contact | None:
        """Whom we know behind this door, if a greeting went well."""
        contact = self._contacts.get(door)
        return contact if contact is not None and contact.ready else None

    def ready(self, agent: str, incarnation: int) -> str | None:
        """A door to this life of the agent: one we dialed, unless it has been heard by another for long since."""
        doors = [
            (contact.heard_s + DIALED_S * contact.dialed, door)
            for door, contact in self._contacts.items()
            if contact.ready and contact.agent == agent and contact.incarnation == incarnation
        ]
        return max(doors)[1] if doors else None

    def doors(self) -> list[str]:
        """Every ready door to an agent or an observer."""
        return [door for door, contact in self._contacts.items() if contact.ready]

    def observed(self, now: float, lately_s: float = 3.0) -> bool:
        """Whether an observer was heard lately."""
        return any(
            contact.ready and contact.agent == "" and now - contact.heard_s < lately_s
            for contact in self._contacts.values()
        )

    def heard(self, door: str, now: float) -> None:
        """Something came in by this door."""
        if door in self._contacts:
            self._contacts[door].heard_s = now

    def dial(self, address: str, now: float) -> list[Effect]:
        """Open a door, if it isn't open already."""
        if not address or address in self._contacts:
            return []
        effects: list[Effect] = []
        dialed = [(contact.heard_s, door) for door, contact in self._contacts.items() if contact.dialed]
        if len(dialed) >= MAX_DIALED and address not in self._join:
            heard_s, silent = min(((s, door) for s, door in dialed if door not in self._join), default=(now, ""))
            if now - heard_s < DIALED_S:
                return []
            del self._contacts[silent]
            effects.append(HangUp(silent))
        self._contacts[address] = Contact(dialed=True, hello_s=now, heard_s=now, nag_s=now + NAG_S / 5)
        return [*effects, Dial(address)]

    def tick(self, now: float) -> list[Effect]:
        """Say Hello where it is time to; tell the operator of a --join that doesn't answer."""
        effects: list[Effect] = []
        for address in sorted(self._join - self._contacts.keys()):
            effects += self.dial(address, now)
        for door, contact in self._contacts.items():
            if not contact.dialed or contact.ready or contact.refused or now < contact.hello_s:
                continue
            contact.hello_s = now + contact.retry_s
            contact.retry_s = min(RETRY_MAX_S, 1.5 * contact.retry_s)
            effects.append(Send(door, replace(self.ours, door=door, credit=self._credit)))
            if door in self._join and now >= contact.nag_s:
                contact.nag_s = now + NAG_S
                effects.append(Notice(f"no answer from {door} yet; still trying. Is an agent listening there?"))
        return effects

    def on_hello(self, door: str, hello: Hello, now: float) -> list[Effect]:
        """Welcome who fits, refuse who doesn't. Only a door that was opened to us is greeted by."""
        known = self._contacts.get(door)
        if known is not None and known.dialed:
            return []
        refuse = self._mismatch(hello)
        if refuse is not None:
            who = f"{hello.agent or 'an observer'} ({door})"
            text = f"refused {who}: its {refuse.name} is {refuse.got}, ours {refuse.expected}"
            return [Send(door, refuse), Notice(text)]
        self._adopt_run(hello.run)
        routes = [(contact.heard_s, name) for name, contact in self._contacts.items() if not contact.dialed]
        if len(routes) >= MAX_ROUTES and door not in self._contacts:
            del self._contacts[min(routes)[1]]
        self._contacts[door] = Contact(
            False, hello.agent, hello.incarnation, ready=True, credit=max(1, hello.credit), heard_s=now
        )
        o = self.ours
        return [Send(door, Welcome(o.version, o.run, o.agent, o.incarnation, o.parameters, o.model, self._credit))]

    def on_welcome(self, door: str, welcome: Welcome, now: float) -> list[Effect]:
        """The door we dialed is ready, and we know who is behind it."""
        contact = self._contacts.get(door)
        if contact is None or not contact.dialed or contact.refused:
            return []
        if (welcome.agent, welcome.incarnation) == (self.ours.agent, self.ours.incarnation):
            self._join.discard(door)
            contact.refused = True
            return [HangUp(door)]
        refuse = self._mismatch(welcome)
        if refuse is not None:  # Two runs may both take one that had none when it greeted them; it takes one.
            return self._refused(door, contact, refuse.name, ours=refuse.expected, theirs=refuse.got)
        self._adopt_run(welcome.run)
        self.welcomed = True
        contact.agent, contact.incarnation = welcome.agent, welcome.incarnation
        contact.ready, contact.heard_s, contact.retry_s = True, now, RETRY_S
        contact.credit = max(1, welcome.credit)
        return []

    def on_refuse(self, door: str, refuse: Refuse) -> list[Effect]:
        """We don't fit. Before anybody has welcomed us that ends us; later it is a peer we can't mix with."""
        contact = self._contacts.get(door)
        if contact is None or not contact.dialed or contact.refused:
            return []
        return self._refused(door, contact, refuse.name, ours=refuse.got, theirs=refuse.expected)

    def _refused(self, door: str, contact: Contact, name: str, ours: str, theirs: str) -> list[Effect]:
        contact.refused, contact.ready = True, False
        text = (
            f"{door} can't be mixed with: our {name} is {ours}, theirs {theirs}. "
            "Start both with the same task, model and version, and --run if you give one."
        )
        fatal = door in self._join and not self.welcomed
        return [HangUp(door), Fatal(text) if fatal else Notice(text)]

    def on_stranger(self, door: str, now: float) -> list[Effect]:
        """The peer lost track of us, or is a new life at the same address: greet again."""
        contact = self._contacts.get(door)
        if contact is None or not contact.dialed or contact.refused:
            return []
        contact.ready, contact.agent, contact.hello_s = False, None, now
        return self.tick(now)

    def forget(self, agent: str, incarnation: int) -> None:
        """A life of an agent is over: let go of the doors it opened to us."""
        for door, contact in list(self._contacts.items()):
            if not contact.dialed and (contact.agent, contact.incarnation) == (agent, incarnation):
                del self._contacts[door]

    def _adopt_run(self, run: str) -> None:
        if run and not self.ours.run:
            self.ours = replace(self.ours, run=run)

    def _mismatch(self, theirs: Hello | Welcome) -> Refuse | None:
        ours = self.ours
        pairs: list[tuple[str, object, object]] = [("protocol version", ours.version, theirs.version)]
        if theirs.agent:
            if ours.run and theirs.run:
                pairs.append(("run", ours.run, theirs.run))
            pairs.append(("number of parameters", ours.parameters, theirs.parameters))
            pairs.append(("model (names, shapes and dtypes)", ours.model, theirs.model))
        for name, expected, got in pairs:
            if expected != got:
                return Refuse(name, str(expected), str(got))
        if theirs.agent == ours.agent and theirs.incarnation != ours.incarnation:
            return Refuse("name", "one that no other agent has", theirs.agent)
        return None
