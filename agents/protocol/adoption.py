"""How a late joiner gets its first vector: from any member that trains already.

From another if that one goes, sends too slowly, or has a vector that can't be used.
"""

import random
from collections.abc import Callable

from agents.protocol.events import NO_PEER, Effect, Send
from agents.protocol.membership import ABSENT, Membership
from agents.protocol.pull import Pulls
from agents.protocol.session import WINDOW
from transport.messages import AgentId, ConnectionId, Member

RETRY_S = 1.0
"""After a vector that can't be used, the next is asked for so much later."""

STALLED_S = 30.0
"""A donor that is alive and sends no window of pieces in so long, on average, is given up for another.

Twice as long for the next, as the network may be slow and not the donor: the bound is on the whole, not on each piece.
"""

MOST_DOUBLINGS = 10


class Adoption:
    """Chooses a member and pulls its vector, again from another if that fails.

    members: whom we know. pulls: those of this agent. route: finds a ready connection to a member. exchanged: how many
    of our chunks a member holds, from the first on, None for none; those that hold the most are asked first. counts:
    whether a member takes part in the exact finish as we see it.
    """

    def __init__(
        self,
        members: Membership,
        pulls: Pulls,
        route: Callable[[AgentId], ConnectionId | None],
        choose: random.Random,
        exchanged: Callable[[Member], int | None],
        counts: Callable[[Member], bool],
    ) -> None:
        self._members, self._pulls, self._route, self._random = members, pulls, route, choose
        self._exchanged, self._counts = exchanged, counts
        self._wanted, self._finished = False, ""
        self._avoided: set[AgentId] = set()
        self._stalls = 0
        self._not_before_s = 0.0

    def begin(self, now: float, instead_of: AgentId = NO_PEER, finished: str = "") -> list[Effect]:
        """Want a vector, and ask for the first pieces as soon as there is somebody to ask.

        instead_of: whose vector can't be used. The next is asked for RETRY_S later, of another agent if there is one.
        finished: the digest of the list of whose exact finish it must be the end, "" if that doesn't matter.
        """
        if instead_of:
            self._avoided.add(instead_of)
            self._not_before_s = now + RETRY_S
        else:
            self._avoided.clear()
            self._stalls, self._finished = 0, finished
            self._not_before_s = now
        return self._begin(now)

    def stop(self) -> list[Effect]:
        """Want no vector any longer; pieces that come still are ignored."""
        self._wanted, self._pulls.download = False, None
        return []

    def tick(self, now: float) -> list[Effect]:
        """Ask whoever is there; ask again for pieces that don't come; start anew if the donor is gone or mute."""
        download = self._pulls.download
        if download is None:
            return self._ask(now) if self._wanted else []
        windows = 1 + len(download.have) // WINDOW
        stalled = now - download.began_s >= windows * STALLED_S * 2 ** min(self._stalls, MOST_DOUBLINGS)
        if stalled:
            self._stalls += 1
            self._avoided.add(download.agent)
        if stalled or not self._has_ours(download.agent):
            return self._begin(now)
        connection = self._route(download.agent)
        pull = download.ask(now) if connection else None
        return [Send(connection, pull)] if connection and pull else []

    def _is_ahead(self, member: Member) -> bool:
        """Whether a member has a vector that we want: of an exact finish, one that has trained may have another."""
        if not self._finished:
            return member.report.step > 0
        return member.report.finished == self._finished and self._counts(member)

    def _has_ours(self, donor: AgentId) -> bool:
        """Whether a donor is alive, and still holds what we want: it may have gone to another subnetwork."""
        member = self._members.get(donor)
        return member is not None and self._members.is_alive(donor) and self._members.holds_ours(member)

    def _begin(self, now: float) -> list[Effect]:
        self._wanted, self._pulls.download = True, None
        return self._ask(now)

    def _ask(self, now: float) -> list[Effect]:
        if now < self._not_before_s:
            return []
        there = (member for member in self._members.met() if member.state not in ABSENT)
        ahead = [member for member in there if self._is_ahead(member) and self._members.holds_ours(member)]
        reachable = [
            (member, connection, held)
            for member in ahead
            if (connection := self._route(member.agent)) and (held := self._exchanged(member))
        ]
        if not reachable:
            return []
        others = [each for each in reachable if each[0].agent not in self._avoided] or reachable
        most = max(held for *_, held in others)
        member, connection, held = self._random.choice([each for each in others if each[2] == most])
        self._wanted = False
        return self._pulls.begin(member.agent, connection, now, held)
