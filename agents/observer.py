"""Looks at a swarm without being part of it: who is there, how far, and their vectors, one at a time.

An observer has no vector and mixes nothing. It speaks the same messages as everybody else, over connections that
it opens itself; an agent it can't reach (behind NAT, say) is asked through one it can.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from agents.mixing.codecs import FLOAT32
from agents.mixing.layout import Layout
from agents.protocol.membership import Membership
from agents.protocol.pull import Download
from topology.errors import GossamerError
from transport.link import Link, LinkError
from transport.messages import (
    VERSION,
    AgentId,
    Gossip,
    Hello,
    Identity,
    Member,
    Message,
    Piece,
    Refuse,
    Stranger,
    Welcome,
)

Vector = np.ndarray[Any, np.dtype[np.float32]]

log = logging.getLogger("gossamer")

SILENT_S = 5.0
PULL_S = 5.0
"""Without a single piece for so long, an agent counts as missing."""

DIRECT_S = 2.0
"""How long we try an agent's own address before we ask for its vector through others."""

KEEP_S = 1.0
"""While we pull from one, the others hear so often that we are still here: they stay for us."""

DOORS = 4
"""We look through so many agents at least, if there are: the one we were told to join may end at any time."""


class Unreachable(GossamerError, ConnectionError):
    """Nobody answered where we were told to join, or they speak another protocol."""


class Observer:
    """A look through any of the addresses `join`, once `meet` found one that answers."""

    def __init__(self, join: Iterable[str]) -> None:
        self._join = list(join)
        self._link = Link(None)
        self._welcomes: dict[str, Welcome] = {}
        self._members = Membership(Member(Identity(AgentId(""), 0)), silent_s=SILENT_S, sweep_s=1.0)
        self._heard = 0
        self._requests = 0
        self._pieces: list[tuple[str, Piece]] = []

    def meet(self, timeout_s: float) -> Welcome:
        """The welcome of the first agent that answers. Raises Unreachable."""
        deadline_s = time.monotonic() + timeout_s
        for address in self._join:
            self._link.dial(address)
        while not self._welcomes:
            if time.monotonic() > deadline_s:
                raise Unreachable(
                    f"nobody answered at {', '.join(self._join)} within {timeout_s:g} s: expected an agent of a running"
                    " swarm there; check the address that `agent run` prints, and that a firewall lets its port through"
                )
            for address in self._join:
                self._greet(address)
            self._listen(0.05)
        self.refresh(max(1.0, deadline_s - time.monotonic()))
        return next(iter(self._welcomes.values()))

    def refresh(self, timeout_s: float = 1.0) -> bool:
        """Ask everyone we talk with for their view; False if nobody answered in time."""
        before = self._heard
        self._ask()
        deadline_s = time.monotonic() + timeout_s
        while self._heard == before and time.monotonic() < deadline_s:
            self._listen(0.05)
        self._members.sweep(time.monotonic())
        met = {welcome.agent for welcome in self._welcomes.values()}
        strangers = [member.address for member in self.alive() if member.agent not in met]
        self.watch(strangers[: max(0, DOORS - len(self.alive()) + len(strangers))])
        return self._heard > before

    def _ask(self) -> None:
        for door in self._join:
            if door not in self._welcomes or not self._link.send(door, Gossip((), reply=True)):
                self._greet(door)

    def alive(self) -> list[Member]:
        """Those lately heard of, by id."""
        return self._members.others()

    def gone(self) -> list[Member]:
        """Those that are silent or have left, by id."""
        return self._members.gone()

    def watch(self, addresses: Iterable[str]) -> None:
        """Look through these addresses as well."""
        for address in addresses:
            if address and address not in self._join:
                try:
                    self._join.append(self._link.dial(address))
                except LinkError as error:
                    log.debug("%s", error)  # An agent's word, not our user's.

    def pull(self, member: Member, parameters: int) -> Vector | None:
        """The current vector of an agent, (parameters,), or None if no piece of it came for PULL_S."""
        theta = np.empty(parameters, np.float32)
        chunks = Layout.flat(parameters).chunks
        self._requests += 1
        download = Download(member.agent, self._requests, len(chunks), time.monotonic())
        self.watch([member.address])
        began_s = heard_s = asked_s = time.monotonic()
        deaf: set[str] = set()
        while not download.complete:
            now = time.monotonic()
            if now - asked_s > KEEP_S:
                asked_s = now
                self._ask()
            if now - heard_s > PULL_S:
                return None
            door = self._door_to(member, deaf, now - began_s < DIRECT_S)
            pull = download.ask(now) if door else None
            if door and pull and not self._link.send(door, pull):
                download.next -= pull.count
            self._listen(0.02)
            for door, piece in self._pieces:
                if piece.request != download.request:
                    continue
                if piece.parameters != parameters:  # It can't pass the request on, or trains another model.
                    deaf.add(door)
                    download.next = 0
                elif download.take(piece, now):
                    span = chunks[piece.chunk]
                    theta[span] = FLOAT32.unpack(piece.payload, span.stop - span.start)
                    heard_s = now
            self._pieces.clear()
        return theta

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _door_to(self, member: Member, deaf: set[str], direct: bool) -> str | None:
        """The agent's own door if it has welcomed us, else that of anybody alive who may pass the request on."""
        doors = [(welcome.agent, door) for door, welcome in self._welcomes.items() if door not in deaf]
        for agent, door in doors:
            if agent == member.agent:
                return door
        if member.address and direct:
            self._greet(member.address)
            return None
        living = {other.agent for other in self.alive()}
        return next((door for agent, door in doors if agent in living), None)

    def _greet(self, door: str) -> None:
        self._link.send(door, Hello(VERSION, AgentId(""), 0, address=door))

    def _listen(self, timeout_s: float) -> None:
        for door, message in self._link.poll(timeout_s):
            self._take(door, message)

    def _take(self, door: str, message: Message) -> None:
        match message:
            case Welcome():
                if door not in self._welcomes:
                    self._link.send(door, Gossip((), reply=True))
                self._welcomes[door] = message
            case Refuse(name, expected, got) if not self._welcomes:
                raise Unreachable(
                    f"{door} refused us: our {name} is {got}, theirs {expected}; install the same version"
                )
            case Stranger():
                self._welcomes.pop(door, None)
                self._greet(door)
            case Gossip(members):
                self._heard += 1
                self._members.receive(members, time.monotonic())
            case Piece():
                self._pieces.append((door, message))
            case _:
                return


@contextmanager
def observing(join: Iterable[str], timeout_s: float) -> Iterator[tuple[Observer, Welcome]]:
    """An observer that has met the swarm, and the first welcome; hung up at the end."""
    observer = Observer(join)
    try:
        yield observer, observer.meet(timeout_s)
    finally:
        observer.close()
