"""How many connections an agent may open, by how many file descriptors its process may have."""

import math

from agents.protocol.handshake import MAX_DIALED

PER_CONNECTION = 2
"""Descriptors of a connection that we open: its TCP socket, and ZeroMQ's signal for it."""

SHARE = 1 / 2
"""Of the process's descriptors, for connections that we open; the rest is for those opened to us, and for files."""


def dialable() -> int:
    """How many connections may be open that we opened: at most MAX_DIALED, and within the process's limit."""
    try:
        import resource  # Not on Windows, where sockets are no file descriptors.
    except ImportError:
        return MAX_DIALED
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        MAX_DIALED if limit == resource.RLIM_INFINITY else min(MAX_DIALED, math.floor(limit * SHARE / PER_CONNECTION))
    )
