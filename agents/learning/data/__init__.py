"""The data of a task: its rows, their split into shards, and the batches of every step. NumPy alone."""

from agents.learning.data.batches import Batches, batch_rows
from agents.learning.data.partition import (
    DataError,
    Partition,
    hold_out,
    labels_or_count,
    owners,
    parse_partition,
    permutation,
    shard_rows,
)
from agents.learning.data.sources import Dataset, Rows, load_rows, samples

__all__ = [
    "Batches",
    "DataError",
    "Dataset",
    "Partition",
    "Rows",
    "batch_rows",
    "hold_out",
    "labels_or_count",
    "load_rows",
    "owners",
    "parse_partition",
    "permutation",
    "samples",
    "shard_rows",
]
