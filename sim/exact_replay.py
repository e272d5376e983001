"""Replays a real run from its agents' recordings, bit for bit: the same operations on the same vectors, in order.

Each agent's tape is followed in its own order. What one agent takes from another (a chunk that was offered, a
difference that was answered) is waited for; everything else needs no order, which is why no clock is involved.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from agents.facts import THREADS
from agents.learning import leaves
from agents.learning.data import batch_rows, labels_or_count, load_rows, shard_rows
from agents.mixing.codec_names import choices
from agents.mixing.codecs import named
from agents.mixing.layout import Layout
from agents.mixing.learned import Learned
from agents.mixing.replica import Replica
from agents.prepare import partition_of
from agents.protocol.incarnation import NOBODY
from agents.recorder import (
    ADOPT,
    ANSWER,
    APPLY,
    DROP,
    ENDED,
    FINAL,
    KEEP,
    OFFER,
    PUBLISH,
    SAVE,
    SERVE,
    TRAIN,
    Recording,
)
from sim.passed import Between, Key, Saved
from sim.recordings import AgentRecordings, ReplayError, lacking, missing, recordings, resumed_from

Vector = NDArray[np.float32]


class Replayed(NamedTuple):
    """The agents' final vectors after a replay.

    agents: sorted. theta (agents, P): as last saved; of slices of a nested model in the common order of coordinates,
    with 0 where an agent holds nothing. steps (agents,). parts (agents,): which subnetwork each holds, where agents go
    from one to the next. notes: what could not be replayed, and why.
    """

    agents: list[str]
    theta: Vector
    steps: NDArray[np.int64]
    parts: NDArray[np.int64]
    notes: list[str]


def replay_exactly(run_dir: str | Path) -> Replayed:
    """Run every tape again with the learner's own compiled functions, one agent at a time.

    In a process of its own, with the threads and flags that the agents had, and no others: how XLA adds depends on
    them. An agent whose tape waits for something that no tape has (its peer is missing, or its tape was cut off) stops
    there, with a note.
    """
    found = recordings(run_dir)
    others = {name: value for name, value in os.environ.items() if name not in THREADS}
    environment = others | found[0].facts.get("environment", {})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "replayed.npz"
        command = [sys.executable, "-m", "sim.exact_replay", str(run_dir), str(out)]
        ended = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
            raise ReplayError(f"{run_dir} can't be replayed: {last}")
        with np.load(out) as arrays:
            names, notes = (json.loads(str(arrays[name])) for name in ("agents", "notes"))
            return Replayed(names, arrays["theta"], arrays["steps"], arrays["parts"], notes)


def follow(found: list[AgentRecordings]) -> Replayed:
    """`replay_exactly` in this process."""
    shared = Between()
    players = [_Player(recorded, shared) for recorded in found]
    while any([player.play() for player in players]):  # Not a generator: each has its turn.
        continue
    notes = missing(found) + [player.stuck for player in players if player.left]
    thetas, steps, parts = zip(*(player.last for player in players), strict=True)
    return Replayed([player.agent for player in players], np.stack(thetas), np.array(steps), np.array(parts), notes)


class _Player:
    """Follows the recordings of one agent, through all its incarnations."""

    def __init__(self, recorded: AgentRecordings, shared: Between) -> None:
        self.agent, self._shared, self._recorded = recorded.agent, shared, recorded
        self._seed, shards = recorded.learning.seed, recorded.placing.shard.shards
        self._equip(recorded.incarnations[0])
        partition, labels = partition_of(recorded.learning, self._task), labels_or_count(self._task.train_data)
        rows = shard_rows(partition, labels, shards, recorded.facts["index"], self._seed)
        self._data = jax.device_put(load_rows(self._task.train_data, rows))
        self._samples = len(rows)
        self._records = [(recording, record) for recording in recorded.incarnations for record in recording.records]
        self._at, self._steps, self._changed, self._part = 0, 0, False, 0
        self._mixed: Vector | None = None
        """What exchanges have made of what was trained last, over all that was published since; None: nothing yet."""
        self._recording: Recording | None = None
        self._kept: dict[int, Vector] = {}
        self._saved: dict[tuple[int, int] | None, Saved] = {}
        self._needed = {resumed_from(recording) for recording in recorded.incarnations}

    @property
    def left(self) -> int:
        """How many records are not replayed yet."""
        return len(self._records) - self._at

    @property
    def last(self) -> tuple[Vector, int, int]:
        """Theta, steps and subnetwork as saved; of an agent that is stuck, or was killed before it saved, as now."""
        self._take_in()
        theta, steps, part = self._theta_now(), self._steps, self._part
        if self._saved and not self.left and not any(one.ended for one in self._recorded.incarnations):
            saved = next(reversed(self._saved.values()))
            theta, steps, part = saved.theta, saved.step, saved.part
        return self._slice.padded(theta) if self._slice else theta, steps, part

    @property
    def stuck(self) -> str:
        """Where and for what the tape waits."""
        recording, record = self._records[self._at]
        if not self._can_begin(recording):
            return lacking(self.agent, recording)
        peer = recording.peers[record["peer"] - 1].agent if record["peer"] else ""
        return f"{self.agent} stops at record {self._at} of {len(self._records)}: it waits for {peer}"

    def play(self) -> bool:
        """Replay records until one needs another agent's vector that isn't there yet; whether any was replayed."""
        begun = self._at
        while self._at < len(self._records):
            recording, record = self._records[self._at]
            if not self._can_begin(recording):
                break
            if recording is not self._recording:
                self._begin(recording)
            if not self._do(recording, record):
                break
            self._at += 1
        return self._at > begun

    def _can_begin(self, recording: Recording) -> bool:
        """Whether an incarnation is under way, or what it went on from is here."""
        resumed = resumed_from(recording)
        return recording is self._recording or resumed is None or resumed in self._saved

    def _equip(self, recording: Recording) -> None:
        """What an incarnation trains and exchanges with: its steps, rates and codec may be other than before."""
        self._task, self._learner, blocks, _, _, self._slice = self._shared.trained(self._recorded, recording)
        whole = Layout(self._learner.spec, blocks.scope, self._learner.rule.vectors)
        self._layout = self._slice.layout if self._slice else whole
        self._codecs = choices(self._recorded.settings_in(recording)[1].codec)
        self._state = self._learner.init(self._seed)

    def _begin(self, recording: Recording) -> None:
        """An incarnation starts from the first model, or from a checkpoint of one before it."""
        self._equip(recording)
        saved = self._saved.get(resumed_from(recording))
        if saved is not None:
            self._state = self._state._replace(opt_state=leaves.from_arrays(self._state.opt_state, saved.optimizer))
            self._take(saved.theta)
        self._part = recording.facts.get("part", 0)
        self._replica = Replica(self._vector(), layout=self._layout)
        self._learned = Learned(named(self._codecs[0]), self._replica, saved.learned if saved else None)
        self._recording, self._trains, self._mixed = recording, True, None

    def _do(self, recording: Recording, record: Any) -> bool:
        """One record: False if what it takes is not there yet."""
        if record["op"] in (TRAIN, ADOPT, ENDED, SAVE):
            self._take_in()
        op, chunk, number, rate = int(record["op"]), int(record["chunk"]), int(record["number"]), float(record["rate"])
        peer = recording.peers[record["peer"] - 1] if record["peer"] else NOBODY
        ours: Key = (self.agent, recording.facts["incarnation"], number, chunk)
        theirs: Key = (peer.agent, peer.number, number, chunk)
        match op:
            case op if op == TRAIN:
                self._train(recording, number, chunk)
            case op if op == PUBLISH:
                self._publish(chunk)
            case op if op == OFFER:
                codec = self._learned.codec(self._codecs[int(rate)], chunk)
                self._shared.offers[ours] = codec, self._learned.offer(codec.name, chunk, self._replica.copy(chunk))
            case op if op == ANSWER:
                offered = self._shared.offers.pop(theirs, None)
                if offered is None:
                    return False
                codec, code = offered
                answered = self._replica.answer(chunk, code, rate, codec)
                self._shared.differences[theirs] = codec, answered
                self._learned.learn(codec.name, chunk, answered.code, began=False)
            case op if op == APPLY:
                difference = self._shared.differences.pop(ours, None)
                if difference is None:
                    return False
                codec, answered = difference
                self._replica.apply(chunk, answered.difference, rate)
                self._learned.learn(codec.name, chunk, answered.code, began=True)
            case op if op == SERVE:
                self._shared.pieces[theirs] = self._replica.copy(chunk)
            case op if op == KEEP:
                piece = self._shared.pieces.pop(ours, None)
                if piece is None:
                    return False
                self._kept[chunk] = piece
            case op if op == ADOPT:
                theta = self._theta_now()
                for k, piece in self._kept.items():
                    theta[self._replica.span(k)] = piece
                self._replica.adopt(theta)
                self._learned.begin()
                self._take(theta)
                self._kept.clear()
                self._part = chunk - 1 if chunk else self._part
            case op if op == ENDED:
                self._trains = False
            case op if op == FINAL:
                self._state = self._learner.final(self._state)
            case op if op == SAVE:
                self._save(recording, chunk, number)
            case op if op == DROP:
                self._saved.pop((recording.facts["incarnation"], chunk), None)
        return True

    def _save(self, recording: Recording, save: int, step: int) -> None:
        """Keep what this checkpoint held, and of those before it what a later incarnation goes on from and the last."""
        optimizer, last = [np.array(leaf) for leaf in leaves.to_arrays(self._state.opt_state)], list(self._saved)[-1:]
        self._saved = {key: kept for key, kept in self._saved.items() if key in self._needed or key in last}
        saved = Saved(self._theta_now(), optimizer, self._learned.saved, step, self._part)
        self._saved[recording.facts["incarnation"], save] = saved

    def _vector(self) -> Vector:
        """What training has made of all that is exchanged, in the order of exchanges: (V * P,)."""
        theta = np.array(self._learner.vector(self._state))
        return self._slice.common(theta) if self._slice else theta

    def _theta_now(self) -> Vector:
        """The model alone, in the order of exchanges: (P,)."""
        theta = np.array(self._learner.flatten(self._state.params))
        return self._slice.common(theta) if self._slice else theta

    def _own(self, vector: Vector) -> Vector:
        """A vector in the order of exchanges as the learner has it."""
        return self._slice.own(vector) if self._slice else vector

    def _take(self, theta: Vector) -> None:
        """Continue training from these parameters, which other vectors may follow."""
        self._state = self._learner.replace(self._state, self._own(theta)[: self._learner.size])

    def _take_in(self) -> None:
        """What exchanges did at a boundary: an agent that waits for its own publishes twice there, and learns once."""
        if self._mixed is not None:
            mixed, self._mixed = self._mixed, None
            self._state = self._learner.exchanged(self._state, self._learner.unpack(self._own(mixed)))

    def _train(self, recording: Recording, first: int, count: int) -> None:
        """As an agent trains: batches for a whole chunk of steps, of which `count` are taken."""
        index, chunk = recording.facts["index"], recording.facts["chunk_steps"]
        rows = batch_rows(self._seed, index, first, count, self._task.batch_size, self._samples)
        rows = np.resize(rows, (chunk, rows.shape[1]))
        scalars = map(np.int32, (index, first, count))
        self._state, _ = self._learner.train(self._state, self._data, rows, *scalars)
        self._steps = first + count

    def _publish(self, chunk: int) -> None:
        if chunk == 0:
            self._theta = self._vector() if self._mixed is None else self._mixed
            self._sum, self._changed = self._theta.copy(), False
        self._changed |= self._replica.publish(chunk, self._theta, self._sum)
        if chunk == self._replica.chunks - 1 and self._changed:
            if self._trains:
                self._mixed = self._sum
            else:
                self._take(self._sum)


def main() -> None:
    """`python -m sim.exact_replay RUN_DIR OUT.npz`: what `replay_exactly` starts."""
    run_dir, out = sys.argv[1:]
    made = follow(recordings(run_dir))
    names, notes = json.dumps(made.agents), json.dumps(made.notes)
    np.savez(out, agents=names, theta=made.theta, steps=made.steps, parts=made.parts, notes=notes)


if __name__ == "__main__":
    main()
