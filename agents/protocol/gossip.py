"""The gossip core: who exchanges with whom, and when. Sans-IO: `step(event, now) -> effects`.

It reads no clock, opens no socket, starts no thread and never sees a vector. The runtime drives it over ZeroMQ
in real time; the simulator drives the same object under a virtual clock.

    Due          choose a neighbor in the topology laid over the living members' sorted ids, and offer
    Offer        concede at once and answer                 (stream.Ledger: never twice)
    Answer       close, offer on                            (stream.Initiation: never twice)
    Tick         greet, spread rumors, offer again what stays unanswered, let go what takes too long
    Adopt, Pull  a whole vector, for late joiners and for the consensus

Nothing that a peer sends raises. What makes no sense here is declined or ignored.
"""

import random
from dataclasses import dataclass, replace

from agents.protocol.events import (
    Adopt,
    Answered,
    Due,
    Effect,
    Event,
    Notice,
    Received,
    RoundOver,
    Send,
    Tick,
    Unusable,
)
from agents.protocol.exchange import Exchanges, Life
from agents.protocol.greeting import Greeting
from agents.protocol.membership import Membership
from agents.protocol.pull import WINDOW, Pulls
from topology import overlay, select
from transport.addresses import is_address, is_loopback
from transport.messages import (
    VERSION,
    Ack,
    Answer,
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


@dataclass(frozen=True)
class Settings:
    """What the core must know. Times in seconds.

    alpha: how much of itself an agent keeps in an exchange, in [0, 1]. seed: the run's, for neighbor selection.
    tick_s: how often Tick comes; ping_s: between two rumors; silent_s: after how much silence a member is gone;
    first_s, floor_s: how long training waits for an answer at first, and at least, once answers have been timed.
    """

    run: str
    topology: str
    seed: int
    alpha: float
    parameters: int
    model: str
    chunks: int
    join: tuple[str, ...] = ()
    listening: bool = True
    tick_s: float = 0.05
    ping_s: float = 0.5
    silent_s: float = 5.0
    first_s: float = 3.0
    floor_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1]: got {self.alpha}")
        if not self.tick_s < self.ping_s < self.silent_s:
            raise ValueError(
                "tick_s < ping_s < silent_s must hold: "
                f"got tick_s {self.tick_s}, ping_s {self.ping_s}, silent_s {self.silent_s}"
            )
        overlay(self.topology, 1, self.seed)


