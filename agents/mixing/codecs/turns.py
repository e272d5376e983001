"""Two codecs in turn: exchanges in the usual one, and each Nth that an agent begins in another, which carries all.

The offer and the answer end in a byte that names the one. Each of the two keeps its own state, and learns of its own
exchanges. An agent counts those that it begins, so its share of whole exchanges is as set, however few it begins.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from agents.mixing.codecs.codec import Array, Codec, CodecError


class Turn(NamedTuple):
    """whole: bool (...,), which codec's turn it is. codes: of the two; None of the other one where it is known here."""

    whole: Array
    codes: tuple[Any, Any]


def turns(usual: Codec, whole: Codec, every: int, name: str) -> Codec:
    """The codec of which each so many-th exchange is in `whole`, and all others are in `usual`."""
    both = usual, whole

    def kept(state: Array, size: int) -> list[Any]:
        """What each of the two keeps."""
        first, second = (codec.keeps(size) for codec in both)
        return [state[..., 1 : 1 + first] if first else (), state[..., 1 + first :] if second else ()]

    def joined(turn: Array, states: list[Any]) -> Array:
        return turn.__array_namespace__().concatenate(
            [turn, *(state for state in states if not isinstance(state, tuple))], axis=-1
        )

    def begin(theta: Array) -> Array:
        turn = theta.__array_namespace__().zeros((*theta.shape[:-1], 1), np.float32)
        return joined(turn, [codec.begin(theta) for codec in both])

    def offer(theta: Array, state: Array) -> Turn:
        states = kept(state, theta.shape[-1])
        return _each(state[..., 0] == np.float32(every - 1), lambda k: both[k].offer(theta, states[k]))

    def answer(theta: Array, offered: Turn, out: Array | None) -> Turn:
        return _each(offered.whole, lambda k: both[k].answer(theta, offered.codes[k], None))

    def difference(offered: Turn | None, answered: Turn, size: int) -> Array:
        def of(k: int) -> Array:
            if both[k].needs_offer and (offered is None or offered.codes[k] is None):
                raise CodecError(f"an answer in {both[k].name} to an offer in {both[1 - k].name}")
            return both[k].difference(offered and offered.codes[k], answered.codes[k], size)

        return _one(_each(answered.whole, of), answered.whole)

    def learn(state: Array, answered: Turn, theta: Array, began: Any) -> Array:
        xp, states = theta.__array_namespace__(), kept(state, theta.shape[-1])
        turn = (state[..., :1] + xp.asarray(began)[..., None].astype(np.float32)) % np.float32(every)

        def of(k: int) -> Any:
            return both[k].learn(states[k], answered.codes[k], theta, began)

        after = _each(answered.whole, of).codes
        for k, its in enumerate((~answered.whole, answered.whole)):
            if after[k] is not None and not isinstance(states[k], tuple):
                states[k] = xp.where(its[..., None], after[k], states[k])
        return joined(turn, states)

    def pack(code: Turn) -> bytes:
        which = int(code.whole)
        return b"".join((memoryview(both[which].pack(code.codes[which])).cast("B"), bytes([which])))

    def unpack(kind: str, payload: Any, size: int) -> Turn:
        payload = memoryview(payload).cast("B")
        if not len(payload) or payload[-1] > 1:
            raise CodecError("expected a chunk of bytes that end in 0 or 1, the number of its codec: got another end")
        which = int(payload[-1])
        code = getattr(both[which], kind)(payload[:-1], size)
        return Turn(np.bool_(which), (None, code) if which else (code, None))

    def size(size: int) -> tuple[float, float]:
        (offer, answer), (last_offer, last_answer) = usual.size(size), whole.size(size)
        return 1 + offer + (last_offer - offer) / every, 1 + answer + (last_answer - answer) / every

    return Codec(
        name,
        offer,
        answer,
        difference,
        pack,
        partial(unpack, "unpack"),
        partial(unpack, "unpack_answer"),
        size,
        usual.needs_offer or whole.needs_offer,
        lambda n: 1 + usual.keeps(n) + whole.keeps(n),
        begin,
        learn,
        lambda shapes: turns(usual.on(shapes), whole.on(shapes), every, name),
    )


def _each(whole: Array, of: Callable[[int], Any]) -> Turn:
    """What both codecs make, where the turn is known to the device alone, or differs; else what its own does."""
    if isinstance(whole, np.ndarray | np.bool_) and whole.ndim == 0:
        return Turn(np.bool_(whole), (None, of(1)) if whole else (of(0), None))
    return Turn(whole, (of(0), of(1)))


def _one(found: Turn, whole: Array) -> Array:
    """Of two differences that of the codec whose turn it is."""
    usual, other = found.codes
    if usual is None or other is None:
        return other if usual is None else usual
    return whole.__array_namespace__().where(whole[..., None], other, usual)
