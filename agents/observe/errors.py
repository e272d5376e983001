"""What an observer fails with: nobody answers, or a vector does not come."""

from topology.errors import GossamerError


class Unreachable(GossamerError, ConnectionError):
    """No agent answered at the addresses given, or those that did refused us."""

    code = "G303"


class NoVector(GossamerError, RuntimeError):
    """An agent's vector could not be had; the message holds the reason."""

    code = "G305"
