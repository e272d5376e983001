"""Which records an agent passes on, and in which message: a bounded number in each, what changed before the rest.

Each change goes out in about 2 log2(n) messages, which reaches everybody with high probability; the room that is left
in a message is filled with the other records in turn. Passed on are members that this agent met, and those that are
gone, so that a newcomer can name who is missing: nobody's invention spreads beyond those to whom it was sent.
"""

import math
from collections.abc import Iterator, Mapping

from agents.protocol.known import Known, bytes_of
from transport.messages import AgentId, Liveness, Member

RECORD_BYTES = 8_000
"""What one record may take: a larger one is no agent's, and would take the place of many."""

DELTA_BYTES = 4_000
"""What the records in a probe or its answer may take, beyond one: it bounds what membership costs, whatever the swarm's
size.

Twice as much where records are signed: as many fit then."""

PAGE_BYTES = 60_000
"""What the records in one message of a full exchange take at most: read in some 10 ms."""

MAX_GONE = 64
"""Members that are gone and that we never met: so many are passed on in a full exchange."""


class Dissemination:
    """known: what there is to pass on, by name; it is read only."""

    def __init__(self, known: Mapping[AgentId, Known]) -> None:
        self._known = known
        self._order: list[AgentId] = []
        self._next = 0
        self._changed: dict[AgentId, None] = {}

    def add(self, agent: AgentId) -> None:
        """There is one more."""
        self._order.append(agent)
        self.changed(agent)

    def remove(self, agent: AgentId) -> None:
        """There is one less."""
        self._order.remove(agent)
        self._changed.pop(agent, None)

    def changed(self, agent: AgentId) -> None:
        """Pass this record on before others for a while."""
        self._known[agent].spread = 2 + math.ceil(2 * math.log2(len(self._known) + 1))
        self._changed[agent] = None

    def everything(self, me: Member, now: float) -> tuple[Member, ...]:
        """All that is passed on, our own record first."""
        unmet = [known for known in self._known.values() if not known.met and not known.alive]
        chosen = [known for known in self._known.values() if known.met] + unmet[-MAX_GONE:]
        return (me, *(_record(known, now) for known in chosen))

    def pages(self, me: Member, now: float) -> Iterator[tuple[Member, ...]]:
        """Everything, in as many messages as it takes."""
        page: list[Member] = []
        room = PAGE_BYTES
        for member in self.everything(me, now):
            takes = bytes_of(member)
            if page and room < takes:
                yield tuple(page)
                page, room = [], PAGE_BYTES
            page.append(member)
            room -= takes
        yield tuple(page)

    def deltas(self, me: Member, now: float) -> tuple[Member, ...]:
        """Our own record, those that changed lately, and as many others in turn as fit into DELTA_BYTES."""
        chosen: dict[AgentId, Known] = {}
        room = self._take_changed(chosen, DELTA_BYTES * (2 if me.identity.key else 1))
        for _ in range(len(self._order)):
            agent = self._order[self._next % len(self._order)]
            known = self._known[agent]
            if chosen and room < known.bytes:
                break
            self._next = (self._next + 1) % len(self._order)
            if agent not in chosen and (known.met or not known.alive):
                room -= known.bytes
                chosen[agent] = known
        return (me, *(_record(known, now) for known in chosen.values()))

    def _take_changed(self, chosen: dict[AgentId, Known], room: int) -> int:
        """Those that changed, into `chosen`, and the room that is left."""
        for agent in list(self._changed):
            known = self._known[agent]
            if chosen and room < known.bytes:
                break
            del self._changed[agent]
            if known.alive and not known.met:
                continue  # It comes again when it is met.
            room -= known.bytes
            chosen[agent] = known
            known.spread -= 1
            if known.spread > 0:
                self._changed[agent] = None  # Behind the others that wait.
        return room


def _record(known: Known, now: float) -> Member:
    """The record as it is passed on: with the time since it was certainly alive, and whether it counts as gone here."""
    member, age_s = known.member, max(0.0, now - known.alive_s)
    liveness = Liveness(member.liveness.heartbeat, member.state, age_s, not known.alive)
    return Member(member.identity, liveness, member.report, member.signature)  # Half of what `replace` takes.
