"""The formulas of one exchange, for arrays of any namespace (DESIGN 1.2).

    i -> j   offer    o = codec.offer(theta_i, state_i)
    j -> i   answer   a = codec.answer(theta_j, o)
    both     d = codec.difference(o, a, n)                       the same bits on both sides
             s = clip(|d|, both radii)                        the responder computes it, the answer carries it
    i:  theta_i += s r_i * d      j:  theta_j -= s r_j * d    r = rate(alpha, own weight, the other's, damping)

Both sides add the same s d, so w_i theta_i + w_j theta_j stays what it was, whatever happened between offer and answer,
however coarse the codec is and however much was clipped. With alpha = 1/2, equal weights and nothing in between, both
end at the mean of the two. Live agents, the virtual network, replay and the compiled simulator all call these functions
(invariant 8).
"""

from typing import Any

from agents.mixing.codecs import FLOAT32, Codec

Array = Any  # of whichever namespace x.__array_namespace__() names

EXACT = FLOAT32.name
"""The codec that rounds nothing: all speak it in the exact finish, whatever the run's is."""

OVERLAP = 0.5
"""Damping of an exchange whose responder waits for the answer to an offer of its own (docs/theory.md 30)."""

BLOCK = 1 << 15
"""Coordinates moved at a time where memory is given: 128 KiB stay in a processor's cache between two passes."""


def rate(alpha: Any, own: Any, other: Any, damping: Any = 1.0) -> Any:
    """How far one side of an exchange moves along the difference: damping (1 - alpha) * 2 w_other / (w_own + w_other).

    alpha in [0, 1]; weights >= 0, of a finite sum; damping in (0, 1], the same on both sides; numbers or arrays.
    damping * (1 - alpha) for equal weights, 0 and 0 among them.
    Who weighs nothing takes over what the other holds and moves it by nothing: it goes all the way at most, as no mean
    depends on it and beyond is not nearer.
    """
    nobody = own + other == 0
    moves = damping * ((1 - alpha) * (2 * ((other + nobody) / (own + other + 2 * nobody))))
    return moves - (own == 0) * (moves > 1) * (moves - 1)


def clip(norm: float, *radii: float) -> float:
    """The scale, in (0, 1], at which both sides apply a difference of this norm: its norm is at most the least radius.

    radii: of the two sides, in the units of theta; 0 where a side sets none.
    """
    radius = min((radius for radius in radii if radius > 0), default=norm)
    return radius / norm if norm > radius else 1.0


def answer(codec: Codec, theta: Array, offered: Any, out: Array | None = None) -> tuple[Any, Array]:
    """The responder's answer to an offer, and the difference d that both sides then know.

    theta: (..., n). offered: as `codec.offer` made it. out: (n,), memory that the codec may use for its answer; it may
    be the offer's own, which is then gone, where `codec.difference` doesn't need the offer.
    """
    answered = codec.answer(theta, offered, out)
    return answered, codec.difference(offered, answered, theta.shape[-1])


def difference(codec: Codec, theta_i: Array, theta_j: Array, state: Any = ()) -> tuple[Any, Array]:
    """The answer and the difference d of an exchange of an initiator at theta_i and a responder at theta_j: (..., n).

    state: what the codec keeps at the initiator.
    """
    return answer(codec, theta_j, codec.offer(theta_i, state))


def apply(theta: Array, rate: Any, difference: Array, out: Array | None = None) -> Array:
    """theta + rate * difference: one side's step, the responder's with its rate negated. theta, difference: (..., n).

    out: (n,), where to write it, may be theta; for namespaces whose arrays can be written to.
    """
    if out is None:
        return theta + rate * difference
    xp = theta.__array_namespace__()
    scratch = xp.empty(min(BLOCK, theta.size), dtype=theta.dtype)
    for start in range(0, theta.size, BLOCK):
        part = slice(start, start + BLOCK)
        step = xp.multiply(difference[part], rate, out=scratch[: theta[part].size])
        xp.add(theta[part], step, out=out[part])
    return out
