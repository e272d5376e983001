"""How a late joiner gets its first vector: from any member that trains already, and from another if that one goes."""

import random
from collections.abc import Callable

from agents.protocol.events import Effect, Send
from agents.protocol.membership import ABSENT, Membership
from agents.protocol.pull import Pulls
from transport.messages import AgentId, ConnectionId


class Adoption:
    """members: whom we know. pulls: those of this agent. route: finds a ready connection to a member."""

    def __init__(
        self,
        members: Membership,
        pulls: Pulls,
        route: Callable[[AgentId], ConnectionId | None],
        choose: random.Random,
    ) -> None:
        self._members, self._pulls, self._route, self._random = members, pulls, route, choose
        self._wanted = False

    def begin(self, now: float) -> list[Effect]:
        """Want a vector, and ask for the first pieces as soon as there is somebody to ask."""
        self._wanted, self._pulls.download = True, None
        return self._ask(now)

    def tick(self, now: float) -> list[Effect]:
        """Ask whoever is there; repeat a request for pieces that don't come; start anew if their owner is gone."""
        download = self._pulls.download
        if download is None:
            return self._ask(now) if self._wanted else []
        if not self._members.is_alive(download.agent):
            return self.begin(now)
        connection = self._route(download.agent)
        pull = download.ask(now) if connection else None
        return [Send(connection, pull)] if connection and pull else []

    def _ask(self, now: float) -> list[Effect]:
        ahead = [member for member in self._members.others() if member.report.step > 0 and member.state not in ABSENT]
        reachable = [(member, connection) for member in ahead if (connection := self._route(member.agent))]
        if not reachable:
            return []
        member, connection = self._random.choice(reachable)
        self._wanted = False
        return self._pulls.begin(member.agent, connection, now)
