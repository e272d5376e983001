"""Which samples an agent holds and which make a batch: functions of (seed, agent, step), never of a shared stream."""

from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from agents.learning.task import Dataset, Rows, samples
from topology.errors import GossamerError

IntArray: TypeAlias = np.ndarray[Any, np.dtype[np.integer]]
ACCEPTED = "'iid', 'dirichlet:0.1' (concentration), 'labels:2' (labels a shard) or 'sizes:1.5' (exponent)"
SHARDS, BATCHES, HELD_OUT = 0, 1, 2  # keep the random streams apart
TEST_SHARE = 0.2


class DataError(GossamerError, ValueError):
    """The data cannot be split as asked. One line: what was expected, what came, what to do."""


class Partition(NamedTuple):
    """How samples are dealt to agents; `owners` says what each kind means."""

    kind: Literal["iid", "dirichlet", "labels", "sizes"]
    value: float = 0.0


def parse_partition(text: str | Partition) -> Partition:
    """The partition a user means by "iid", "dirichlet:0.1", "labels:2" or "sizes:1.5". Raises DataError."""
    if isinstance(text, Partition):
        return text
    kind, _, number = text.partition(":")
    try:
        value = float(number) if number else 0.0
    except ValueError:
        value = float("nan")
    match kind:
        case "iid" if not number:
            return Partition("iid")
        case "dirichlet" if 0 < value < float("inf"):
            return Partition("dirichlet", value)
        case "labels" if value >= 1 and value.is_integer():
            return Partition("labels", value)
        case "sizes" if number and 0 <= value < float("inf"):
            return Partition("sizes", value)
    raise DataError(f"a partition is {ACCEPTED}: got {text!r}")


def labels_or_count(data: Dataset) -> IntArray | int:
    """What a partition needs to know of a dataset: its integer labels (n,), or else how many samples it has."""
    y = data.get("y")
    return np.asarray(y[:]) if y is not None and _are_labels(y) else samples(data)


