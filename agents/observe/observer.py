"""Looks at a swarm without being part of it: who is there, how far, and their vectors, one at a time.

An observer has no vector and mixes nothing. It sends and receives the same messages as everybody else, on connections
that it opens itself; an agent it can't reach (behind NAT, say) is asked through one it can. It trusts nothing: sizes,
numbers and waiting are bounded, and who sends what can't be used is left out.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from agents.mixing.layout import Layout
from agents.observe.errors import NoVector, Unreachable, nobody_at
from agents.observe.pieces import left_out, misfit
from agents.observe.records import believed, ignore, silent_after_s
from agents.protocol.limits import MAX_FINISHING
from agents.protocol.membership import FINISHED, Membership
from agents.protocol.timing import LAN
from agents.submodel import vector_of
from transport.credentials import Credentials
from transport.link import Link, LinkError
from transport.messages import (
    VERSION,
    Address,
    AgentId,
    ConnectionId,
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
Other = Callable[[Message, Welcome], None]

log = logging.getLogger("gossamer")

PULL_S, CHUNK_S = 5.0, 4.0
"""A vector is missing after PULL_S without a piece, and after PULL_S plus CHUNK_S a chunk: 256 KiB/s is the least."""

REACH_S, ASK_S = 2.0, 0.05
"""How long we try the agents' own addresses before we ask for their vectors through others, and how often."""

KEEP_S = 1.0
"""While we pull from one, the others receive a message so often: agents stay for an observer."""

AGENTS = 4
"""We look through so many agents at least, if there are: the one at the address of --join may end at any time."""

MAX_CONNECTIONS = 512
"""Connections that we open because members name their addresses."""


