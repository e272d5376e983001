"""What a local step and an exchange cost on this machine, measured with the learner and the peers of a run."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import jax
import numpy as np

from agents.learning.data import batch_rows
from agents.mixing.codecs import named
from agents.mixing.layout import Layout
from agents.peer import Peer
from agents.planning import Exchange, Span
from agents.prepare import Prepared

STEPS, WINDOWS, LEAST_S, MEASURE_S = 16, 12, 1.0, 6.0
"""Local steps in one call; so many calls are measured, for so long at least and at most."""

EXCHANGES, EXCHANGE_S = 30, 4.0
"""Of which the cost of an exchange is measured, at most, and for how long."""

MEET_S = 30.0

HEADERS = 150
"""Bytes of a chunk's message besides its payload, about."""


def local_step(prepared: Prepared, seed: int = 0, busy: int = 1) -> Span:
    """Seconds of a local step: the quickest tenth, the middle, the slowest tenth of what was measured.

    busy: how many agents train at the same time, each on a core of this machine: they share caches, power and memory.
    """
    ended = threading.Event()
    with ThreadPoolExecutor(max(1, busy - 1)) as others:
        try:
            for index in range(1, busy):
                others.submit(_train, prepared, seed + index, ended.is_set)
            taken = _train(prepared, seed, lambda: False)
        finally:
            ended.set()
    low, middle, high = np.quantile(taken, [0.1, 0.5, 0.9])
    return Span(float(low), float(middle), float(high))


def _train(prepared: Prepared, seed: int, ended: Callable[[], bool]) -> list[float]:
    """Seconds of a local step in each of some calls, the first of which, that compiles, is left out."""
    learner, batch = prepared.learner, prepared.task.batch_size
    data = jax.device_put(prepared.data)
    state = learner.init(seed)
    rows = np.asarray(batch_rows(seed, prepared.index, 0, STEPS, batch, prepared.samples), np.int32)
    taken, began_s = list[float](), math.inf
    for window in count():
        before_s = time.monotonic()
        numbers = map(np.int32, (prepared.index, window * STEPS, STEPS))
        state, losses = learner.train(state, data, rows, *numbers)
        losses.block_until_ready()
        now_s = time.monotonic()
        began_s = min(began_s, now_s)
        if window:
            taken.append((now_s - before_s) / STEPS)
        if ended() or (len(taken) >= WINDOWS and now_s - began_s > LEAST_S) or now_s - began_s > MEASURE_S:
            break
    return taken or [now_s - before_s]


def exchange(prepared: Prepared, codec: str, seed: int = 0) -> Exchange:
    """What each side of an exchange sends and computes, of two peers that work in turn. Raises TimeoutError."""
    learner, layout = prepared.learner, Layout(prepared.learner.spec)
    state = learner.init(seed)
    params = learner.params_of(learner.shared(state))
    alike: dict[str, Any] = {"task": "plan", "run": "plan", "topology": "complete", "codec": codec, "every": "1steps"}
    alike |= {"clip": math.inf, "overlap": False, "finish": "gossip", "keep_pace": False}
    with Peer(params, name="one", **alike) as one, Peer(params, name="other", join=one.address, **alike) as other:
        _meet(one, other, jax.tree.map(lambda leaf: leaf + np.float32(0.01), params))
        done, began_s = _exchanges(one), time.monotonic()
        while _exchanges(one) - done < EXCHANGES and time.monotonic() - began_s < EXCHANGE_S:
            ours = learner.params_of(learner.shared(state))
            mixed = one.boundary(ours)
            if mixed is not ours:
                state = learner.exchanged(state, mixed)
        completed = _exchanges(one) - done
        if not completed:
            raise TimeoutError(f"no exchange of two peers on this machine was completed within {EXCHANGE_S:g} s")
        return Exchange(_bytes(layout, codec), (time.monotonic() - began_s) / completed / 2)


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
