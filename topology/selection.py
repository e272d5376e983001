"""Choice of a neighbor as a pure function of (seed, agent, round): no stream of random numbers is shared or kept.

So the same seed gives the same choices in whatever order agents run, in a live swarm and in the simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from topology.errors import need

Candidate = TypeVar("Candidate")
Whole = int | NDArray[np.integer[Any]]

LAPS = 1
"""Keeps the orders of laps apart from what is drawn in a round."""

FINEST = 2**32 - 1
"""Into so many equal parts is what weights are laid over."""

AT_ONCE = 1 << 20
"""Positions in the orders that are made at once, which bounds memory."""


def select(seed: int, agent: int | str, round: int, candidates: Sequence[Candidate] | NDArray[Any]) -> Candidate | Any:
    """One of the candidates, each equally likely, the same for the same arguments.

    candidates: in an order that all agree on, ascending as `Graph.neighbors` gives them. Raises TopologyError for none.
    """
    need(len(candidates) > 0, "select needs at least one candidate", agent=agent, round=round)
    return candidates[int(draw(seed, agent, round, len(candidates)))]


def draw(seed: int, agent: Whole | str, round: Whole, count: Whole) -> NDArray[np.int64]:
    """The position that `select` picks among `count` candidates: int64 in 0 .. count - 1, of the broadcast shape.

    For a whole graph at once: `graph.indices[graph.indptr[:-1] + draw(seed, np.arange(n), round, graph.degree)]`.
    Uniform but for a bias below count / 2^32. count must be in 1 .. 2^32 - 1.
    """
    counts = np.asarray(count)
    fits = (counts >= 1) & (counts < 1 << 32)
    need(bool(fits.all()), "draw needs 1 .. 2^32 - 1 candidates", count=counts[~fits][:1].tolist())
    with np.errstate(over="ignore"):
        state = _mix(_mix(_mix(np.uint64(0), seed), agent), round)
        return np.asarray(((state >> np.uint64(32)) * counts.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def permutations(seed: int, agent: Whole | str, lap: Whole, count: int) -> NDArray[np.int64]:
    """The positions 0 .. count - 1 in an order that follows from seed, agent and lap, (..., count)."""
    with np.errstate(over="ignore"):
        state = np.asarray(_mix(_mix(_mix(np.uint64(0), seed), agent), lap))
        keys = _mix(_mix(state, LAPS)[..., None], np.arange(count))
    return np.argsort(keys, axis=-1, kind="stable")


def turns(
    seed: int, agent: int | str, round: int, candidates: Sequence[Candidate] | NDArray[Any]
) -> list[Candidate | Any]:
    """All candidates, the one whose turn it is in this round first: in a lap of as many rounds each comes first once.

    The order is another in each lap. Who can't take its turn is passed over for the next in the list.
    """
    lap, place = divmod(round - 1, max(1, len(candidates)))
    order = permutations(seed, agent, lap, len(candidates))
    return [candidates[position] for position in np.roll(order, -place)]


def in_turn(seed: int, agent: Whole, round: Whole, count: NDArray[Any]) -> NDArray[np.int64]:
    """The position of the first of `turns` among `count` (M,) candidates, for many agents (M,) at once: (M,)."""
    agents, rounds = np.broadcast_to(agent, count.shape), np.broadcast_to(round, count.shape)
    found = np.zeros(count.shape, np.int64)
    for size in np.unique(count):
        same = np.flatnonzero(count == size)
        for rows in np.array_split(same, -(-len(same) * int(size) // AT_ONCE)):
            lap, place = np.divmod(rounds[rows] - 1, size)
            order = permutations(seed, agents[rows], lap, int(size))
            found[rows] = order[np.arange(len(rows)), place]
    return found


def select_by(
    seed: int, agent: int | str, round: int, candidates: Sequence[Candidate], weights: Sequence[float]
) -> Candidate:
    """One of the candidates, each as likely as its weight, a positive one, is a share of all; as `select` otherwise."""
    need(len(candidates) > 0, "select_by needs at least one candidate", agent=agent, round=round)
    bounds = np.cumsum(np.asarray(weights, np.float64))
    at = (int(draw(seed, agent, round, FINEST)) + 0.5) / FINEST * bounds[-1]
    return candidates[min(int(np.searchsorted(bounds, at)), len(candidates) - 1)]


def identities(names: Sequence[str]) -> NDArray[np.uint64]:
    """What `draw` takes in place of each name, so that it can draw for all of them at once."""
    return np.frombuffer(b"".join(blake2b(name.encode(), digest_size=8).digest() for name in names), "<u8")


def _mix(state: Any, value: Whole | str) -> Any:
    """Absorb a value by the finalizer of splitmix64 (Steele, Lea and Flood 2014), a bijection of 64 bits."""
    z = (state ^ _bits(value)) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _bits(value: Whole | str) -> Any:
    """64 bits of a whole number (two's complement), an array of them, or a name."""
    if isinstance(value, str):
        return identities([value])[0]
    if isinstance(value, np.ndarray):
        return value.astype(np.uint64)
    return np.uint64(int(value) & 0xFFFFFFFFFFFFFFFF)
