"""What an observer fails with: nobody answers, or a vector does not come."""

from collections.abc import Iterable

from topology.errors import GossamerError


class Unreachable(GossamerError, ConnectionError):
    """No agent answered at the addresses given, or those that did refused us."""

    code = "G303"


class NoVector(GossamerError, RuntimeError):
    """An agent's vector could not be had; the message holds the reason."""

    code = "G305"


def nobody_at(addresses: Iterable[str], timeout_s: float) -> str:
    """The error where no agent answered at these addresses: what was expected, and what to do."""
    return (
        f"nobody answered at {', '.join(addresses)} within {timeout_s:g} s: expected an agent of a running swarm there;"
        " check the address that `agent run` prints, and that a firewall lets its port through. What the agents of an "
        "ended swarm saved, `agent consensus RUN_DIR ...` assembles"
    )
