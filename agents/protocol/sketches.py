"""Sketches of the agents' models: each sends its own to others at a bounded rate, and all to whoever looks. Sans-IO.

An agent takes in only what another sends of itself, on its own connection. Whoever looks from outside may ask for what
it has of others; where agents have keys these are signed. In a swarm larger than MAX_HELD each sends its sketches to so
many others alone, those that follow it in an order of hashes, so that everybody holds a sample of the swarm.
"""

import math
import zlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from agents.protocol.events import Effect, Send, Sketched
from agents.protocol.incarnation import Incarnation
from agents.protocol.limits import KEPT, LOOK_S, MAX_ROUTES
from agents.protocol.membership import Membership
from agents.protocol.signing import Signing
from transport.messages import AgentId, ConnectionId, Links, Look, Sketch

SKETCH_BYTES = 1024
"""Of a sketch; what is longer or shorter is none."""

MAX_HELD = 64
"""Others whose sketches we hold, and to whom we send ours."""

PER_S, SIGNED_PER_S = 8.0, 3.5
"""Sketches that we send to other agents in a second, at most; where records are signed membership costs more."""


@dataclass(frozen=True, slots=True)
class Held:
    """A sketch, and when it was made, by our clock."""

    sketch: Sketch
    made_s: float

    def at(self, now: float) -> Sketch:
        """As it is passed on."""
        return replace(self.sketch, age_s=max(0.0, now - self.made_s))


class Sketches:
    """members: whom we know. route: finds a ready connection. run: the name of our run. signing: None without keys."""

    def __init__(
        self,
        members: Membership,
        route: Callable[[AgentId], ConnectionId | None],
        run: Callable[[], str],
        signing: Signing | None = None,
    ) -> None:
        self._members, self._route, self._run, self._signing = members, route, run, signing
        self._period_s = 1 / (PER_S if signing is None else SIGNED_PER_S)
        self._held: dict[AgentId, tuple[Held, ...]] = {}
        self._todo: dict[AgentId, None] = {}
        self._next_s = 0.0
        self._looked_s: dict[ConnectionId, float] = {}
        self._without: set[Incarnation] = set()
        self.by_agent: Mapping[AgentId, tuple[Sketch, ...]] = MappingProxyType({})
        """Ours and those of others that are alive, the oldest first of each. Replaced, never changed."""

    def make(self, made: Sketched, now: float) -> None:
        """This is what our own model looks like now: it goes to the others in turn."""
        me = self._members.me
        sketch = Sketch(me.agent, me.incarnation, made.step, made.still, payload=made.payload, part=made.part)
        if self._signing is not None:
            sketch = self._signing.sketched(sketch, self._run())
        self._keep(Held(sketch, now))
        self._todo |= dict.fromkeys(self._receivers())

    def receive(self, peer: Incarnation, sketch: Sketch, now: float) -> None:
        """A sketch came; of another than the sender, or of another size, it is none."""
        payload = bytes(sketch.payload or b"")
        if Incarnation(sketch.agent, sketch.incarnation, peer.key) != peer or len(payload) != SKETCH_BYTES:
            return
        if peer.agent not in self._held and len(self._others()) >= MAX_HELD:
            gone = [agent for agent in self._others() if not self._members.is_alive(agent)]
            if not gone:
                return
            del self._held[gone[0]]
        made_s = now - min(max(0.0, sketch.age_s), 3600.0)
        self._keep(Held(replace(sketch, payload=payload), made_s))

    def unknown(self, peer: Incarnation) -> None:
        """This one has an older version, and does nothing with sketches."""
        if len(self._without) >= MAX_ROUTES:
            self._without.clear()
        self._without.add(peer)

    def look(self, connection: ConnectionId, look: Look, links: Links, now: float) -> list[Effect]:
        """All that we have for whoever looks, these links at the end; nothing where it came more often than LOOK_S."""
        if now - self._looked_s.get(connection, -math.inf) < LOOK_S:
            return []
        if len(self._looked_s) >= MAX_ROUTES:
            self._looked_s.clear()
        self._looked_s[connection] = now
        me = self._members.me.agent
        agents = [me, *filter(self._members.is_alive, self._others())] if look.everyone else [me]
        sketches = [held.at(now) for agent in agents for held in self._held.get(agent, ())]
        return [*(Send(connection, each) for each in sketches), Send(connection, links)]

    def tick(self, now: float, slower: float = 1.0) -> list[Effect]:
        """Our newest sketch, to the next that lacks it. slower: how many times as seldom, while records are sent."""
        if not self._todo or now < self._next_s:
            return []
        self._next_s = max(self._next_s, now - self._period_s) + slower * self._period_s
        agent = next(iter(self._todo))
        del self._todo[agent]
        connection, own = self._route(agent), self._held.get(self._members.me.agent)
        return [Send(connection, own[-1].at(now))] if connection is not None and own else []

    def forget(self, peer: Incarnation) -> None:
        """This incarnation is over."""
        held = self._held.get(peer.agent)
        if held and held[-1].sketch.incarnation <= peer.number:
            del self._held[peer.agent]
            self._publish()

    @property
    def watchers(self) -> Container[ConnectionId]:
        """Connections on which somebody looked: whoever watches is nobody to stay for."""
        return self._looked_s.keys()

    @property
    def period_s(self) -> float:
        """How long it takes until all that are to get our sketch have it."""
        return self._period_s * min(MAX_HELD, self._members.count)

    def _others(self) -> list[AgentId]:
        return [agent for agent in self._held if agent != self._members.me.agent]

    def _receivers(self) -> list[AgentId]:
        """To whom our sketches go: all whom we met, or those of them that follow us."""
        me = _place(self._members.me.agent)
        met = [member for member in self._members.met() if Incarnation.of(member) not in self._without]
        after = sorted((member.agent for member in met), key=lambda agent: (_place(agent) - me) % (1 << 32))
        return after[:MAX_HELD]

    def _keep(self, held: Held) -> None:
        """One more of its agent. One that stands still is all there is; a later start is another agent's beginning."""
        sketch = held.sketch
        before = self._held.get(sketch.agent, ())
        if before and before[-1].sketch.incarnation > sketch.incarnation:
            return
        of_this = (sketch.incarnation, sketch.part)
        moving = (e for e in before if not e.sketch.still and (e.sketch.incarnation, e.sketch.part) == of_this)
        older = () if sketch.still else tuple(each for each in moving if each.sketch.step < sketch.step)
        self._held[sketch.agent] = (*older, held)[-KEPT:]
        self._publish()

    def _publish(self) -> None:
        found = {agent: tuple(each.sketch for each in held) for agent, held in self._held.items()}
        self.by_agent = MappingProxyType(found)


def _place(agent: AgentId) -> int:
    return zlib.crc32(agent.encode())
