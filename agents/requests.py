"""Requests of whoever runs the swarm that come over the network: to save and to leave, from the same machine alone."""

import logging
from collections.abc import Callable

from transport.addresses import is_loopback
from transport.link import Link
from transport.messages import ConnectionId, Refuse

log = logging.getLogger("gossamer")


class StopRequests:
    """What an agent that listens on `link` does with one. stop: called if it is taken, by the network thread.

    Nobody has proved who they are, so only a connection counts that can't lead to another machine: one that was opened
    to us where loopback alone can reach us, or that we opened to a loopback address. Whoever is on this machine could
    end the process as well; a tunnel that ends on loopback counts as this machine.
    """

    def __init__(self, link: Link, stop: Callable[[], None]) -> None:
        self._link, self._stop = link, stop
        self._taken = False

    def __call__(self, connection: ConnectionId) -> bool:
        """A request came on this connection: whether to pass it on to all peers, as with the first that is taken."""
        if not is_loopback(self._link.address if connection.startswith("route:") else connection):
            self._link.send(connection, Refuse("stop", "a request from the same machine", "one from the network"))
            return False
        if self._taken:
            return False
        self._taken = True
        log.info("asked to stop, by `agent stop`")
        self._stop()
        return True
