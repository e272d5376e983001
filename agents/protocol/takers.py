"""Who takes this agent's whole vector, for the operator's log, and whether it was taken after the end. Sans-IO."""

from agents.protocol.events import Effect, Notice
from agents.protocol.membership import FINISHED, Membership
from transport.messages import AgentId, ConnectionId, Pull

MAX_TAKERS = 256
"""Connections whose last request is remembered."""


class Takers:
    """members: whom we know. chunks: of our vector."""

    def __init__(self, members: Membership, chunks: int) -> None:
        self._members, self._chunks = members, chunks
        self._requests: dict[ConnectionId, int] = {}
        self._new: dict[ConnectionId, Notice] = {}
        self.taken = False
        """Whether somebody has asked for the last of our vector since everyone had finished: all before has come."""

    def on_pull(self, connection: ConnectionId, agent: AgentId, pull: Pull) -> None:
        """A request for pieces of our vector, from an agent or, under no name, an observer."""
        last = 0 <= pull.first < self._chunks <= pull.first + pull.count
        if last and self._members.me.state in FINISHED and self._members.all_finished():
            self.taken = True
        if self._requests.get(connection) == pull.request:
            return
        if len(self._requests) >= MAX_TAKERS:
            self._requests.clear()
            self._new.clear()
        self._requests[connection] = pull.request
        who = agent or "an observer"
        self._new[connection] = Notice(f"{who} takes our whole vector ({connection})", "pulled", connection, agent)

    def tick(self) -> list[Effect]:
        """A notice for each that began to take our vector."""
        new, self._new = self._new, {}
        return list(new.values())
