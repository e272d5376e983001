"""A peer that lies: well-formed messages with wrong numbers, in others' names, replayed, and rumors of all kinds.

It listens, introduces itself under its own name and sometimes as another start of an honest agent, and sends whatever a
member could. Which numbers it takes: those that it has seen, those next to them, and absurd ones. It never passes for
the very incarnation that is there: only keys keep one from that.
"""

import random
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np

from agents.protocol.events import Received
from transport.messages import (
    VERSION,
    Ack,
    Address,
    Alive,
    Answer,
    Decline,
    Gossip,
    Hello,
    Identity,
    Liveness,
    Member,
    Offer,
    Piece,
    Probe,
    Pull,
    Refuse,
    Report,
    Stop,
    Stranger,
    Suspect,
    Unknown,
    Welcome,
)

NAME = "liar"
PERIOD_S = 0.1
STATES = ("joining", "ready", "training", "settling", "left", "nonsense")
ABSURD = (-1, 0, 1, 2, 1 << 20, 1 << 62, (1 << 63) - 1)
KEPT = 200


class Liar:
    """A node of the virtual network; `stop` ends it. Made with a seed of its own: the same lies each time."""

    def __init__(self, swarm, seed: int) -> None:
        self.name = NAME
        self._swarm, self._random = swarm, random.Random(seed)
        self._seen: list = []
        self.online = lambda: True
        me = Member(Identity(NAME, 1))
        self.core = SimpleNamespace(members=SimpleNamespace(me=me), settings=SimpleNamespace(tick_s=PERIOD_S))
        self.driver = SimpleNamespace(core=self.core, handle=self._handle)
        self.address = Address("tcp://liar.example:5710")
        self._names = [*swarm.schedule.agents, NAME, "ghost", "nobody-\u00fc"]
        self._stopped = NAME in swarm.nodes
        if not self._stopped:
            swarm.nodes[NAME] = self
            swarm._listening[self.address] = NAME
            self._lie()

    def stop(self) -> None:
        """No more of it."""
        if not self._stopped:
            self._stopped = True
            self._swarm.remove(NAME)

    def _handle(self, event: object) -> None:
        if isinstance(event, Received):
            introduction = isinstance(event.message, Hello | Welcome)
            self._seen.append((event.connection, Stranger() if introduction else event.message))
            del self._seen[:-KEPT]

    def _lie(self) -> None:
        if self._stopped:
            return
        for _ in range(self._random.randint(1, 4)):
            connection, message = self._connection(), self._message()
            if connection is not None:
                payload = bytes(message.payload or b"") if hasattr(message, "payload") else None
                self._swarm.send(NAME, connection, message, payload)
        self._swarm.clock.at(self._swarm.now + self._random.uniform(0, 2 * PERIOD_S), self._lie)

    def _connection(self):
        if self._seen and self._random.random() < 0.4:
            return self._random.choice(self._seen)[0]
        addresses = sorted(set(self._swarm.addresses) - {self.address})
        return self._swarm.connect(NAME, self._random.choice(addresses)) if addresses else None

    def _message(self):
        """One of those seen, changed or not, or one made up."""
        draw = self._random
        if self._seen and draw.random() < 0.4:
            _, message = draw.choice(self._seen)
            numbers = [item.name for item in fields(message) if type(getattr(message, item.name)) is int]
            if numbers and draw.random() < 0.5:
                message = replace(message, **{draw.choice(numbers): self._number()})
            return message
        return getattr(self, f"_{draw.choice(MADE_UP)}")()

    def _name(self) -> str:
        return self._random.choice(self._names)

    def _number(self) -> int:
        return self._random.choice([*ABSURD, self._random.randint(0, 30)])

    def _incarnation(self, name: str) -> int:
        known = self._swarm.agents.get(name)
        near = known.core.members.me.incarnation if known else 1
        return self._random.choice([near, near, near + 1, near - 1, self._number()])

    def _foreign(self) -> tuple[str, int]:
        """An incarnation that isn't there."""
        name = self._name()
        number, known = self._incarnation(name), self._swarm.agents.get(name)
        return name, number + 1 if known and number == known.incarnation.number else number

    def _payload(self) -> bytes:
        size = self._random.choice([3, 3, 1, 0])
        values = np.random.default_rng(self._random.randrange(1 << 30)).normal(size=size).astype("<f4")
        if size and self._random.random() < 0.2:
            values[0] = self._random.choice([np.nan, np.inf, 3e38])
        return values.tobytes() + b"x" * (self._random.random() < 0.1)

    def _member(self) -> Member:
        name, draw = self._name(), self._random
        known = draw.choice(["", f"tcp://{name}.example:5710", self.address, "tcp://nowhere.example:1", "not one"])
        state = Liveness(self._number(), draw.choice(STATES), draw.choice([0.0, 1.0, 1e9]), draw.random() < 0.3)
        weight = draw.choice([1.0, 0.0, -1.0, 1e300])
        report = Report(
            weight=weight, step=self._number(), finish=draw.choice(["", "digest"]), mass=draw.choice([0, weight])
        )
        return Member(Identity(name, self._incarnation(name), Address(known)), state, report)

    def _members(self) -> tuple[Member, ...]:
        return tuple(self._member() for _ in range(self._random.randint(0, 4)))

    def _suspects(self) -> tuple[Suspect, ...]:
        names = [self._name() for _ in range(self._random.randint(0, 3))]
        return tuple(Suspect(name, self._incarnation(name)) for name in names)

    def _hello(self):
        mine = self._random.random() < 0.7
        name, number = (NAME, 1) if mine else self._foreign()
        manifest = self._swarm.manifest if self._random.random() < 0.9 else "another"
        return Hello(VERSION - (self._random.random() < 0.1), name, number, "run", manifest, credit=self._number())

    def _welcome(self):
        name, number = (NAME, 1) if self._random.random() < 0.5 else self._foreign()
        return Welcome(VERSION, name, number, "run", self._swarm.manifest, parameters=7, credit=self._number())

    def _gossip(self):
        return Gossip(self._members(), self._random.random() < 0.3, self._suspects())

    def _probe(self):
        return Probe(self._number(), self._name(), self._members(), self._suspects())

    def _alive(self):
        return Alive(self._number(), self._name(), self._members(), self._suspects())

    def _offer(self):
        draw = self._random
        chunks = draw.choice([self._swarm.chunks, self._swarm.chunks, 1, 10**6])
        return Offer(
            self._number(), draw.choice([0, 0, 1, self._number()]), chunks, draw.choice([0.5, 0.5, -1.0, 2.0]),
            draw.choice([1.0, 1.0, 0.0, 1e300]), self._number(), draw.choice(["theta", "theta", "momentum"]),
            seen=self._number(), finish=draw.choice(["", "", "digest/0"]), payload=self._payload(),
        )  # fmt: skip

    def _answer(self):
        weight = self._random.choice([1.0, 1.0, 0.0, 1e300])
        return Answer(self._number(), self._number(), weight, self._number(), payload=self._payload())

    def _ack(self):
        return Ack(self._number())

    def _decline(self):
        return Decline(self._number(), self._number(), "because")

    def _pull(self):
        return Pull(self._number(), self._number(), self._number(), self._name())

    def _piece(self):
        return Piece(self._number(), self._number(), self._swarm.parameters, self._payload())

    def _other(self):
        return self._random.choice(
            [Stranger(), Unknown("it"), Stop(), Refuse("run", "a", "b"), Refuse("name", "a", "b")]
        )


MADE_UP = (
    "hello", "hello", "welcome", "gossip", "gossip", "probe", "alive", "offer", "offer", "answer", "ack", "decline",
    "pull", "piece", "other",
)  # fmt: skip