def owners(partition: str | Partition, labels_or_count: ArrayLike | int, shards: int, seed: int) -> IntArray:
    """The shard of every sample: int64 (n,), each of range(shards) at least once. Raises DataError.

    iid: equal sizes, give or take one.
    dirichlet:a: each label is dealt in proportions drawn from Dirichlet(a, ..., a) (arXiv 1905.12022).
    labels:k: sorted by label, cut into k * shards equal pieces, k pieces a shard (arXiv 1602.05629).
    sizes:a: shard i has a size proportional to (i + 1) ** -a.
    A shard left empty takes a sample from the largest one, so none is empty.
    """
    kind, value = parse_partition(partition)
    labels = np.asarray(labels_or_count)
    count = int(labels) if labels.ndim == 0 else len(labels)
    if not 1 <= shards <= count:
        raise DataError(f"{count} samples make 1 to {count} shards: got {shards}; use fewer agents or more data")
    if kind in ("dirichlet", "labels") and not _are_labels(labels):
        raise DataError(f"partition {kind!r} needs integer labels 'y' of shape (samples,): there are none; try iid")
    shuffled = permutation(count, seed, SHARDS)
    owner = np.empty(count, np.int64)
    match kind:
        case "iid":
            owner[shuffled] = np.arange(count) * shards // count
        case "dirichlet":
            random = np.random.default_rng(_entropy(seed, SHARDS, shards))
            for label in np.unique(labels):
                members = shuffled[labels[shuffled] == label]
                cuts = np.cumsum(random.dirichlet(np.full(shards, value)))[:-1] * len(members)
                owner[members] = np.searchsorted(np.rint(cuts), np.arange(len(members)), side="right")
        case "labels":
            pieces = int(value) * shards
            by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
            owner[by_label] = (permutation(pieces, seed, SHARDS, shards) % shards)[np.arange(count) * pieces // count]
        case "sizes":
            weights = np.arange(1, shards + 1.0) ** -value
            cuts = np.cumsum(weights)[:-1] / weights.sum() * count
            owner[shuffled] = np.searchsorted(np.rint(cuts), np.arange(count), side="right")
    return _without_empty(owner, shards)


def shard_rows(
    partition: str | Partition, labels_or_count: ArrayLike | int, shards: int, index: int, seed: int
) -> IntArray:
    """The samples of one shard: increasing int64 (m,). All agents compute the same split, from (seed, shards) alone."""
    if not 0 <= index < shards:
        raise DataError(f"a shard's index goes from 0 to {shards - 1}: got {index}")
    return np.flatnonzero(owners(partition, labels_or_count, shards, seed) == index)


def batch_rows(seed: int, agent: int, step: int, count: int, batch_size: int, samples: int) -> IntArray:
    """The batches of steps [step, step + count): int32 (count, batch_size), rows of a shard of that many samples.

    They are cut from one endless stream: permutations of the samples, one an epoch, each a function of (seed, agent,
    epoch) alone. So every sample comes exactly once an epoch, and any range of steps gives the same batches.
    """
    start, end = step * batch_size, (step + count) * batch_size
    epochs = range(start // samples, -(-end // samples))
    stream = [_epoch(seed, agent, epoch, samples) for epoch in epochs] or [np.empty(0, np.int32)]
    skipped = epochs.start * samples
    return np.concatenate(stream)[start - skipped : end - skipped].reshape(count, batch_size)


def hold_out(count: int) -> tuple[IntArray, IntArray]:
    """Samples to train on and a fifth of them to test on, both increasing: the same in every run."""
    held = np.sort(permutation(count, 0, HELD_OUT)[: max(1, int(TEST_SHARE * count))])
    return np.delete(np.arange(count), held), held


def load_rows(data: Dataset, rows: IntArray | slice) -> dict[str, np.ndarray]:
    """The given rows, a slice or increasing, of every field, as NumPy arrays."""
    return {name: np.asarray(field[rows]) for name, field in data.items()}


def permutation(count: int, seed: int, *stream: int) -> IntArray:
    """A random order of range(count): int64 (count,). Sorts Philox's raw output, which NumPy keeps stable for ever."""
    return np.argsort(np.random.Philox(_entropy(seed, *stream)).random_raw(count), kind="stable")


def _are_labels(y: Rows) -> bool:
    return len(y.shape) == 1 and np.issubdtype(y.dtype, np.integer)


def _entropy(seed: int, *stream: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed % 2**64, spawn_key=stream)


class Batches:
    """`batch_rows` for many agents at once. seeds, samples: (agents,), each agent's seed and the size of its shard.

    numbers: (agents,), the number by which each goes in `batch_rows`; None for 0 to agents - 1.
    """

    def __init__(self, seeds: IntArray, samples: IntArray, batch_size: int, numbers: IntArray | None = None) -> None:
        self._seeds = np.asarray(seeds).astype(np.uint64)
        self._samples = np.asarray(samples, np.int64)
        self._numbers = np.arange(len(self._samples)) if numbers is None else np.asarray(numbers)
        self._size = batch_size
        self._known = np.empty(0, np.int64), np.empty(1, np.int64), np.empty(0, np.int32)

    def rows(self, agents: IntArray, steps: IntArray, count: int) -> IntArray:
        """int32 (L, count, batch_size): rows of the shards of agents (L,), for `count` steps from steps (L,)."""
        agents, steps = np.asarray(agents, np.int64), np.asarray(steps, np.int64)
        samples = self._samples[agents]
        if samples.max(initial=0) <= 1:
            return np.zeros((len(agents), count, self._size), np.int32)
        position = (steps * self._size)[:, None] + np.arange(count * self._size)
        epoch, place = np.divmod(position, samples[:, None])
        ahead = epoch - epoch[:, :1]
        needed = np.minimum(epoch[:, :1] + np.arange(ahead.max(initial=0) + 1), epoch[:, -1:])
        wanted, which = np.unique((needed << 32) | agents[:, None], return_inverse=True)
        starts, order = self._orders(wanted)
        begins = np.take_along_axis(starts[which.reshape(needed.shape)], ahead, axis=1)
        return order[begins + place].reshape(len(agents), count, self._size)

    def _orders(self, wanted: IntArray) -> tuple[IntArray, IntArray]:
        """The permutations of these epochs, one after the other, and where each starts; the last call's are kept."""
        agents, epochs = wanted & 0xFFFFFFFF, wanted >> 32
        lengths = self._samples[agents]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        order = np.empty(starts[-1], np.int32)
        known, known_starts, known_order = self._known
        found = np.isin(wanted, known)
        old = np.searchsorted(known, wanted[found])
        order[_spans(starts[:-1][found], lengths[found])] = known_order[_spans(known_starts[old], lengths[found])]
        for size in np.unique(lengths[~found]):
            new = np.flatnonzero(~found & (lengths == size))
            made = _epochs(self._seeds[agents[new]], self._numbers[agents[new]], epochs[new], int(size))
            order[starts[new][:, None] + np.arange(size)] = made
        self._known = wanted, starts, order
        return starts, order


def _spans(starts: IntArray, lengths: IntArray) -> IntArray:
    """start, start + 1, ... for each of these lengths, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


@lru_cache(maxsize=8)  # an agent calls for the same epoch again and again
def _epoch(seed: int, agent: int, epoch: int, samples: int) -> IntArray:
    rows = _epochs(np.array([seed % 2**64], np.uint64), np.array([agent]), np.array([epoch]), samples)[0]
    rows.flags.writeable = False
    return rows


def _epochs(seeds: IntArray, agents: IntArray, epochs: IntArray, samples: int) -> IntArray:
    """A random order of range(samples) for each (seed, agent, epoch): int32 (L, samples).

    Sorts numbers made by splitmix64 (Steele, Lea and Flood 2014), which needs no generator's state and so makes the
    orders of a million agents at once.
    """
    state = np.full(len(seeds), BATCHES, np.uint64)
    for value in (seeds, agents, epochs):
        state = _scrambled(state ^ value.astype(np.uint64))
    return np.argsort(_scrambled(state[:, None] + np.arange(samples, dtype=np.uint64) * _GOLDEN), axis=1).astype(
        np.int32
    )


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _scrambled(z: IntArray) -> IntArray:
    z = z + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _without_empty(owner: IntArray, shards: int) -> IntArray:
    """Every shard gets a sample: an empty one takes the last of the largest."""
    sizes = np.bincount(owner, minlength=shards)
    for empty in np.flatnonzero(sizes == 0):
        donor = sizes.argmax()
        owner[np.flatnonzero(owner == donor)[-1]] = empty
        sizes[donor] -= 1
        sizes[empty] = 1
    return owner
