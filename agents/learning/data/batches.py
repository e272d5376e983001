"""The batches of every step: a function of (seed, agent, step), so that any process can compute any agent's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from agents.learning.data.partition import IntArray

STREAM = 1  # keeps these random numbers apart from the partition's
BLOCK = 256  # steps whose batches are made at once for one agent: for a few of them it takes nearly as long
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def batch_rows(seed: int, agent: int, step: int, count: int, batch_size: int, samples: int) -> IntArray:
    """The batches of steps [step, step + count): int32 (count, batch_size), rows of a shard of that many samples.

    They are cut from one endless stream: permutations of the samples, one an epoch, each a function of (seed, agent,
    epoch) alone. So every sample comes exactly once an epoch, and any range of steps gives the same batches.
    """
    blocks = range(step // BLOCK, (step + count - 1) // BLOCK + 1)
    batches = [_block(seed % 2**64, agent, batch_size, samples, block) for block in blocks]
    skipped = step - blocks.start * BLOCK
    return np.concatenate(batches or [np.empty((0, batch_size), np.int32)])[skipped : skipped + count]


class Batches:
    """`batch_rows` for many agents at once, of which the last call's permutations are kept for the next.

    seeds, samples: (agents,), each agent's seed and the size of its shard.
    numbers: (agents,), the agent number that each has in `batch_rows`; None for 0 to agents - 1.
    """

    def __init__(self, seeds: IntArray, samples: IntArray, batch_size: int, numbers: IntArray | None = None) -> None:
        self._seeds = np.asarray(seeds).astype(np.uint64)
        self._samples = np.asarray(samples, np.int64)
        self._numbers = np.arange(len(self._samples)) if numbers is None else np.asarray(numbers)
        self._size = batch_size
        zero = np.zeros(1, np.int64)
        self._epochs = Epochs(zero - 1, zero, zero, zero, np.empty(0, np.int32))

    def rows(self, agents: IntArray, steps: IntArray, count: int) -> IntArray:
        """int32 (L, count, batch_size): rows of the shards of agents (L,), for `count` steps from steps (L,).

        Memory goes with the span of steps that an agent has in one call.
        """
        agents, length = np.asarray(agents, np.int64), count * self._size
        samples = self._samples[agents]
        if samples.max(initial=0) <= 1:
            return np.zeros((len(agents), count, self._size), np.int32)
        start = np.asarray(steps, np.int64) * self._size
        first, end = start // samples, (start + (length - 1)) // samples + 1
        epochs = self._epochs
        place, held = epochs.find(agents, first, end)
        if not held.all():
            epochs = self._epochs = self._made(agents, first, end)
            place = np.searchsorted(epochs.agents, agents)
        begins = epochs.shift[place] + start
        found: IntArray = sliding_window_view(epochs.order, length)[begins]
        return found.reshape(len(agents), count, self._size)

    def _made(self, agents: IntArray, first: IntArray, end: IntArray) -> Epochs:
        """The epochs from the first to before the last end that each agent has; those at hand are copied."""
        who, lane = np.unique(agents, return_inverse=True)
        begin, until = np.full(len(who), np.iinfo(np.int64).max), np.zeros(len(who), np.int64)
        np.minimum.at(begin, lane, first)
        np.maximum.at(until, lane, end)
        which = np.repeat(np.arange(len(who)), until - begin)
        number, agent = _spans(begin, until - begin), who[which]
        sizes = self._samples[agent]
        starts = np.cumsum(sizes) - sizes
        order = np.empty(sizes.sum(), np.int32)
        place, held = self._epochs.find(agent, number, number + 1)
        copied = self._epochs.shift[place[held]] + number[held] * sizes[held]
        order[_spans(starts[held], sizes[held])] = self._epochs.order[_spans(copied, sizes[held])]
        for size in np.unique(sizes[~held]):
            new = np.flatnonzero(~held & (sizes == size))
            orders = _orders(self._seeds[agent[new]], self._numbers[agent[new]], number[new], int(size))
            order[starts[new][:, None] + np.arange(size)] = orders
        shift = starts[np.cumsum(until - begin) - (until - begin)] - begin * self._samples[who]
        return Epochs(who, begin, until, shift, order)


class Epochs(NamedTuple):
    """The sample orders of some epochs of some agents: epochs first[a] to end[a] - 1 of agents[a], agents increasing.

    order: their permutations, one after the other; the place i in an agent's stream is order[shift[a] + i].
    """

    agents: IntArray
    first: IntArray
    end: IntArray
    shift: IntArray
    order: IntArray

    def find(self, agents: IntArray, first: IntArray, end: IntArray) -> tuple[IntArray, np.ndarray[Any, Any]]:
        """Where each of the agents (L,) would be, and whether its epochs from `first` to before `end` are here."""
        place = np.minimum(np.searchsorted(self.agents, agents), len(self.agents) - 1)
        return place, (self.agents[place] == agents) & (self.first[place] <= first) & (end <= self.end[place])


@lru_cache(maxsize=64)
def _block(seed: int, agent: int, batch_size: int, samples: int, block: int) -> IntArray:
    """The batches of BLOCK steps, kept as an agent asks for a few of them at a time."""
    one, step = np.zeros(1, np.int64), np.array([block * BLOCK])
    made: IntArray = _of_one(seed, agent, batch_size, samples).rows(one, step, BLOCK)[0]
    return made


@lru_cache(maxsize=64)
def _of_one(seed: int, agent: int, batch_size: int, samples: int) -> Batches:
    return Batches(np.array([seed], np.uint64), np.array([samples]), batch_size, np.array([agent]))


def _spans(starts: IntArray, lengths: IntArray) -> IntArray:
    """start, start + 1, ... for each of these lengths, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def _orders(seeds: IntArray, agents: IntArray, epochs: IntArray, samples: int) -> IntArray:
    """A random order of range(samples) for each (seed, agent, epoch): int32 (L, samples).

    Sorts numbers made by splitmix64 (Steele, Lea and Flood 2014), which needs no generator's state and so makes the
    orders of a million agents at once.
    """
    state: IntArray = np.full(len(seeds), STREAM, np.uint64)
    for value in (seeds, agents, epochs):
        state = _scrambled(state ^ value.astype(np.uint64))
    numbers = _scrambled(state[:, None] + np.arange(samples, dtype=np.uint64) * _GOLDEN)
    return np.argsort(numbers, axis=1).astype(np.int32)


def _scrambled(z: IntArray) -> IntArray:
    z = z + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
