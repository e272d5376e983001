"""What a local step and an exchange cost on this machine, measured with the learner and the peers of a run."""

import math
import time
from typing import Any

import jax
import numpy as np

from agents.learning.data import batch_rows
from agents.mixing.codecs import named
from agents.mixing.layout import Layout
from agents.peer import Peer
from agents.planning import Exchange, Span
from agents.prepare import Prepared

STEPS, WINDOWS, MEASURE_S = 16, 12, 6.0
"""Local steps in one call; so many calls are measured at most, for so long in all."""

EXCHANGES, EXCHANGE_S = 30, 4.0
"""Of which the cost of an exchange is measured, at most, and for how long."""

MEET_S = 30.0

HEADERS = 150
"""Bytes of a chunk's message besides its payload, about."""


def local_step(prepared: Prepared, seed: int = 0) -> Span:
    """Seconds of a local step: the quickest tenth, the middle, the slowest tenth of what was measured."""
    learner, batch = prepared.learner, prepared.task.batch_size
    data = jax.device_put(prepared.data)
    state = learner.init(seed)
    rows = np.asarray(batch_rows(seed, prepared.index, 0, STEPS, batch, prepared.samples), np.int32)
    taken = list[float]()
    began_s = time.monotonic()
    for window in range(WINDOWS + 1):
        before_s = time.monotonic()
        numbers = map(np.int32, (prepared.index, window * STEPS, STEPS))
        state, losses = learner.train(state, data, rows, *numbers)
        losses.block_until_ready()
        if window:  # The first call compiles.
            taken.append((time.monotonic() - before_s) / STEPS)
        else:
            began_s = time.monotonic()
        if len(taken) >= 3 and time.monotonic() - began_s > MEASURE_S:
            break
    low, middle, high = np.quantile(taken, [0.1, 0.5, 0.9])
    return Span(float(low), float(middle), float(high))


def exchange(prepared: Prepared, codec: str, seed: int = 0) -> Exchange:
    """What each side of an exchange sends and computes, of two peers that work in turn. Raises TimeoutError."""
    params, layout = prepared.learner.init(seed).params, Layout(prepared.learner.spec)
    moved = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32) + np.float32(0.01), params)
    alike: dict[str, Any] = {"task": "plan", "run": "plan", "topology": "complete", "codec": codec, "every": "1steps"}
    alike |= {"clip": math.inf, "overlap": False, "finish": "gossip", "keep_pace": False}
    with Peer(params, name="one", **alike) as one, Peer(params, name="other", join=one.address, **alike) as other:
        _meet(one, other, params)
        done, began_s = _exchanges(one), time.monotonic()
        while _exchanges(one) - done < EXCHANGES and time.monotonic() - began_s < EXCHANGE_S:
            one.boundary(moved)
        count = _exchanges(one) - done
        if not count:
            raise TimeoutError(f"no exchange of two peers on this machine was completed within {EXCHANGE_S:g} s")
        return Exchange(_bytes(layout, codec), (time.monotonic() - began_s) / count / 2)


def _bytes(layout: Layout, codec: str) -> float:
    """What one side of an exchange sends, on average of offer and answer."""
    spans = [(span, named(codec).on(layout.matrices(span))) for span in layout.chunks]
    return sum(sum(each.size(span.stop - span.start)) / 2 + HEADERS for span, each in spans)


def _meet(one: Peer, other: Peer, params: Any) -> None:
    """Until both may exchange: the second has taken over the model of the first."""
    deadline_s = time.monotonic() + MEET_S
    while len(one.members) < 2 or any(member.state == "joining" for member in (*one.members, *other.members)):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"two peers on this machine didn't meet within {MEET_S:g} s")
        other.boundary(params)
        time.sleep(0.01)


def _exchanges(peer: Peer) -> int:
    """Completed so far."""
    return peer.view().me.report.exchanges
