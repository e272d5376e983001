"""A partition of one's own: index lists, an owner array, or a function that makes either; checked against the data.

    [[0, 2, 5], [1, 3, 4]]                      index lists: the rows of each agent
    [0, 1, 0, 1, 1, 0]                          an owner array: the agent of each row, -1 for nobody
    mine(labels_or_count, agents, seed)         -> either of these; labels (samples,), or a count where there are none

Every row goes to one agent, and every agent has a row. `AsGiven` marks what leaves rows out, or gives some to several
agents, on purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from agents.learning.data.partition import ACCEPTED, DataError, IntArray, Partition, owners, parse_partition

NOBODY = -1
OWN = "one list of row indices an agent, an owner for each row, or a function (labels_or_count, agents, seed) of either"


@dataclass(frozen=True, eq=False)
class AsGiven:
    """A partition of one's own, taken as it is: rows may be left out, or be held by several agents."""

    partition: Any


AnyPartition: TypeAlias = str | Partition | AsGiven | Sequence[Any] | IntArray | Callable[..., Any]


class Dealt(NamedTuple):
    """The rows of every shard: those of shard i are rows[starts[i]:starts[i + 1]], increasing; starts (shards + 1,)."""

    rows: IntArray
    starts: IntArray

    def of(self, index: int) -> IntArray:
        """The rows of one shard: increasing int64 (m,)."""
        return self.rows[self.starts[index] : self.starts[index + 1]]

    @property
    def hash(self) -> str:
        """The same for the same rows of the same shards, on every machine."""
        digest = hashlib.sha256(str(len(self.starts) - 1).encode())
        for part in (self.starts, self.rows):
            digest.update(np.asarray(part, "<i8").tobytes())
        return digest.hexdigest()[:12]


def deal(partition: AnyPartition, labels_or_count: ArrayLike | int, shards: int, seed: int) -> Dealt:
    """The rows of every shard, of any partition. Raises DataError, and what a function of the user's own raises."""
    if isinstance(partition, str | Partition):
        return _of_owners(owners(partition, labels_or_count, shards, seed), shards)
    found = partition.partition if isinstance(partition, AsGiven) else partition
    count = int(np.asarray(labels_or_count)) if np.ndim(labels_or_count) == 0 else len(np.asarray(labels_or_count))
    if callable(found):  # Which may sort or shuffle its labels in place: the data keeps its own.
        found = found(labels_or_count if np.ndim(labels_or_count) == 0 else np.array(labels_or_count), shards, seed)
    loose = isinstance(partition, AsGiven) or isinstance(found, AsGiven)
    found = found.partition if isinstance(found, AsGiven) else found
    name = partition_name(partition)
    dealt = _dealt(found, name, count, shards)
    _check(dealt, name, count, loose)
    return dealt


def shard_rows(
    partition: AnyPartition, labels_or_count: ArrayLike | int, shards: int, index: int, seed: int
) -> IntArray:
    """The samples of one shard: increasing int64 (m,). All agents compute the same split, from (seed, shards) alone."""
    if not 0 <= index < shards:
        raise DataError(f"a shard's index goes from 0 to {shards - 1}: got {index}")
    return deal(partition, labels_or_count, shards, seed).of(index)


def check_partition(partition: Any, agents: int | None = None) -> None:
    """Raise DataError unless this can be a partition, as far as that is seen without data."""
    found = partition.partition if isinstance(partition, AsGiven) else partition
    if isinstance(found, str | Partition):
        if isinstance(partition, AsGiven):
            raise DataError(f"AsGiven is for a partition of one's own, {OWN}: got {found!r}")
        parse_partition(found)
    elif not callable(found):
        _lists_or_owners(found, partition_name(partition), agents)


def partition_name(partition: AnyPartition) -> str:
    """What a partition is called: its text, or the name of its function."""
    if isinstance(partition, AsGiven):
        return partition_name(partition.partition)
    if isinstance(partition, Partition):
        return f"{partition.kind}:{partition.value:g}" if partition.kind != "iid" else "iid"
    if isinstance(partition, str):
        return partition
    if callable(partition):
        return str(getattr(partition, "__name__", type(partition).__name__))
    return "given"


