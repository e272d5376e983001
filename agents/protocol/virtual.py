"""A clock and a network without I/O, on which real gossip cores run: for the simulator, and for tests of your own.

    clock = Clock()
    network = Network(clock)
    for name in ("a", "b"):
        network.add(core, vectors, address)      # a Driver with a link of this network
    clock.run(10.0)

Everything happens in the order of virtual time, in one thread; the same calls give the same history. What becomes of a
message is up to `carry`: it may arrive late, twice, or never. `isolate` cuts an agent off, `remove` ends it as a crash
does; `hold` keeps messages back, for tests that decide themselves what arrives, and when.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from agents.protocol.core import GossipCore
from agents.protocol.driver import Driver, Vectors
from agents.protocol.events import Received, Signal, Tick
from transport.messages import Address, AgentId, ConnectionId, Message


class Clock:
    """Virtual time in seconds, and what is to happen when."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Do something at a moment; of two at the same moment, what was asked for first."""
        heapq.heappush(self._queue, (when, next(self._order), call))

    @property
    def next(self) -> float:
        """When something happens next; infinity if nothing does."""
        return self._queue[0][0] if self._queue else float("inf")

    def step(self) -> None:
        """Jump to what comes next, and do it."""
        self.now, _, call = heapq.heappop(self._queue)
        call()

    def run(self, for_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; True as soon as `until` holds, False if it never did."""
        end = self.now + for_s
        while self.next <= end:
            if until():
                return True
            self.step()
        self.now = end
        return until()


Carry = Callable[["Node", "Node", Message], Iterable[float]]
"""(sender, receiver, message) -> the delay of each copy that arrives, in seconds; nothing if it is lost."""


def at_once(sender: "Node", receiver: "Node", message: Message) -> Iterable[float]:
    """A network without delay or loss."""
    return (0.0,)


class Node:
    """One agent on a virtual network: its core, the driver that runs it, and whether it takes part right now."""

    def __init__(self, name: AgentId, driver: Driver, link: "VirtualLink") -> None:
        self.name = name
        self.driver = driver
        self.core = driver.core
        self.link = link
        self.online: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Packet:
    """A message on its way. connection: as the receiver names it. message: as it arrives."""

    sender: AgentId
    receiver: AgentId
    connection: ConnectionId
    message: Message


class VirtualLink:
    """One agent's end of the network; a `driver.Link`."""

    def __init__(self, network: "Network", name: AgentId) -> None:
        self._network = network
        self.name = name

    def dial(self, address: Address) -> ConnectionId:
        """Open a connection, if somebody listens there."""
        return self._network.connect(self.name, address)

    def hang_up(self, connection: ConnectionId) -> None:
        """Close both ends of it."""
        self._network.disconnect(self.name, connection)

    def send(self, connection: ConnectionId, message: Message, payload: Any = None) -> bool:
        """Whether there is such a connection; whether the message arrives is the network's affair."""
        return self._network.send(self.name, connection, message, payload)


class Network:
    """A network in memory that joins cores by name. carry: what becomes of each message.

    through: how a message with its payload looks at the other end. By default it is passed on as it is, which needs
    payloads that nobody changes; where they are views of memory, as `agents.vectors` makes them, encode and decode.
    """

    def __init__(
        self,
        clock: Clock,
        carry: Carry = at_once,
        through: Callable[[Message, Any], Message] | None = None,
    ) -> None:
        self.clock = clock
        self.nodes: dict[AgentId, Node] = {}
        self._carry = carry
        self._through = through or _as_it_is
        self._order = count()
        self._listening: dict[Address, AgentId] = {}
        self._ends: dict[tuple[AgentId, ConnectionId], tuple[AgentId, ConnectionId]] = {}
        self._dialed: set[tuple[AgentId, ConnectionId]] = set()
        self._isolated: set[AgentId] = set()
        self._held: list[Packet] | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where somebody listens."""
        return tuple(self._listening)

    def add(
        self,
        core: GossipCore,
        vectors: Vectors,
        signal: Callable[[Signal], None] = lambda signal: None,
        first_tick_s: float = 0.0,
        now: Callable[[], float] | None = None,
    ) -> Node:
        """One more agent, listening at its member's address, if it has one; in place of an earlier one of that name.

        now: the clock that it reads, in seconds; the network's if None.
        """
        name = core.members.me.agent
        link = VirtualLink(self, name)
        node = Node(name, Driver(core, link, vectors, now or (lambda: self.clock.now), signal), link)
        self.nodes[name] = node
        if core.members.me.address:
            self._listening[core.members.me.address] = name
        self.clock.at(self.clock.now + first_tick_s, lambda: self._tick(node))
        return node

    def remove(self, name: AgentId) -> None:
        """End an agent as a crash does: the connections that it opened are gone, those opened to it lead nowhere."""
        del self.nodes[name]
        self._listening = {address: other for address, other in self._listening.items() if other != name}
        for end in [(other, mine) for other, mine in self._ends if other == name and not mine.startswith("route:")]:
            self.disconnect(*end)

    def connect(self, name: AgentId, address: Address) -> ConnectionId:
        """Join this agent to whoever listens at the address, now or later; until then nothing arrives there."""
        connection = ConnectionId(address)
        self._dialed.add((name, connection))
        if address in self._listening and (name, connection) not in self._ends:
            key = self.nodes[name].driver.core.members.me.identity.key
            other = self._listening[address], ConnectionId(f"route:{next(self._order):08x}{'#' + key if key else ''}")
            self._ends[name, connection] = other
            self._ends[other] = name, connection
        return connection

    def disconnect(self, name: AgentId, connection: ConnectionId) -> None:
        """Close both ends of a connection."""
        other = self._ends.pop((name, connection), None)
        self._dialed.discard((name, connection))
        if other is not None:
            self._ends.pop(other, None)
            self._dialed.discard(other)

    def peer(self, name: AgentId, connection: ConnectionId) -> AgentId | None:
        """Who is at the other end of this agent's connection."""
        end = self._ends.get((name, connection))
        return end[0] if end else None

    def send(self, name: AgentId, connection: ConnectionId, message: Message, payload: Any = None) -> bool:
        """Hand a message to the network. Somebody may listen by now where nobody did when it was dialed."""
        if (name, connection) in self._dialed:
            self.connect(name, Address(connection))
        end = self._ends.get((name, connection))
        if end is None or end[0] not in self.nodes:
            return False
        packet = Packet(name, *end, self._through(message, payload))
        if self._held is not None:
            self._held.append(packet)
            return True
        for delay_s in self._carry(self.nodes[name], self.nodes[packet.receiver], packet.message):
            self.clock.at(self.clock.now + delay_s, lambda: self.deliver(packet))
        return True

    def isolate(self, name: AgentId) -> None:
        """Cut an agent off: nothing reaches it or comes from it, nor what is on its way; its own time goes on."""
        self._isolated.add(name)

    def reunite(self, name: AgentId) -> None:
        """Let messages to and from an agent arrive again."""
        self._isolated.discard(name)

    def hold(self) -> list[Packet]:
        """Keep back what is sent from here on: it is in this list, in order, and arrives only by `deliver`."""
        self._held = []
        return self._held

    def release(self) -> None:
        """Let messages travel by themselves again; what was held and not delivered is lost."""
        self._held = None

    def deliver(self, packet: Packet) -> None:
        """Let a message arrive now, unless its sender or receiver is not there."""
        node = self.nodes.get(packet.receiver)
        cut_off = self._isolated & {packet.sender, packet.receiver}
        if node is not None and packet.sender in self.nodes and not cut_off and node.online():
            node.driver.handle(Received(packet.connection, packet.message))

    def _tick(self, node: Node) -> None:
        if self.nodes.get(node.name) is not node:
            return  # A later incarnation took its place.
        if node.online():
            node.driver.handle(Tick())
        self.clock.at(self.clock.now + node.core.settings.tick_s, lambda: self._tick(node))


def _as_it_is(message: Message, payload: Any) -> Message:
    return message if payload is None else replace(message, payload=payload)
