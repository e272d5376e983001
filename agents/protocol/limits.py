"""Limits of the protocol that observers and the budget of file descriptors use as well."""

MAX_ROUTES = 4096
"""Connections opened to us that we remember; beyond it the one silent for longest is forgotten."""

MAX_DIALED = 512
"""Connections we open, a socket each; beyond it the one silent for longest makes room, if it is so for DIALED_S of
`handshake`.

Fewer where the process may have few descriptors.
"""

EXACT_S = 30.0
"""For how long a pass of the exact finish may show no progress, once everyone has trained."""

MAX_FINISHING = 64
"""Beyond so many members, agents finish by gossip alone."""

KEPT = 4
"""Sketches of one agent, the last ones: of these others find one of the step that they compare."""

LOOK_S = 0.25
"""To the same connection sketches are sent not more often."""
