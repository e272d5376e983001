"""What a codec is: a two-sided scheme by which both sides of an exchange come to know the same difference."""

from collections.abc import Callable
from typing import Any, NamedTuple

from topology.errors import GossamerError

Array = Any


class CodecError(GossamerError, ValueError):
    """A payload is not what this codec sends: the peer's fault, and nothing is applied."""

    code = "G308"


class Codec(NamedTuple):
    """The pure functions of one codec; what is sent is a code, whose form is the codec's own.

    offer(theta) -> code: of the initiator's theta (n,), what the responder needs.
    answer(theta, offered, out) -> code: of the responder's, what the initiator needs. out: memory it may use, or None.
    difference(offered, answered) -> (n,): theta_j - theta_i as both sides know it, bit for bit the same on both.
    pack(code) -> bytes-like, without a copy where possible; unpack(payload, n) -> code, CodecError if it isn't one.
    needs_offer: whether `difference` reads the offer. If so, the initiator keeps what it offered until it is answered.
    """

    name: str
    offer: Callable[[Array], Any]
    answer: Callable[[Array, Any, Array | None], Any]
    difference: Callable[[Any, Any], Array]
    pack: Callable[[Any], Any]
    unpack: Callable[[Any, int], Any]
    needs_offer: bool = True