class GossipCore:
    """me: how this agent presents itself; its weight is that of every exchange it takes part in."""

    def __init__(self, settings: Settings, me: Member) -> None:
        self.settings = settings
        ours = Hello(VERSION, settings.run, me.agent, me.incarnation, settings.parameters, settings.model)
        self.members = Membership(me, silent_s=settings.silent_s, sweep_s=settings.tick_s)
        self.greeting = Greeting(ours, settings.join, WINDOW)
        self.exchanges = Exchanges(
            me.agent, settings.alpha, me.weight, settings.chunks, first_s=settings.first_s, floor_s=settings.floor_s
        )
        self._pulls = Pulls(me.agent, settings.chunks, settings.parameters)
        self._random = random.Random(f"{settings.seed}/{me.agent}")
        self._ping_s = 0.0
        self._adopting = False

    def step(self, event: Event, now: float) -> list[Effect]:
        """What follows from this event. now: seconds on any clock that only goes forward."""
        match event:
            case Received(door, message):
                self.greeting.heard(door, now)
                return self._receive(door, message, now)
            case Tick():
                return self._tick(now)
            case Due(round):
                return self._begin(round, now)
            case Answered(door):
                return self.exchanges.answered(self._life(door), event)
            case Unusable(door):
                return self.exchanges.unusable(self._life(door), event)
            case Adopt():
                self._adopting, self._pulls.download = True, None
                return self._adopt(now)

    def report(self, **changes: object) -> None:
        """Change what we say of ourselves; others hear it with the next rumor or exchange."""
        self.members.say(**changes)
        self.exchanges.step = self.members.me.step

    def announce(self, now: float, **changes: object) -> list[Effect]:
        """Change what we say of ourselves, and say it to everyone we can reach at once."""
        self.report(**changes)
        return [Send(door, self._rumor(door, now)) for door in self.greeting.doors()]

    # What comes in.

    def _life(self, door: str) -> Life:
        contact = self.greeting.contact(door)
        return (contact.agent or "", contact.incarnation) if contact else ("", 0)

    def _receive(self, door: str, message: Message, now: float) -> list[Effect]:
        match message:
            case Hello():
                effects = self.greeting.on_hello(door, message, now)
                return effects + self._greeted(door, message)
            case Welcome():
                effects = self.greeting.on_welcome(door, message, now) + self._greeted(door, message)
                known = self.greeting.contact(door) is not None
                return [*effects, Send(door, self._rumor(door, now, reply=True))] if known else effects
            case Refuse():
                return self.greeting.on_refuse(door, message)
            case Stranger():
                return self.greeting.on_stranger(door, now)
            case Unknown():
                return []
        contact = self.greeting.contact(door)
        if contact is None:
            return [Send(door, Stranger())]
        match message:
            case Gossip(members, reply):
                effects = self._hear(members if contact.agent else (), now)
                return [*effects, Send(door, self._rumor(door, now))] if reply else effects
            case Pull():
                return self._pulls.on_pull(door, message, self._door_to(message.agent), now)
            case Piece():
                return self._pulls.on_piece(contact.agent or "", door, message, now)
        if not contact.agent:
            return []  # An observer has nothing to mix.
        life = (contact.agent, contact.incarnation)
        match message:
            case Offer():
                return self.exchanges.on_offer(life, door, message, now)
            case Answer():
                return self.exchanges.on_answer(life, door, message, now)
            case Decline():
                return self.exchanges.on_decline(life, door, message)
            case Ack():
                self.exchanges.on_ack(life, message)
        return []

    def _hear(self, members: tuple[Member, ...], now: float) -> list[Effect]:
        effects: list[Effect] = []
        before = {member.agent: self.members.get(member.agent) for member in members}
        came, left = self.members.hear(members, now)
        for agent in came:
            old = before[agent]
            effects.append(Notice(f"{agent} is {'here' if old is None else 'back'}"))
            self.exchanges.resume(agent)
        for agent in left:
            effects.append(Notice(f"{agent} has left"))
        for agent, old in before.items():
            new = self.members.get(agent)
            if old and new and new is not old and (new.incarnation != old.incarnation or new.state == "left"):
                effects += self._over((agent, old.incarnation))
        for agent in set(came).intersection(self.neighbors(0)) if came else ():
            effects += self.greeting.dial(self._address(agent), now)
        return effects

    def _greeted(self, door: str, greeting: Hello | Welcome) -> list[Effect]:
        """If the greeting went well: learn our own address, and that an earlier life of the agent is over."""
        if self._life(door) != (greeting.agent, greeting.incarnation):
            return []
        if isinstance(greeting, Hello):
            self._learn_address(greeting.door)
        known = self.members.get(greeting.agent)
        if known is None or known.incarnation >= greeting.incarnation:
            return []
        return self._over((known.agent, known.incarnation))

    def _learn_address(self, address: str) -> None:
        """A peer reached us at this address: if we know none of ours that others can use, now we do."""
        if self.settings.listening and not self.members.me.address and is_address(address) and not is_loopback(address):
            self.members.say(address=address)

    def _over(self, life: Life) -> list[Effect]:
        self.greeting.forget(*life)
        return self.exchanges.forget(life)

    # What time brings.

    def _tick(self, now: float) -> list[Effect]:
        effects = self.greeting.tick(now)
        effects += self.exchanges.tick(self.greeting.ready, now)
        self._pulls.tick(now)
        for agent in self.members.sweep(now):
            effects.append(Notice(f"{agent} is silent: it counts as gone until it is heard again"))
            effects += self.exchanges.release(agent)
        if now >= self._ping_s:
            self._ping_s = now + self.settings.ping_s
            effects += self._ping(now)
        if self._adopting and self._pulls.download is None:
            effects += self._adopt(now)
        elif (download := self._pulls.download) is not None:
            effects += self._urge(now, download.agent)
        return effects

    def _ping(self, now: float) -> list[Effect]:
        """Spread the rumor to two of the living, and to one of the silent in case it is back."""
        self.members.say()
        alive = self.members.others()
        silent = [member for member in self.members.gone() if member.state != "left"]
        chosen = self._random.sample(alive, min(2, len(alive))) + self._random.sample(silent, min(1, len(silent)))
        effects: list[Effect] = []
        for member in chosen:
            door = self._door_to(member.agent)
            if door is None:
                effects += self.greeting.dial(member.address, now)
            else:
                effects.append(Send(door, self._rumor(door, now, reply=True)))
        return effects

    def _rumor(self, door: str, now: float, reply: bool = False) -> Gossip:
        """All we know, for the peer behind this door: to another machine no loopback address is told."""
        agent = self._life(door)[0]
        members = self.members.rumor(now)
        if not is_loopback(door if not door.startswith("route:") else self._address(agent)):
            members = tuple(replace(m, address="") if is_loopback(m.address) else m for m in members)
        return Gossip(members, reply)

    # Exchanges.

    def neighbors(self, round: int) -> list[str]:
        """Our neighbors among the living in this round."""
        ids = self.members.ids()
        graph = overlay(self.settings.topology, len(ids), self.settings.seed)
        return [ids[index] for index in graph.neighbors(ids.index(self.members.me.agent), round)]

    def _begin(self, round: int, now: float) -> list[Effect]:
        effects: list[Effect] = []
        busy = {agent for agent, _ in self.exchanges.open_peers | self.exchanges.answering(now)}
        doors: dict[str, str] = {}
        for agent in self.neighbors(round):
            door = self._door_to(agent)
            if door is None:
                effects += self.greeting.dial(self._address(agent), now)
            elif agent not in busy:
                doors[agent] = door
        if not doors:
            return [*effects, RoundOver(round, "", "no neighbor is free now")]
        door = doors[select(self.settings.seed, self.members.me.agent, round, sorted(doors))]
        contact = self.greeting.contact(door)
        credit = contact.credit if contact else 1
        return effects + self.exchanges.begin(self._life(door), door, round, credit, now)

    def _door_to(self, agent: str) -> str | None:
        member = self.members.get(agent)
        return self.greeting.ready(agent, member.incarnation) if member else None

    def _address(self, agent: str) -> str:
        member = self.members.get(agent)
        return member.address if member else ""

    # A late joiner's first vector.

    def _adopt(self, now: float) -> list[Effect]:
        ahead = [member for member in self.members.others() if member.step > 0]
        reachable = [(member, door) for member in ahead if (door := self._door_to(member.agent))]
        if not reachable:
            return []
        member, door = self._random.choice(reachable)
        self._adopting = False
        return self._pulls.begin(member.agent, door, now)

    def _urge(self, now: float, agent: str) -> list[Effect]:
        """Ask again for what doesn't come; ask someone else if its owner is gone."""
        if not self.members.is_alive(agent):
            self._pulls.download, self._adopting = None, True
            return self._adopt(now)
        door = self._door_to(agent)
        pull = self._pulls.download.ask(now) if door and self._pulls.download else None
        return [Send(door, pull)] if door and pull else []
