"""A share of a chunk in each exchange: one of N segments, in turn, in another codec; an Nth of the bytes.

Segment k is the kth of N stretches of coordinates of one length, behind the last of which zeros are thought. An agent
counts the exchanges that it begins; over N of them each segment has its turn once, in an order that begins elsewhere in
each N, so that no neighbor always gets the same ones. The offer and the answer name the segment, so both sides know it.
The difference is 0 everywhere else, so an exchange is zero-sum as any other.

A segment is exchanged an Nth as often, so agents are as far apart as if all exchanges were N times as rare, for the
same bytes; but each exchange is short, and what is trained in one place soon meets something of all others.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from agents.mixing.codecs.codec import Array, Codec, CodecError, sized

CYCLES = 4096
"""Of N exchanges, which are counted before the count begins anew: float32 holds it exactly."""


class Segment(NamedTuple):
    """which: uint8 (...,). code: of the other codec, about this segment alone."""

    which: Array
    code: Any


def segments(inner: Codec, count: int, name: str) -> Codec:
    """The codec that exchanges one of so many segments at a time, in the inner one."""
    each = partial(_each, count)

    def size(size: int) -> tuple[float, float]:
        offer, answer = inner.size(each(size))
        return offer + 1, answer + 1

    def begin(theta: Array) -> Array:
        xp, parts = theta.__array_namespace__(), _parts(theta, count)
        turn = xp.zeros((*theta.shape[:-1], 1), np.float32)
        if not inner.keeps(parts.shape[-1]):
            return turn
        return xp.concatenate([turn, inner.begin(parts).reshape(*theta.shape[:-1], -1)], axis=-1)

    def kept(state: Array, which: Array, size: int) -> Any:
        """What the inner codec keeps of this segment."""
        return _taken(_rows(state, count), which) if inner.keeps(each(size)) else ()

    def offer(theta: Array, state: Array) -> Segment:
        which = _which(state[..., 0], count)
        return Segment(which, inner.offer(_segment(theta, which, count), kept(state, which, theta.shape[-1])))

    def answer(theta: Array, offered: Segment, out: Array | None) -> Segment:
        return Segment(offered.which, inner.answer(_segment(theta, offered.which, count), offered.code, None))

    def difference(offered: Segment | None, answered: Segment, size: int) -> Array:
        found = inner.difference(offered and offered.code, answered.code, each(size))
        return _placed(found, answered.which, count)[..., :size]

    def learn(state: Array, answered: Segment, theta: Array, began: Any) -> Array:
        xp, which = theta.__array_namespace__(), answered.which
        began = xp.asarray(began)
        turn = (state[..., :1] + began[..., None].astype(np.float32)) % np.float32(CYCLES * count)
        before = kept(state, which, theta.shape[-1])
        if isinstance(before, tuple):
            return turn
        after = inner.learn(before, answered.code, _segment(theta, which, count), began)
        chosen = _is_it(which, count)[..., None]
        rows = xp.where(chosen, after[..., None, :], _rows(state, count))
        return xp.concatenate([turn, rows.reshape(*theta.shape[:-1], -1)], axis=-1)

    def pack(code: Segment) -> bytes:
        return b"".join((memoryview(inner.pack(code.code)).cast("B"), bytes([int(code.which)])))

    def unpack(kind: int, payload: Any, n: int) -> Segment:
        payload = sized(payload, int(size(n)[kind]))
        which = np.array(payload[-1], np.uint8)
        if which >= count:
            raise CodecError(f"expected the number of a segment below {count}: got {which}")
        return Segment(which, (inner.unpack, inner.unpack_answer)[kind](payload[:-1], each(n)))

    return Codec(
        name,
        offer,
        answer,
        difference,
        pack,
        partial(unpack, 0),
        partial(unpack, 1),
        size,
        inner.needs_offer,
        lambda n: 1 + count * inner.keeps(each(n)),
        begin,
        learn,
    )


def _each(count: int, size: int) -> int:
    """Coordinates of a segment."""
    return -(-size // count)


def _which(turn: Array, count: int) -> Array:
    """The segment whose turn it is: uint8, of a float32 count of exchanges."""
    turn = turn[..., None].astype(np.uint32)  # Not a number, whose overflow NumPy would warn of.
    first = ((turn // np.uint32(count)) * np.uint32(0x9E3779B9)) >> np.uint32(16)  # Another in each cycle.
    return ((turn + first) % np.uint32(count)).astype(np.uint8)[..., 0]


def _is_it(which: Array, count: int) -> Array:
    """Which of all segments it is: bool (..., count)."""
    xp = which.__array_namespace__()
    return xp.arange(count, dtype=np.uint8).reshape((1,) * which.ndim + (count,)) == which[..., None]


def _parts(theta: Array, count: int) -> Array:
    """(..., n) as (..., count, m), with zeros behind the end."""
    xp, missing = theta.__array_namespace__(), count * _each(count, theta.shape[-1]) - theta.shape[-1]
    if missing:
        theta = xp.concatenate([theta, xp.zeros((*theta.shape[:-1], missing), theta.dtype)], axis=-1)
    return theta.reshape(*theta.shape[:-1], count, -1)


def _rows(state: Array, count: int) -> Array:
    return state[..., 1:].reshape(*state.shape[:-1], count, -1)


def _taken(rows: Array, which: Array) -> Array:
    """One of the rows (..., count, m) of each."""
    if isinstance(rows, np.ndarray) and which.ndim == 0:
        row: Array = rows[int(which)]
        return row
    xp = rows.__array_namespace__()
    return xp.take_along_axis(rows, which.astype(np.int32)[..., None, None], axis=-2)[..., 0, :]


def _segment(theta: Array, which: Array, count: int) -> Array:
    """(..., m): of one vector in NumPy without touching the rest, and without a copy but for the last."""
    if isinstance(theta, np.ndarray) and theta.ndim == 1:
        each = _each(count, theta.size)
        found = theta[int(which) * each : (int(which) + 1) * each]
        return found if found.size == each else np.pad(found, (0, each - found.size))
    return _taken(_parts(theta, count), which)


def _placed(found: Array, which: Array, count: int) -> Array:
    """A segment (..., m) in its place, with zeros around it: (..., count * m)."""
    if isinstance(found, np.ndarray) and found.ndim == 1:
        whole = np.zeros((count, found.size), np.float32)
        whole[int(which)] = found
        return whole.reshape(-1)
    xp = found.__array_namespace__()
    placed = xp.where(_is_it(which, count)[..., None], found[..., None, :], np.float32(0))
    return placed.reshape(*found.shape[:-1], -1)
