"""The data of a task: its rows, their split into shards, and the batches of every step. NumPy alone."""

from agents.learning.data.batches import Batches, batch_rows
from agents.learning.data.dealing import (
    AnyPartition,
    AsGiven,
    Dealt,
    check_partition,
    deal,
    partition_name,
    shard_rows,
)
from agents.learning.data.partition import (
    DataError,
    Partition,
    hold_out,
    labels_or_count,
    owners,
    parse_partition,
    permutation,
)
from agents.learning.data.sources import Dataset, Rows, load_rows, samples

__all__ = [
    "AnyPartition",
    "AsGiven",
    "Batches",
    "DataError",
    "Dataset",
    "Dealt",
    "Partition",
    "Rows",
    "batch_rows",
    "check_partition",
    "deal",
    "hold_out",
    "labels_or_count",
    "load_rows",
    "owners",
    "parse_partition",
    "partition_name",
    "permutation",
    "samples",
    "shard_rows",
]
