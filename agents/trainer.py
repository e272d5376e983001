"""The training loop of `agent run`: local steps on the device, and a boundary of the peer whenever one is due."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.checkpoint import Checkpoint
from agents.learning import leaves
from agents.learning.data import batch_rows
from agents.learning.dp.mechanism import PoissonBatches
from agents.learning.learner import Learner
from agents.learning.step import TrainState
from agents.learning.task import Batch
from agents.peer import Peer
from agents.prepare import Prepared
from agents.privacy_ledger import PrivacyLedger
from agents.recorder import ENDED, FINAL, TRAIN, Recorder
from agents.schedule import Schedule

Batches = Callable[[int, int], tuple[Any, ...]]
"""(step, count) -> what the learner's `train` takes besides state and data, for `count` steps from there on."""

CHUNK_STEPS = 64
"""Local steps in one call to the device, at most; a compiled call takes any number up to this."""


CHUNK_S = 1.0
"""About how long such a call may take: a request to stop is noticed between two of them."""


@dataclass(frozen=True)
class ShardData:
    """What an agent trains on. data: its fields, on the device. index: its number among the shards. samples: in it."""

    data: Batch
    index: int
    samples: int


class EpochBatches:
    """The batches of one shard by `batch_rows`, a function of (seed, shard, step). steps: how many it has room for."""

    def __init__(self, shard: ShardData, batch_size: int, seed: int, steps: int) -> None:
        self._shard, self._batch_size, self._seed, self._steps = shard, batch_size, seed, steps

    def __call__(self, step: int, count: int) -> tuple[Any, ...]:
        """rows, int32 (steps, batch_size), of which the first `count` are meant; shard, step and count."""
        shard, rows = self._shard, np.zeros((self._steps, self._batch_size), np.int32)
        rows[:count] = batch_rows(self._seed, shard.index, step, count, self._batch_size, shard.samples)
        return rows, *map(np.int32, (shard.index, step, count))


@dataclass(frozen=True)
class Progress:
    """Where training stands after a chunk of steps. step: taken in all. loss: of the last."""

    step: int
    loss: float

    @property
    def finite_loss(self) -> float | None:
        """For JSON, which has no NaN."""
        return self.loss if math.isfinite(self.loss) else None


class Trainer:
    """Compiles the learner's training function for one shard, and runs it.

    batches: of steps, with room for `chunk_steps`. schedule: how many to take in one go. shares_loss: whether others
    may see the loss. loss: of the last step before those that it takes.
    """

    def __init__(
        self,
        learner: Learner,
        shard: ShardData,
        batches: Batches,
        schedule: Schedule,
        recorder: Recorder | None = None,
        shares_loss: bool = True,
        loss: float = 0.0,
    ) -> None:
        self._learner, self._shard, self._batches, self._shares_loss = learner, shard, batches, shares_loss
        self._schedule, self._recorder = schedule, recorder
        self.chunk_steps = chunk_steps(schedule)
        self.loss = loss
        self.ended = False
        """Whether the last local step was taken, and the rule's end of it."""
        self._train: Any = None

    def compile(self, state: TrainState) -> TrainState:
        """The training function for any number of steps up to a chunk, compiled before the first batch."""
        none = self._batches(0, 0)
        self._train = self._learner.train.lower(state, self._shard.data, *none).compile()
        state, losses = self._train(state, self._shard.data, *none)
        self._learner.exchanged(state, self._learner.shared(state))
        self._learner.final(state)
        losses.block_until_ready()
        return state

    def run(
        self,
        state: TrainState,
        peer: Peer,
        steps: int,
        go_on: Callable[[], bool],
        after: Callable[[TrainState, Progress], None],
    ) -> TrainState:
        """Train until `steps` are taken in all, or `go_on` returns false; it is called before each chunk of steps.

        after: called after each chunk of steps and its boundary, if one was due.
        """
        step_s = 0.0
        while peer.step < steps and go_on():
            began_s = time.monotonic()
            step = peer.step
            count = min(self.chunk_steps, steps - step, self._schedule.steps_ahead(step, step_s))
            count = min(count, max(1, int(CHUNK_S / step_s))) if step_s else count
            state = self._chunk(state, step, count)
            step_s = (time.monotonic() - began_s) / count
            ours = self._learner.shared(state)
            mixed = peer.boundary(ours, count, self.loss if self._shares_loss else None)
            if mixed is not ours:
                state = self._learner.exchanged(state, mixed)
            after(state, Progress(peer.step, self.loss))
        return state

    def end(self, state: TrainState) -> TrainState:
        """What the learning rule ends with, of an agent that has taken its last step; called after `run`.

        Not of one that was interrupted, which goes on where it was.
        """
        self.ended = True
        if self._recorder is not None:
            self._recorder.note(ENDED)
            self._recorder.note(FINAL)
        return self._learner.final(state)

    def leave(self, state: TrainState, peer: Peer, timeout_s: float) -> TrainState:
        """Complete what is open, of an agent that was interrupted: the rule learns of it, as at any boundary.

        Else what its peers' rules have learned of these exchanges would have no counterpart. timeout_s: as in
        `Peer.gossip`.
        """
        if self._recorder is not None:
            self._recorder.note(TRAIN, 0, number=peer.step)  # Apart from what the last boundary brought.
        ours = self._learner.shared(state)
        mixed = peer.drain(peer.gossip(ours, timeout_s))
        return state if mixed is ours else self._learner.exchanged(state, mixed)

    def _chunk(self, state: TrainState, step: int, count: int) -> TrainState:
        """`count` local steps, the first of number `step`."""
        state, losses = self._train(state, self._shard.data, *self._batches(step, count))
        if self._recorder is not None:
            self._recorder.note(TRAIN, count, number=step)
        self.loss = float(np.asarray(losses)[count - 1])
        return state


def chunk_steps(schedule: Schedule) -> int:
    """How many local steps one call to the device takes at most."""
    return int(min(CHUNK_STEPS, schedule.steps_at_most))


def batches_of(prepared: Prepared, seed: int, shard: ShardData, steps: int, ledger: PrivacyLedger | None) -> Batches:
    """Those that the settings ask for, with room for so many steps. ledger: of a private run's budget."""
    if prepared.mechanism is None or ledger is None:
        return EpochBatches(shard, prepared.task.batch_size, seed, steps)
    return PoissonBatches(prepared.mechanism, steps, ledger.spend)


def restored(state: TrainState, saved: Checkpoint, learner: Learner) -> TrainState:
    """A fresh state with the params and the optimizer's state of a checkpoint. Raises StateError if they don't fit."""
    state = state._replace(opt_state=leaves.from_arrays(state.opt_state, list(saved.optimizer)))
    return learner.replace(state, saved.theta)
