"""Shards and batches: laws for any sizes and seeds."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from agents.learning.data import (
    DataError,
    Partition,
    batch_rows,
    hold_out,
    labels_or_count,
    load_rows,
    owners,
    parse_partition,
    permutation,
    shard_rows,
)

SEEDS = st.integers(0, 2**32)
PARTITIONS = st.sampled_from(
    ["iid", "dirichlet:0.01", "dirichlet:0.1", "dirichlet:100", "labels:1", "labels:2", "sizes:1.5"]
)
LABELS = st.lists(st.integers(0, 9), min_size=1, max_size=200).map(lambda labels: np.array(labels, np.uint8))


@given(PARTITIONS, LABELS, st.integers(1, 20), SEEDS)
@settings(max_examples=200, deadline=None)
def test_shards_cover_every_sample_once_and_none_is_empty(partition, labels, shards, seed) -> None:
    assume(shards <= len(labels))
    rows = [shard_rows(partition, labels, shards, index, seed) for index in range(shards)]
    assert sorted(np.concatenate(rows)) == list(range(len(labels)))
    assert all(len(part) and np.all(np.diff(part) > 0) and part.dtype == np.int64 for part in rows)


@given(st.integers(1, 500), st.integers(1, 20), SEEDS)
@settings(deadline=None)
def test_iid_shards_differ_in_size_by_one_at_most(count, shards, seed) -> None:
    assume(shards <= count)
    sizes = np.bincount(owners("iid", count, shards, seed), minlength=shards)
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(1, 3), st.integers(2, 10), SEEDS)
@settings(deadline=None)
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


@given(SEEDS, st.integers(0, 50), st.integers(0, 40), st.integers(0, 15), st.integers(1, 40), st.integers(1, 60))
@settings(deadline=None)
def test_any_range_of_steps_gives_the_same_batches(seed, agent, step, count, batch_size, samples) -> None:
    whole = batch_rows(seed, agent, 0, step + count, batch_size, samples)
    part = batch_rows(seed, agent, step, count, batch_size, samples)
    assert part.shape == (count, batch_size) and part.dtype == np.int32
    np.testing.assert_array_equal(part, whole[step:])


@given(SEEDS, st.integers(0, 50), st.integers(1, 40), st.integers(1, 60))
@settings(deadline=None)
def test_every_sample_comes_once_an_epoch(seed, agent, batch_size, samples) -> None:
    stream = batch_rows(seed, agent, 0, 3 * samples, batch_size, samples).reshape(-1)
    for epoch in stream.reshape(-1, samples):
        assert sorted(epoch) == list(range(samples))


def test_agents_and_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [batch_rows(seed, agent, epoch, 1, 50, 50) for seed in (0, 1) for agent in (0, 1) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 8


def test_orders_stay_what_they_are() -> None:
    """Agents of different versions share them: a change here splits swarms."""
    assert permutation(8, 0, 0).tolist() == [1, 4, 5, 6, 2, 0, 3, 7]
    assert batch_rows(1, 2, 3, 1, 6, 5).tolist() == [[3, 2, 3, 2, 0, 1]]


def test_hold_out_takes_a_fifth_and_leaves_the_rest() -> None:
    kept, held = hold_out(101)
    assert len(held) == 20 and sorted([*kept, *held]) == list(range(101))


def test_rows_of_any_array_like() -> None:
    class Minimal:
        shape, dtype = (4, 2), np.dtype(np.float32)

        def __getitem__(self, rows):
            return np.arange(8, dtype=np.float32).reshape(4, 2)[rows]

    rows = load_rows({"x": Minimal(), "y": np.arange(4)}, np.array([1, 3]))
    assert rows["x"].tolist() == [[2, 3], [6, 7]] and rows["y"].tolist() == [1, 3]
    assert labels_or_count({"x": Minimal()}) == 4
    assert labels_or_count({"x": Minimal(), "y": np.ones(4)}) == 4
    assert labels_or_count({"x": Minimal(), "y": np.arange(4)}).tolist() == [0, 1, 2, 3]


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
    with pytest.raises(DataError, match="'dirichlet' needs integer labels"):
        shard_rows("dirichlet:1", np.ones(9), 4, 0, seed=0)