def _lists_or_owners(found: Any, name: str, shards: int | None) -> list[IntArray] | IntArray:
    """Index lists, or an owner array (samples,)."""
    wrong = f"partition {name!r} must be {OWN}; or a text, {ACCEPTED}: got "
    if isinstance(found, list | tuple) and found and all(map(_is_whole, found)):
        found = np.array(found)
    if hasattr(found, "__array__"):
        found = np.asarray(found)
        if found.ndim not in (1, 2) or found.dtype.kind not in "iu":
            raise DataError(f"{wrong}{found.dtype} values of shape {found.shape}")
        if found.ndim == 1:
            return _in_range(found, name, shards)
        found = list(found)
    if not isinstance(found, list | tuple) or not found:
        raise DataError(f"{wrong}{type(found).__name__} {found!r:.40}")
    lists: list[IntArray] = []
    for agent, each in enumerate(found):
        try:
            rows = np.asarray(each)
        except (TypeError, ValueError):
            rows = np.zeros((0, 0))
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise DataError(f"{wrong}for agent {agent} {each!r:.40}")
        lists.append(rows.astype(np.int64))
    if shards is not None and len(lists) != shards:
        raise DataError(f"partition {name!r} must have one list of rows for each of {shards} agents: got {len(lists)}")
    return lists


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _in_range(owner: IntArray, name: str, shards: int | None) -> IntArray:
    outside = np.flatnonzero((owner < NOBODY) | (owner >= (np.inf if shards is None else shards)))
    if outside.size:
        last = "" if shards is None else f" to {shards - 1}"
        raise DataError(
            f"partition {name!r}: owners are agents, 0{last}, or -1 for nobody: got {owner[outside[0]]} for row "
            f"{outside[0]}, and {outside.size} such in all"
        )
    return owner.astype(np.int64)


def _dealt(found: Any, name: str, count: int, shards: int) -> Dealt:
    found = _lists_or_owners(found, name, shards)
    if not isinstance(found, list):
        if len(found) != count:
            raise DataError(f"partition {name!r} must have an owner for each of {count} rows: got {len(found)}")
        return _of_owners(found, shards)
    rows, starts = np.concatenate(found), np.concatenate([[0], np.cumsum([len(each) for each in found])])
    agent = np.repeat(np.arange(shards), np.diff(starts))
    outside = np.flatnonzero((rows < 0) | (rows >= count))
    if outside.size:
        raise DataError(
            f"partition {name!r}: rows go from 0 to {count - 1}: got {rows[outside[0]]} for agent {agent[outside[0]]}, "
            f"and {outside.size} such in all"
        )
    order = np.lexsort((rows, agent))
    twice = np.flatnonzero((np.diff(rows[order]) == 0) & (np.diff(agent[order]) == 0))
    if twice.size:
        first = order[twice[0]]
        raise DataError(
            f"partition {name!r}: no agent may have a row twice: got row {rows[first]} again for agent "
            f"{agent[first]}, and {twice.size} rows so in all"
        )
    return Dealt(rows[order], starts)


def _of_owners(owner: IntArray, shards: int) -> Dealt:
    left_out = int((owner == NOBODY).sum())
    counts = np.bincount(owner[owner != NOBODY] if left_out else owner, minlength=shards)
    return Dealt(np.argsort(owner, kind="stable")[left_out:], np.concatenate([[0], np.cumsum(counts)]))


def _check(dealt: Dealt, name: str, count: int, loose: bool) -> None:
    """Raise DataError unless every agent has a row, and, but for what is `AsGiven`, every row one agent."""
    empty = np.flatnonzero(np.diff(dealt.starts) == 0)
    if empty.size:
        raise DataError(
            f"partition {name!r} gives {empty.size} of {len(dealt.starts) - 1} agents no row, {_some('agent', empty)}: "
            "each needs one at least"
        )
    if loose:
        return
    times = np.bincount(dealt.rows, minlength=count)
    meant = "; if that is meant, wrap it: AsGiven(partition)"
    if (missing := np.flatnonzero(times == 0)).size:
        raise DataError(f"partition {name!r} leaves out {missing.size} of {count} rows, {_some('row', missing)}{meant}")
    if (repeated := np.flatnonzero(times > 1)).size:
        agent = np.repeat(np.arange(len(dealt.starts) - 1), np.diff(dealt.starts))
        holders = agent[dealt.rows == repeated[0]].tolist()
        raise DataError(
            f"partition {name!r} gives {repeated.size} of {count} rows to several agents, such as row {repeated[0]} to "
            f"agents {', '.join(map(str, holders[:5]))}{meant}"
        )


def _some(kind: str, numbers: IntArray) -> str:
    few = ", ".join(map(str, numbers[:5].tolist()))
    return f"{kind}{'s' if numbers.size > 1 else ''} {few}{' ...' if numbers.size > 5 else ''}"
