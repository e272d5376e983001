"""Who is alive, as far as this agent has heard. Sans-IO: time is an argument.

Every agent speaks only of itself; what it said is passed on by rumor, and the word with the greater
(incarnation, heartbeat) is the fresher one. A member of whom nothing fresh was heard for `silent_s` is gone,
until something fresh is heard again. A member that said "left" is gone at once. A word is passed on with its age, so
who hears it for the first time doesn't take it for fresh.

An agent that was itself too busy to listen must not blame the others: if two sweeps lie further apart than
they should, everybody's silence is forgiven for that long.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from transport.addresses import is_address
from transport.messages import Member

FINISHED = ("settling", "left")
"""The states in which an agent trains no more."""

MAX_MEMBERS = 4095
"""Others that we remember: with ourselves, as many as one message may name."""

RUMOR_BYTES = 900_000
"""What one rumor may weigh: less than a header may (transport.wire.Limits)."""


@dataclass
class Seen:
    """The freshest word of a member, when it was heard, and whether the member counts as alive."""

    member: Member
    heard_s: float
    alive: bool

    @property
    def bytes(self) -> int:
        """At most what the member weighs in a rumor: names and numbers, and its own texts."""
        m = self.member
        return 300 + sum(len(text.encode()) for text in (m.agent, m.address, m.state, m.shard, m.task))


class Membership:
    """me: this agent's own record. silent_s: after how much silence a member is gone; sweep_s: how often we look."""

    def __init__(self, me: Member, *, silent_s: float, sweep_s: float) -> None:
        if silent_s <= 2 * sweep_s:
            raise ValueError(f"silent_s must exceed two sweeps: got {silent_s} and sweep_s {sweep_s}")
        self.me = me
        self._silent_s = silent_s
        self._sweep_s = sweep_s
        self._swept_s: float | None = None
        self._seen: dict[str, Seen] = {}
        self._told = 0

    def say(self, **changes: object) -> None:
        """Change what we say of ourselves; each change is a heartbeat."""
        self.me = replace(self.me, heartbeat=self.me.heartbeat + 1, **changes)  # type: ignore[arg-type]

    def hear(self, members: Iterable[Member], now: float) -> tuple[list[str], list[str]]:
        """Take in a rumor: the agents that are new or back, and those that left."""
        came, left = [], []
        for member in members:
            seen = self._seen.get(member.agent)
            if member.agent in ("", self.me.agent):
                continue
            if not is_address(member.address):
                member = replace(member, address="")
            if seen is not None and _age(member) <= _age(seen.member):
                seen.member = _addressed(seen.member, member)
                continue
            if seen is None and not self._make_room():
                continue
            if seen is not None:
                member = _addressed(member, seen.member)
            was_alive = seen is not None and seen.alive
            age_s = max(0.0, member.silent_s)
            alive = member.state != "left" and age_s <= self._silent_s
            self._seen[member.agent] = Seen(member, now - age_s, alive)
            if alive and not was_alive:
                came.append(member.agent)
            if was_alive and member.state == "left":
                left.append(member.agent)
        return came, left

    def sweep(self, now: float) -> list[str]:
        """The agents whose silence has just become too long."""
        if self._swept_s is not None and (stall := now - self._swept_s - 2 * self._sweep_s) > 0:
            for seen in self._seen.values():
                seen.heard_s = min(now, seen.heard_s + stall)
        self._swept_s = now
        gone = [agent for agent, seen in self._seen.items() if seen.alive and now - seen.heard_s > self._silent_s]
        for agent in gone:
            self._seen[agent].alive = False
        return gone

    def get(self, agent: str) -> Member | None:
        """The freshest word of an agent, alive or not."""
        seen = self._seen.get(agent)
        return seen.member if seen else None

    def silent_s(self, agent: str, now: float) -> float:
        """How long ago the freshest word of an agent was said, as far as we know; 0 for our own."""
        seen = self._seen.get(agent)
        return max(0.0, now - seen.heard_s) if seen else 0.0

    def is_alive(self, agent: str) -> bool:
        """Whether a fresh word of this agent was heard lately."""
        seen = self._seen.get(agent)
        return seen is not None and seen.alive

    def others(self) -> list[Member]:
        """The others that are alive, by id."""
        return [seen.member for _, seen in sorted(self._seen.items()) if seen.alive]

    def gone(self) -> list[Member]:
        """The others that are silent or have left, by id."""
        return [seen.member for _, seen in sorted(self._seen.items()) if not seen.alive]

    def ids(self) -> list[str]:
        """The ids of all that are alive, our own included, sorted: every agent's topology is laid over this list."""
        return sorted([self.me.agent, *(agent for agent, seen in self._seen.items() if seen.alive)])

    def rumor(self, now: float) -> tuple[Member, ...]:
        """All we know, to pass on, with its age: the gone as well, so that a newcomer can name who is missing.

        Where that is more than one message holds, as much as it does, going on next time where this one ended.
        """
        known = list(self._seen.values())
        start, room, chosen = self._told % max(1, len(known)), RUMOR_BYTES, [self.me]
        for seen in known[start:] + known[:start]:
            room -= seen.bytes
            if room < 0:
                break
            chosen.append(replace(seen.member, silent_s=max(0.0, now - seen.heard_s)))
        self._told = start + len(chosen) - 1
        return tuple(chosen)

    def all_finished(self) -> bool:
        """Whether everyone else that is alive trains no more."""
        return all(seen.member.state in FINISHED for seen in self._seen.values() if seen.alive)

    def _make_room(self) -> bool:
        """Whether one more can be remembered, forgetting whoever is gone for longest if need be."""
        if len(self._seen) < MAX_MEMBERS:
            return True
        gone = [(seen.heard_s, agent) for agent, seen in self._seen.items() if not seen.alive]
        if gone:
            del self._seen[min(gone)[1]]
        return bool(gone)


def _addressed(word: Member, other: Member) -> Member:
    """The word, with the address from the other if it lacks one: on some ways it isn't passed on (loopback)."""
    same = not word.address and word.incarnation == other.incarnation
    return replace(word, address=other.address) if same and other.address else word


def _age(member: Member) -> tuple[int, int]:
    return member.incarnation, member.heartbeat