class Observer:
    """Reads a swarm's members and their vectors through agents at the addresses `join`; `meet` connects.

    credentials: what we prove, and so with whom we talk; None in plaintext. other: called with each message of another
    kind, and with the welcome of who sent it.
    """

    def __init__(self, join: Iterable[str], credentials: Credentials | None = None, other: Other = ignore) -> None:
        self._other = other
        self._join = [ConnectionId(address) for address in join]
        self._named = frozenset(self._join)
        self._views: set[ConnectionId] = set()
        self._link = Link(None, credentials=credentials)
        self._welcomes: dict[ConnectionId, Welcome] = {}
        self._unusable: set[ConnectionId] = set()
        self._members = Membership(Member(Identity(AgentId(""), 0)), silent_s=LAN.silent_s, sweep_s=1.0)
        self._first: Welcome | None = None
        self._left_out: set[ConnectionId] = set()
        self._answers = self._requests = 0
        self._asked: set[ConnectionId] = set()
        self._pieces: list[tuple[ConnectionId, Piece]] = []

    def meet(self, timeout_s: float) -> Welcome:
        """The welcome of the first agent that answers. Raises Unreachable."""
        deadline_s = time.monotonic() + timeout_s
        for address in self._join:
            self._link.dial(address)
        while not self._welcomes:
            if time.monotonic() > deadline_s:
                if why := next(filter(None, map(self._link.refusal, self._join)), ""):
                    raise Unreachable(f"{', '.join(self._join)} can't be connected with: {why}")
                raise Unreachable(nobody_at(self._join, timeout_s))
            for address in self._join:
                self._greet(address)
            self.listen(0.05)
        self.refresh(max(1.0, deadline_s - time.monotonic()))
        return next(iter(self._welcomes.values()))

    def welcomes(self) -> list[Welcome]:
        """The welcomes of all agents that we are connected with."""
        return list(self._welcomes.values())

    def refresh(self, timeout_s: float = 1.0) -> bool:
        """Ask everyone we are connected with for their view; False if nobody answered in time."""
        before = self._answers
        self._ask()
        deadline_s = time.monotonic() + timeout_s
        while self._answers == before and time.monotonic() < deadline_s:
            self.listen(0.05)
        met = {welcome.agent for welcome in self._welcomes.values()}
        others = [member.address for member in self.alive() if member.agent not in met]
        self.watch(others[: max(0, AGENTS - len(self.alive()) + len(others))])
        return self._answers > before

    def _ask(self) -> None:
        for address in self._join:
            if address not in self._welcomes or not self._link.send(address, Gossip((), reply=True)):
                self._greet(address)

    def alive(self) -> list[Member]:
        """Those that count as alive where we asked, and that were certainly alive recently enough, by name.

        Ages are judged here, by what the swarm takes for its network: we probe nobody.
        """
        others = self._members.others()
        silent_s = silent_after_s(self._welcomes.values(), len(others))
        return [member for member in others if self.silent_s(member.agent) <= silent_s]

    def gone(self) -> list[Member]:
        """Those that are silent or have left, by name."""
        alive = {member.agent for member in self.alive()}
        known = (*self._members.gone(), *self._members.others())
        return sorted((member for member in known if member.agent not in alive), key=lambda member: member.agent)

    def all_finished(self) -> bool:
        """Whether nobody that is alive trains any more."""
        return all(member.state in FINISHED for member in self.alive())

    def all_equal(self) -> bool:
        """Whether everyone alive has completed the exact finish, where this swarm ends with one."""
        alive = self.alive()
        exact = any(welcome.settings.get("finish") == "exact" for welcome in self._welcomes.values())
        return not exact or len(alive) > MAX_FINISHING or all(member.report.finished for member in alive)

    def silent_s(self, agent: AgentId) -> float:
        """The age of an agent's freshest record."""
        return self._members.silent_s(agent, time.monotonic())

    def watch(self, addresses: Iterable[str]) -> None:
        """Look through these addresses as well."""
        wanted = dict.fromkeys(address for address in addresses if address and address not in self._join)
        if len(self._join) + len(wanted) > MAX_CONNECTIONS:
            self._let_go()
        for address in [*wanted][: max(0, MAX_CONNECTIONS - len(self._join))]:
            try:
                self._join.append(self._link.dial(address))
            except LinkError as error:
                log.debug("%s", error)  # Named by an agent, not by our user.

    def send_all(self, message: Message, only: Collection[str] | None = None) -> None:
        """Send it to everyone that has welcomed us. only: to these of them."""
        for address, welcome in self._welcomes.items():
            if only is None or welcome.agent in only:
                self._link.send(address, message)

    def reach(self, timeout_s: float = REACH_S) -> None:
        """Connect with all that are alive, and ask all that were named, as far as they can be reached in this time."""
        deadline_s, ask_s = time.monotonic() + timeout_s, 0.0
        self.watch(member.address for member in self.alive())
        wanted = {ConnectionId(member.address) for member in self.alive()}.intersection(self._join)
        while time.monotonic() < deadline_s and (
            wanted - self._welcomes.keys() - self._unusable or self._named - self._views - self._unusable
        ):
            if time.monotonic() >= ask_s:  # Not after each message: every question brings several.
                self._ask()
                ask_s = time.monotonic() + ASK_S
            self.listen(ASK_S)

    def reached_at(self, agent: str) -> str:
        """The address at which the agent itself has welcomed us, "" if it hasn't."""
        return next((str(at) for at, welcome in self._welcomes.items() if welcome.agent == agent), "")

    def pull(self, member: Member, parameters: int, chunks: Sequence[slice] | None = None) -> Vector:
        """The current vector of an agent, (parameters,), 0 outside of the chunks. Raises NoVector, in bounded time."""
        from agents.mixing.codecs import FLOAT32  # Late: who only looks pulls no vector.
        from agents.protocol.pull import Download

        chunks = Layout.flat(parameters).chunks if chunks is None else chunks
        theta = np.zeros(parameters, np.float32)  # Virtual memory, until pieces come.
        self._requests += 1
        self._asked.clear()
        began_s = received_s = asked_s = time.monotonic()
        vector = vector_of(member.report.part)
        download = Download(member.agent, self._requests, len(chunks), began_s, began_s, vector)
        useless: dict[ConnectionId, str] = {}
        while not download.complete:
            now = time.monotonic()
            if now - asked_s > KEEP_S:
                asked_s = now
                self._ask()
            connection = self._connection_to(member, useless)
            if connection is None and useless:
                raise NoVector(next(iter(useless.values())))
            if now - received_s > PULL_S or now - began_s > PULL_S + CHUNK_S * download.chunks:
                raise NoVector(f"{len(download.have)} of {download.chunks} pieces of its vector came in time")
            pull = download.ask(now) if connection else None
            if connection and pull:
                self._asked.add(connection)
                if not self._link.send(connection, pull):
                    download.next -= pull.count
            self.listen(0.02)
            for source, piece in self._pieces:
                why = misfit(piece, parameters, chunks)
                if why:
                    useless[source] = why
                    download.next = 0
                elif download.take(piece, now):
                    span = chunks[piece.chunk]
                    theta[span] = FLOAT32.unpack(piece.payload, span.stop - span.start)
                    received_s = now
            self._pieces.clear()
        return theta

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _connection_to(self, member: Member, useless: Iterable[ConnectionId]) -> ConnectionId | None:
        """The agent's own connection if it has welcomed us, else that of anybody alive who may pass the request on."""
        usable = [(welcome.agent, at) for at, welcome in self._welcomes.items() if at not in useless]
        own = [at for agent, at in usable if agent == member.agent]
        living = {other.agent for other in self.alive()}
        return next(iter(own), None) or next((at for agent, at in usable if agent in living), None)

    def _let_go(self) -> None:
        """Close connections to addresses that no live agent has: who starts again has another. The user's are kept."""
        used = self._named | {member.address for member in self.alive()}
        for connection in [each for each in self._join if each not in used]:
            self._join.remove(connection)
            self._link.hang_up(connection)
            self._welcomes.pop(connection, None)
        self._unusable.intersection_update(used)

    def _greet(self, connection: ConnectionId) -> None:
        if connection not in self._unusable:
            self._link.send(connection, Hello(VERSION, AgentId(""), 0, address=Address(connection)))

    def listen(self, timeout_s: float) -> None:
        """Take in what comes within this time."""
        for connection, message in self._link.poll(timeout_s):
            self._take(connection, message)

    def _take(self, connection: ConnectionId, message: Message) -> None:
        match message:
            case Welcome() if connection not in self._unusable:
                self._welcomed(connection, message)
            case Refuse(name, expected, got):
                self._unusable.add(connection)
                if not self._welcomes and self._unusable.issuperset(self._join):
                    raise Unreachable(
                        f"{connection} refused us: our {name} is {got}, theirs {expected}; install the same version"
                    )
            case Stranger():
                self._welcomes.pop(connection, None)
                self._greet(connection)
            case Gossip(members) if connection in self._welcomes:
                self._answers += 1
                self._views |= self._named & {connection}
                signed = believed(members, self._members.get, self._link.credentials, self._welcomes.get(connection))
                self._members.receive(signed, time.monotonic(), verdicts=True)
            case Piece() if message.request == self._requests and connection in self._asked:
                self._pieces.append((connection, message))
            case _ if (welcome := self._welcomes.get(connection)) is not None:
                self._other(message, welcome)

    def _welcomed(self, connection: ConnectionId, welcome: Welcome) -> None:
        if why := left_out(welcome, self._first):
            self._welcomes.pop(connection, None)  # It is greeted on: the run that we look at may come back there.
            if connection not in self._left_out:
                log.warning("%s is left out: %s", connection, why)
            self._left_out.add(connection)
            return
        self._first = self._first if self._first and self._first.run else welcome
        if connection not in self._welcomes:
            self._link.send(connection, Gossip((), reply=True))
        self._welcomes[connection] = welcome


@contextmanager
def observing(
    join: Iterable[str], timeout_s: float, credentials: Credentials | None = None, other: Other = ignore
) -> Iterator[tuple[Observer, Welcome]]:
    """An observer that has met the swarm, and the first welcome; hung up at the end. other: as of Observer."""
    observer = Observer(join, credentials, other)
    try:
        yield observer, observer.meet(timeout_s)
    finally:
        observer.close()
