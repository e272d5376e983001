"""Connections that others opened to our ROUTER: names, origins and keys of each, and an end where a key is removed."""

import contextlib
from collections.abc import Collection

import zmq

from transport.accepted import Accepted, peer_of, shut
from transport.addresses import key_of
from transport.credentials import Credentials
from transport.messages import ConnectionId, Enroll, Message

MAX_CLIENTS = 4096
"""Connections of which the socket and the origin are known; one that reconnects is another."""


class Clients:
    """The connections that were opened to us: their names, the keys behind them, and where they come from.

    accepted: which of them are open.
    """

    def __init__(self, credentials: Credentials | None, accepted: Accepted) -> None:
        self._credentials, self._accepted = credentials, accepted
        self._descriptors: dict[ConnectionId, tuple[int, object]] = {}
        self._origins: dict[ConnectionId, str] = {}

    def named(self, route: str, frame: zmq.Frame) -> ConnectionId | None:
        """The connection on which this frame came; None if its key was removed since it was opened."""
        descriptor = int(frame.get(zmq.SRCFD))
        if self._credentials is None or self._credentials.shared:
            self._accepted.received(descriptor, "")
            return self._remembered(ConnectionId(f"route:{route}"), frame)
        key = str(frame.get("User-Id"))
        if not self._credentials.knows(key) and not self._credentials.invites(key):
            return None
        self._accepted.received(descriptor, key)
        connection = ConnectionId(f"route:{route}#{key}")
        if connection not in self._descriptors:
            if len(self._descriptors) >= MAX_CLIENTS:
                self._descriptors.clear()
            self._descriptors[connection] = descriptor, peer_of(descriptor)
        return self._remembered(connection, frame)

    def takes(self, connection: ConnectionId, message: Message) -> bool:
        """Whether this message may come on this connection: who holds an invitation may do nothing but enroll."""
        invited = self._credentials is not None and self._credentials.invites(key_of(connection))
        return isinstance(message, Enroll) == invited

    def origin(self, connection: ConnectionId) -> str:
        """The address of the host that opened this connection; its name where that isn't known."""
        return self._origins.get(connection, connection)

    def _remembered(self, connection: ConnectionId, frame: zmq.Frame) -> ConnectionId:
        if connection not in self._origins:
            if len(self._origins) >= MAX_CLIENTS:
                self._origins.clear()
            with contextlib.suppress(zmq.ZMQError):  # It has closed meanwhile.
                self._origins[connection] = str(frame.get("Peer-Address"))
        return connection

    def shut(self, removed: Collection[str]) -> None:
        """End those of these keys, if a descriptor still leads where it did: ZeroMQ has no call for it."""
        for connection in [each for each in self._descriptors if key_of(each) in removed]:
            shut(*self._descriptors.pop(connection))
