"""The memory that messages take: glibc keeps what they free, what came is sent again without a copy, and what nobody
reads is bounded.
"""

import ctypes
import os
from collections import deque
from functools import cache
from typing import Any

import zmq

from transport.messages import ConnectionId

LARGE = 65536
"""Bytes from which on a message isn't copied to be sent, but sent from where it lies."""

QUEUES = 4
"""Pieces of vectors that wait for their peers to read them, in all, in queues of one slow peer."""


@cache
def keep_freed_memory() -> None:
    """Let glibc keep the megabytes that messages free, up to 128 of them, instead of giving them back at once.

    Otherwise each chunk costs 256 page faults where it arrives: swaps of 100 MB measured 1.4 times slower.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def nbytes(frame: Any) -> int:
    """The size of a frame, or of any buffer."""
    return len(frame) if type(frame) is bytes else memoryview(frame).nbytes


def lasting_frame(memory: Any) -> Any:
    """A frame over memory that is sent again and again and stays where it is; its content may change.

    ZeroMQ says of each other large buffer when it is done with it, to a thread of pyzmq's: 60 us of a core each time.
    """
    return zmq.Frame(memory, copy=False)


def received_frame(payload: Any) -> Any:
    """The frame that this payload is or fills, one that came to us: ZeroMQ sends it without a copy or a wait."""
    owner = payload
    while owner is not None and not isinstance(owner, zmq.Frame):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return payload if owner is None or len(owner) != nbytes(payload) else owner


class Unread:
    """Large messages that were sent and that ZeroMQ still holds, as their peers don't read: `most` of them in all.

    A connection may hold as many as are free (Choudhury and Hahne, 1998): one that never reads gets half, n of them
    leave an n-th of it to each other, and so always some to whoever reads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[ConnectionId, deque[zmq.MessageTracker]] = {}

    def has_room(self, connection: ConnectionId) -> bool:
        """Whether one more may be sent on this connection."""
        for each, held in list(self._held.items()):
            while held and held[0].done:
                held.popleft()
            if not held:
                del self._held[each]
        free = self._most - sum(map(len, self._held.values()))
        return len(self._held.get(connection, ())) < free

    def add(self, connection: ConnectionId, sent: zmq.MessageTracker | None) -> None:
        """One has been sent; None: something else has."""
        if sent is not None:
            self._held.setdefault(connection, deque()).append(sent)
