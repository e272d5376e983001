"""The zero-sum exchange of one chunk (DESIGN 1.2), as pure functions of arrays of any namespace.

    i -> j   offer    s  = decode(encode(theta_i))       both sides know s
    j -> i   answer   d  = decode(encode(theta_j - s))   both sides know d
    i: close          theta_i + (1 - alpha) * share_i * d
    j: concede        theta_j - (1 - alpha) * share_j * d

Both add the same d, so w_i theta_i + w_j theta_j stays what it was, whatever happened between offer and close.
With alpha = 1/2, equal weights and nothing in between, both end at the mean of the two.
"""

from typing import Any

Array = Any  # of whichever namespace x.__array_namespace__() names


def shares(weight_i: float, weight_j: float) -> tuple[float, float]:
    """(initiator's, responder's): 2 w_j / (w_i + w_j) and 2 w_i / (w_i + w_j); both 1 for equal weights."""
    total = weight_i + weight_j
    return 2 * weight_j / total, 2 * weight_i / total


def difference(theta: Array, offered: Array, out: Array | None = None) -> Array:
    """What the responder answers: how far it stands from the offer. theta, offered: (chunk,).

    out: (chunk,), where to write it, may be `offered`; for namespaces whose arrays can be written to.
    """
    return theta - offered if out is None else theta.__array_namespace__().subtract(theta, offered, out=out)


def step(difference: Array, alpha: float, share: float = 1.0) -> Array:
    """How far a side moves: the initiator by this, the responder by this the other way. difference: (chunk,)."""
    return ((1 - alpha) * share) * difference


def close(theta: Array, difference: Array, alpha: float, share: float = 1.0) -> Array:
    """Move the initiator toward its peer by the difference both sides know. theta, difference: (chunk,)."""
    return theta + step(difference, alpha, share)


def concede(theta: Array, difference: Array, alpha: float, share: float = 1.0) -> Array:
    """Move the responder by what `close` gives the initiator, the other way. theta, difference: (chunk,)."""
    return theta - step(difference, alpha, share)
