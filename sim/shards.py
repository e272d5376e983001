"""Which samples each simulated agent holds and trains on: rows of one dataset on the device."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agents.learning.data import AnyPartition, Batches, deal, labels_or_count, load_rows
from agents.learning.task import Task
from sim.ending import hash_of
from sim.scheduling import Waves
from sim.tape import TRAIN, Tape


class Shards:
    """The samples of every agent, of one or several seeds. sizes: (agents,), how many each holds.

    shards: into how many the data is split, anew for each seed. indices (agents,): which of them each agent of a seed
    has, None for its own number. Agents of several seeds are counted one seed after the other.
    """

    def __init__(
        self,
        task: Task,
        partition: AnyPartition,
        shards: int,
        seeds: Sequence[int],
        indices: NDArray[np.integer] | None = None,
    ) -> None:
        dataset = task.train_data
        indices = np.arange(shards) if indices is None else indices
        self.data = load_rows(dataset, slice(None))
        sizes, rows, starts, before = [], [], [], 0
        for seed in seeds:
            dealt = deal(partition, labels_or_count(dataset), shards, seed)
            sizes.append(np.diff(dealt.starts)[indices])
            rows.append(dealt.rows.astype(np.int32))
            starts.append(before + dealt.starts[indices])
            before += len(dealt.rows)
        self.sizes, self._rows, self._starts = np.concatenate(sizes), np.concatenate(rows), np.concatenate(starts)
        self.indices = np.tile(indices, len(seeds))
        self._one_each, self._batch_size = self.sizes.max() == 1, task.batch_size
        each = np.repeat(np.array([seed % 2**64 for seed in seeds], np.uint64), len(indices))
        self._batches = Batches(each, self.sizes, task.batch_size, self.indices)

    @property
    def hash(self) -> str:
        """Of who holds which samples."""
        return hash_of(self.sizes, self._rows)

    def rows(self, agents: NDArray[np.integer], steps: NDArray[np.integer], count: int) -> NDArray[np.int32]:
        """int32 (L, count, batch_size): the samples that these agents train on, for `count` steps from these."""
        if self._one_each:
            only = self._rows[self._starts[agents]][:, None, None]
            return np.broadcast_to(only, (len(agents), count, self._batch_size))
        found: NDArray[np.int32] = self._rows[
            self._starts[agents][:, None, None] + self._batches.rows(agents, steps, count)
        ]
        return found

    def fill(self, rows: NDArray[np.int32], first_step: int) -> None:
        """Write the batches of all agents for some rounds into rows (R, agents, local_steps, batch_size)."""
        count, everyone, local_steps, _ = rows.shape
        at_once = max(1, 200_000 // everyone)
        for r in range(0, count, at_once):
            some = np.arange(r, min(count, r + at_once))
            steps = np.repeat(first_step + some * local_steps, everyone)
            made = self.rows(np.tile(np.arange(everyone), len(some)), steps, local_steps)
            rows[some] = made.reshape(len(some), *rows.shape[1:])

    def of_waves(self, tape: Tape, waves: Waves, local_steps: int) -> NDArray[np.int32]:
        """The batches of every lane of every train wave: (steps, train, local_steps, batch_size)."""
        trains = np.flatnonzero(tape.kind == TRAIN)
        made = self.rows(tape.agent[trains], tape.step[trains], local_steps)
        at = np.flatnonzero(waves.train_event.ravel() >= 0)
        rows = np.zeros((waves.train_event.size, *made.shape[1:]), np.int32)
        rows[at] = made[np.searchsorted(trains, waves.train_event.ravel()[at])]
        return rows.reshape(*waves.train_event.shape, *made.shape[1:])
