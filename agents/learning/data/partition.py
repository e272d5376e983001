"""Which agent holds which samples: a function of (partition, labels, shards, seed), so all compute the same split."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from agents.learning.data.sources import Dataset, Rows, load_rows, samples
from topology.errors import GossamerError

IntArray: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]
ACCEPTED = "'iid', 'dirichlet:0.1' (concentration), 'labels:2' (labels a shard) or 'sizes:1.5' (exponent)"
SHARDS, HELD_OUT = 0, 2  # keep the random streams apart; 1 is the batches'
TEST_SHARE = 0.2
MOST_PIECES = 1 << 20
"""How many pieces "labels" may cut where there are fewer samples: beyond all use, and 8 MiB."""


class DataError(GossamerError, ValueError):
    """The data cannot be split as asked. One line: what was expected, what came, what to do."""

    code = "G202"


class Partition(NamedTuple):
    """How samples are split among agents; `owners` defines what each kind means."""

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
    return load_rows({"y": y}, slice(None))["y"] if y is not None and _are_labels(y) else samples(data)


def owners(partition: str | Partition, labels_or_count: ArrayLike | int, shards: int, seed: int) -> IntArray:
    """The shard of every sample: int64 (n,), each of range(shards) at least once. Raises DataError.

    iid: equal sizes, give or take one.
    dirichlet:a: each label is split in proportions drawn from Dirichlet(a, ..., a) (arXiv 1905.12022).
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
            if pieces > max(count, MOST_PIECES):
                raise DataError(
                    f"partition 'labels' cuts {count} samples into K pieces for each of {shards} shards: K is at most "
                    f"{max(count, MOST_PIECES) // shards} here, got labels:{value:g}"
                )
            by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
            owner[by_label] = (permutation(pieces, seed, SHARDS, shards) % shards)[np.arange(count) * pieces // count]
        case "sizes":
            weights = np.arange(1, shards + 1.0) ** -value
            cuts = np.cumsum(weights)[:-1] / weights.sum() * count
            owner[shuffled] = np.searchsorted(np.rint(cuts), np.arange(count), side="right")
    return _without_empty(owner, shards)


def hold_out(count: int) -> tuple[IntArray, IntArray]:
    """Samples to train on and a fifth of them to test on, both increasing: the same in every run."""
    held = np.sort(permutation(count, 0, HELD_OUT)[: max(1, int(TEST_SHARE * count))])
    return np.delete(np.arange(count), held), held


def permutation(count: int, seed: int, *stream: int) -> IntArray:
    """A random order of range(count): int64 (count,). Sorts Philox's raw output, which NumPy keeps stable for ever."""
    return np.argsort(np.random.Philox(_entropy(seed, *stream)).random_raw(count), kind="stable")


def _are_labels(y: Rows) -> bool:
    return len(y.shape) == 1 and np.issubdtype(y.dtype, np.integer)


def _entropy(seed: int, *stream: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed % 2**64, spawn_key=stream)


def _without_empty(owner: IntArray, shards: int) -> IntArray:
    """Every shard gets a sample: an empty one takes the last of the largest."""
    sizes = np.bincount(owner, minlength=shards)
    for empty in np.flatnonzero(sizes == 0):
        donor = sizes.argmax()
        owner[np.flatnonzero(owner == donor)[-1]] = empty
        sizes[donor] -= 1
        sizes[empty] = 1
    return owner
