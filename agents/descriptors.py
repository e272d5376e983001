"""How many connections an agent may open and accept, by how many file descriptors its process may have."""

import math

from agents.protocol.limits import MAX_DIALED, MAX_ROUTES

PER_CONNECTION = 2
"""Descriptors of a connection that we open: its TCP socket, and ZeroMQ's signal for it."""

OPENED, ACCEPTED = 1 / 2, 1 / 4
"""Of the process's descriptors, for connections that we open and for those opened to us; the rest is for files."""


def dialable() -> int:
    """How many connections may be open that we opened: at most MAX_DIALED, and within the process's limit."""
    return int(min(MAX_DIALED, _limit() * OPENED / PER_CONNECTION))


def acceptable() -> int:
    """How many connections may be open that others opened: at most MAX_ROUTES, and within the process's limit."""
    return int(min(MAX_ROUTES, _limit() * ACCEPTED))


def _limit() -> float:
    try:
        import resource  # Not on Windows, where sockets are no file descriptors.
    except ImportError:
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if limit == resource.RLIM_INFINITY else limit
