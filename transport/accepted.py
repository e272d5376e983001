"""How many connections may be opened to us: beyond that each new one ends another. ZeroMQ has no such limit.

One ends of the host, or the key, that has the most of them: the first on which nothing ever came, or else the one that
is silent for longest. So whoever opens thousands loses its own, and others keep theirs.
"""

import contextlib
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any


@dataclass
class Open:
    """One connection. owner: the host it comes from, or the key that it has proved to have. peer: its other end.

    received_s: when something last came on it, None for never.
    """

    owner: str
    peer: Any
    received_s: float | None = None


class Accepted:
    """The connections that are open to us, by their file descriptors: `most` at a time.

    ZeroMQ's thread tells who comes and goes through one thread of ours, another reads: both may call at any time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[int, Open] = {}
        self._lock = threading.Lock()

    def opened(self, descriptor: int) -> None:
        """A connection has been opened; another ends if there are too many."""
        peer = peer_of(descriptor)
        if peer is None:
            return  # It has closed meanwhile.
        with self._lock:
            self._open.pop(descriptor, None)
            if len(self._open) >= self._most:
                self._end_one()
            self._open[descriptor] = Open(str(peer[0]) if isinstance(peer, tuple) else "", peer)

    def closed(self, descriptor: int) -> None:
        """A connection has ended."""
        with self._lock:
            self._open.pop(descriptor, None)

    def received(self, descriptor: int, key: str) -> None:
        """Note that a message came on a connection. key: the one that its peer has proved to own, "" without keys."""
        connection = self._open.get(descriptor)
        if connection is not None:
            connection.received_s = time.monotonic()
            connection.owner = key or connection.owner

    def _end_one(self) -> None:
        """End one of those that have the most: mute ones first, in the order in which they came."""
        ((owner, _),) = Counter(each.owner for each in self._open.values()).most_common(1)
        theirs = [(each.received_s or 0.0, number) for number, each in self._open.items() if each.owner == owner]
        _, descriptor = min(theirs, key=lambda each: each[0])
        shut(descriptor, self._open.pop(descriptor).peer)


def peer_of(descriptor: int) -> Any:
    """The address at the other end of a socket of ZeroMQ's; None if there is none any more."""
    try:
        ours = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        return ours.getpeername()
    except OSError:
        return None
    finally:
        ours.detach()  # It stays ZeroMQ's, and no other descriptor is needed: there may be none left.


def shut(descriptor: int, peer: Any) -> None:
    """End a connection of ZeroMQ's, which has no call for it, if its descriptor still leads where it did."""
    if peer is None or peer_of(descriptor) != peer:
        return
    with contextlib.suppress(OSError):
        ours = socket.socket(fileno=descriptor)
        try:
            ours.shutdown(socket.SHUT_RDWR)
        finally:
            ours.detach()
