"""What a codec is: a two-sided scheme by which both sides of an exchange come to know the same difference."""

from collections.abc import Callable
from typing import Any, NamedTuple

from topology.errors import GossamerError

Array = Any

Shapes = tuple[tuple[int, int], ...]
"""Rows and columns of the matrices that make up a chunk, one after the other; 1 and n for a vector."""


class CodecError(GossamerError, ValueError):
    """A payload is not what this codec sends: the peer's fault, and nothing is applied."""

    code = "G308"


def none(size: int) -> int:
    """How much a codec without state keeps."""
    return 0


def nothing(theta: Array) -> tuple[()]:
    """The state of a codec that has none."""
    return ()


def unchanged(state: Any, answered: Any, theta: Array, began: Any) -> Any:
    """What a codec without state learns."""
    return state


def sized(payload: Any, expected: int) -> memoryview:
    """The bytes of a payload that must be so long. Raises CodecError."""
    found: memoryview = memoryview(payload).cast("B")
    if len(found) != expected:
        raise CodecError(f"expected a chunk of {expected} bytes, got {len(found)}: the peer trains another model")
    return found


def as_it_is(shapes: Shapes) -> None:
    """What a codec becomes that needs no shapes."""


class Codec(NamedTuple):
    """The pure functions of one codec; what is sent is a code, whose form is the codec's own.

    offer(theta, state) -> code: of the initiator's theta (..., n), what the responder needs.
    answer(theta, offered, out) -> code: of the responder's, what the initiator needs. out: memory it may use, or None.
    difference(offered, answered, n) -> (..., n): theta_j - theta_i as both sides know it, the same bits on both.
    pack(code) -> bytes-like, without a copy where possible. unpack(payload, n), unpack_answer(payload, n) -> the code
        of an offer and of an answer, CodecError if it isn't one.
    size(n) -> bytes of the payloads of an offer and of an answer; on average, where exchanges take turns.
    needs_offer: whether `difference` reads the offer. If so, the initiator keeps what it offered until it is answered.
    keeps(n): how many float32 each agent of its own keeps for a chunk, whoever it exchanges with.
    begin(theta) -> state: these at first, (..., keeps(n)); () for nothing.
    learn(state, answered, theta, began) -> state: after an exchange, on both sides, which left this side at theta.
        began: whether it was the initiator, bool (...,). The state only makes later offers better: the two sides of an
        exchange need not have the same.
    fitted(shapes) -> Codec: the same for a chunk of these matrices, None if it makes no difference; see `on`.
    """

    name: str
    offer: Callable[[Array, Any], Any]
    answer: Callable[[Array, Any, Array | None], Any]
    difference: Callable[[Any, Any, int], Array]
    pack: Callable[[Any], Any]
    unpack: Callable[[Any, int], Any]
    unpack_answer: Callable[[Any, int], Any]
    size: Callable[[int], tuple[float, float]]
    needs_offer: bool = True
    keeps: Callable[[int], int] = none
    begin: Callable[[Array], Any] = nothing
    learn: Callable[[Any, Any, Array, Any], Any] = unchanged
    fitted: Callable[[Shapes], Any] = as_it_is

    def on(self, shapes: Shapes) -> "Codec":
        """The codec for chunks that are made up of such matrices."""
        return self.fitted(shapes) or self
