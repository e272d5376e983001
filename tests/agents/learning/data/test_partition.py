"""Shards: laws for any sizes and seeds."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agents.learning.data import (
    DataError,
    Partition,
    hold_out,
    owners,
    parse_partition,
    permutation,
    shard_rows,
)


def digest(rows: np.ndarray) -> str:
    return sha256(rows.astype(np.int64).tobytes()).hexdigest()[:16]


SEEDS = st.integers(0, 2**32)
PARTITIONS = st.sampled_from(
    ["iid", "dirichlet:0.01", "dirichlet:0.1", "dirichlet:100", "labels:1", "labels:2", "sizes:1.5"]
)
LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=200).map(lambda labels: np.array(labels, np.uint8))


@given(PARTITIONS, LABELS, st.integers(1, 20), SEEDS)
@settings(max_examples=200)
def test_shards_cover_every_sample_once_and_none_is_empty(partition, labels, shards, seed) -> None:
    assume(shards <= len(labels))
    rows = [shard_rows(partition, labels, shards, index, seed) for index in range(shards)]
    assert sorted(np.concatenate(rows)) == list(range(len(labels)))
    assert all(len(part) and np.all(np.diff(part) > 0) and part.dtype == np.int64 for part in rows)


@given(st.integers(1, 500), st.integers(1, 20), SEEDS)
def test_iid_shards_differ_in_size_by_one_at_most(count, shards, seed) -> None:
    assume(shards <= count)
    sizes = np.bincount(owners("iid", count, shards, seed), minlength=shards)
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(1, 3), st.integers(2, 10), SEEDS)
def test_labels_partition_leaves_few_labels_to_a_shard(k, shards, seed) -> None:
    labels = np.repeat(np.arange(10), 60)
    for index in range(shards):
        held = np.unique(labels[shard_rows(f"labels:{k}", labels, shards, index, seed)])
        assert len(held) <= k * (10 // (k * shards) + 2)  # a piece of samples / (k shards) touches that many labels


def test_ten_shards_of_one_label_hold_one_label_each() -> None:
    labels = np.repeat(np.arange(10), 7)
    held = [np.unique(labels[shard_rows("labels:1", labels, 10, index, 3)]).tolist() for index in range(10)]
    assert sorted(held) == [[label] for label in range(10)]


def test_dirichlet_concentration_sets_how_skewed_shards_are() -> None:
    labels = np.repeat(np.arange(10), 500)

    def largest_share(partition: str) -> float:
        owner = owners(partition, labels, 8, seed=0)
        table = np.histogram2d(owner, labels, bins=(8, 10))[0]
        return float((table.max(axis=0) / 500).mean())

    assert largest_share("dirichlet:1000") < 0.2 < 0.5 < largest_share("dirichlet:0.1")


def test_sizes_follow_the_power_law() -> None:
    sizes = np.bincount(owners("sizes:1", 11_000, 4, seed=0))
    np.testing.assert_allclose(sizes, 11_000 / (25 / 12) / np.arange(1, 5), atol=1)
    assert np.bincount(owners("sizes:0", 100, 4, seed=0)).tolist() == [25] * 4


def test_a_function_that_sorts_the_labels_it_is_given_sorts_not_the_data_s() -> None:
    labels = np.arange(20)[::-1] % 3
    before = labels.copy()

    def in_place(given, shards, seed):
        given.sort()
        return np.arange(len(given)) % shards

    assert shard_rows(in_place, labels, 4, 0, 0).tolist() == [0, 4, 8, 12, 16]
    assert labels.tolist() == before.tolist()


def test_orders_stay_what_they_are() -> None:
    """Agents of different versions share them: a change here splits swarms."""
    assert permutation(8, 0, 0).tolist() == [1, 4, 5, 6, 2, 0, 3, 7]


@pytest.mark.parametrize(
    ("partition", "shards", "seed", "recorded"),
    [
        ("iid", 8, 0, "025c80515add6b19"),
        ("iid", 13, 2**33 + 1, "994348b5bce84463"),
        ("dirichlet:0.1", 8, 0, "c7de864ca416e099"),
        ("dirichlet:0.1", 13, 2**33 + 1, "57846da3d3989ce9"),
        ("labels:2", 8, 0, "fbcc95637d66aaaf"),
        ("labels:2", 13, 2**33 + 1, "41eb685e00380981"),
        ("sizes:1.5", 8, 0, "e5d77e4c775fce6b"),
        ("sizes:1.5", 13, 2**33 + 1, "5c69dd8653a3928e"),
    ],
)
def test_the_shards_of_version_0_1_stay_what_they_are(partition, shards, seed, recorded) -> None:
    assert digest(owners(partition, np.arange(997) ** 2 % 10, shards, seed)) == recorded


def test_the_held_out_samples_of_version_0_1_stay_what_they_are() -> None:
    assert [digest(rows) for rows in hold_out(1797)] == ["e39c53092b7c3fa6", "35b1e8ddbae2e8c4"]


def test_hold_out_takes_a_fifth_and_leaves_the_rest() -> None:
    kept, held = hold_out(101)
    assert len(held) == 20 and sorted([*kept, *held]) == list(range(101))


@pytest.mark.parametrize(
    ("text", "partition"),
    [
        ("iid", ("iid", 0)),
        ("dirichlet:0.1", ("dirichlet", 0.1)),
        ("labels:2", ("labels", 2)),
        ("sizes:0", ("sizes", 0)),
    ],
)
def test_partitions_are_read(text, partition) -> None:
    assert parse_partition(text) == partition
    assert parse_partition(Partition(*partition)) == partition


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "IID",
            "iid:1",
            "dirichlet",
            "dirichlet:",
            "dirichlet:0",
            "dirichlet:-1",
            "dirichlet:nan",
            "dirichlet:inf",
        ),
        *("labels", "labels:0", "labels:1.5", "labels:inf", "labels:two", "sizes", "sizes:-1", "sizes:inf"),
    ],
)
def test_other_partitions_are_refused(text) -> None:
    with pytest.raises(DataError, match=r"a partition is 'iid', 'dirichlet:0\.1'.* got"):
        parse_partition(text)


def test_impossible_shards_are_refused() -> None:
    with pytest.raises(DataError, match="3 samples make 1 to 3 shards: got 4"):
        shard_rows("iid", 3, 4, 0, seed=0)
    with pytest.raises(DataError, match="index goes from 0 to 3: got 4"):
        shard_rows("iid", 9, 4, 4, seed=0)
    with pytest.raises(DataError, match="'labels' needs integer labels"):
        shard_rows("labels:2", 9, 4, 0, seed=0)
    for many in ("1e15", "1e300"):
        with pytest.raises(DataError, match=r"9 samples into K pieces for each of 4 shards: K is at most 262144 here"):
            shard_rows(f"labels:{many}", np.zeros(9, int), 4, 0, seed=0)
    with pytest.raises(DataError, match="'dirichlet' needs integer labels"):
        shard_rows("dirichlet:1", np.ones(9), 4, 0, seed=0)
