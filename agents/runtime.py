"""One agent, alive: the loop that joins learning, mixing, the protocol and a link.

    prepare   task, shard, learner, checkpoint; bind; only then compile
    meet      greet the swarm; a late joiner takes over a vector that is already trained
    train     local steps on the device; at each boundary take in what came and ask for the next exchange
    settle    gossip without training until everyone has finished; stay a little for `agent consensus`
    leave     checkpoint, goodbye

This thread trains and writes files. The network thread (network.py) owns the sockets; they meet in the replica.
"""

import logging
import math
import os
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from agents.checkpoint import Checkpoint
from agents.compiling import compiling
from agents.learning import leaves
from agents.learning.data import batch_rows, labels_or_count, load_rows, shard_rows
from agents.learning.failures import described_failure
from agents.learning.learner import Learner, TrainState, make_learner
from agents.learning.task import Task, TaskError, load_task, samples
from agents.mixing.chunks import chunk_count
from agents.mixing.replica import Replica
from agents.network import Network, View
from agents.protocol.gossip import GossipCore, Settings
from agents.recorder import FILE as RECORDING
from agents.recorder import PUBLISH, SAVE, TRAIN, Recorder
from agents.settings import Every, Gossiping, Learning, Placing, as_flags, parse_shard
from agents.store import Folder
from transport.addresses import advertised
from transport.link import Link
from transport.messages import Member

log = logging.getLogger("gossamer")

EPOCHS = 20
"""How long an agent trains if nobody says: passes over its shard."""

CHUNK_STEPS = 64
"""Local steps in one call to the device, at most; a compiled call takes any number up to this."""

WAIT_FOR_S = 60.0
"""How long --wait-for waits before it starts with those who are here."""

THREADS = "NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS"
"""What in the environment decides how XLA shares out a sum, and so its last bits."""

PACE_PERIODS, REST_PERIODS, STUCK_PERIODS = 2, 20, 200
"""How many periods an agent runs ahead of a peer before it rests, rests at most, and takes the peer for stuck."""

SETTLE_PAUSE_S = 0.02, 1.0
"""At least and at most, between two exchanges of an agent that trains no more: it keeps the pace it had in between."""


@dataclass(frozen=True)
class Report:
    """How a run of one agent ended."""

    agent: str
    run: str
    run_dir: str
    address: str
    steps: int
    exchanges: int
    bytes_sent: int
    loss: float
    metrics: dict[str, float]
    train_s: float
    seconds: float


class Agent:
    """Everything of one agent that `run` needs, checked, and bound to its address; nothing compiled yet.

    Raises TaskError, SettingsError, DataError, CheckpointError, LinkError: all of them before anything starts.
    """

    def __init__(self, learning: Learning, gossiping: Gossiping, placing: Placing) -> None:
        self.learning, self.gossiping, self.placing = learning, gossiping, placing
        self._began_s = time.monotonic()
        self._halt = threading.Event()
        self.name = placing.name or f"{socket.gethostname().split('.')[0]}-{secrets.token_hex(2)}"
        self.link = Link(None if placing.listen == "none" else placing.listen)
        try:
            self._prepare(learning, placing)
        except BaseException:
            self.link.close()
            raise

    def _prepare(self, learning: Learning, placing: Placing) -> None:
        self.address = placing.advertise or advertised(self.link.address, placing.join)
        started = f"{Path(learning.task).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        self.run_dir = placing.run_dir or Path("runs") / f"{started}-{self.name}"
        self.folder = Folder(self.run_dir, {"agent": self.name, "pid": os.getpid(), "address": self.address})
        try:
            self._learn(learning, placing)
        except BaseException:
            self.folder.abandon()
            raise

    def _learn(self, learning: Learning, placing: Placing) -> None:
        self.task = _task(learning)
        self._every = Every.parse(self.gossiping.every)
        self.index, shards = parse_shard(placing.shard)
        train = self.task.train_data
        rows = shard_rows(learning.partition, labels_or_count(train), shards, self.index, learning.seed)
        self.data = load_rows(train, rows)
        self.samples = len(rows)
        self.steps = total_steps(learning, samples(train), shards, self.task.batch_size)
        self.learner: Learner = make_learner(
            self.task, learning.optimizer, learning.learning_rate, self.steps, seed=learning.seed
        )
        self._resumed = self.folder.resume(model=self.learner.spec_hash, seed=learning.seed, shard=placing.shard)
        self._step = 0
        self._round = 0
        self._asked_step = 0
        self._loss = 0.0
        self._train_s = 0.0
        self._period_s = 0.0

    def halt(self) -> None:
        """Stop training at the next boundary, save and leave; may be called from a signal handler."""
        self._halt.set()

    def run(self, say: Callable[[str], None] = log.info) -> Report:
        """Live through it all. say: called with each line an operator should read."""
        self.folder.open()
        self.folder.write_config(self.learning, self.gossiping, self.placing, name=self.name)
        network: Network | None = None
        self._recorder: Recorder | None = None
        try:
            with compiling(self.learner.spec_hash):
                state, train = self._compiled(self._first_state())
            say(f"compiled after {time.monotonic() - self._began_s:.1f} s")
            core = self._core()
            recorder = self._recorder = Recorder(self.run_dir / RECORDING, self._life(core.members.me))
            replica = Replica(np.asarray(self.learner.flatten(state.params)), partial(recorder.note, PUBLISH))
            network = Network(core, replica, self.link, recorder)
            network.start(self._round)
            for line in self._introduction():
                say(line)
            state = self._meet(network, replica, state, say)
            state = self._train(network, replica, state, train, say)
            return self._settle(network, replica, state, say)
        finally:
            if network is not None:
                network.stop()
            if self._recorder is not None:
                self._recorder.close()
            self.folder.close()

    # Prepare.

    def _first_state(self) -> TrainState:
        state = self.learner.init(self.learning.seed)
        if self._resumed is None:
            return state
        self._step, self._round = self._resumed.facts["step"], self._resumed.facts["round"]
        state = state._replace(opt_state=leaves.from_arrays(state.opt_state, list(self._resumed.optimizer)))
        return self.learner.replace(state, self._resumed.theta)

    def _core(self) -> GossipCore:
        g, p = self.gossiping, self.placing
        settings = Settings(
            run=self._run_name(),
            topology=g.topology,
            seed=self.learning.seed,
            alpha=g.alpha,
            parameters=self.learner.size,
            model=self.learner.spec_hash,
            chunks=chunk_count(self.learner.size),
            join=tuple(p.join),
            listening=bool(self.link.address),
            silent_s=g.silent,
        )
        me = Member(
            self.name,
            time.time_ns(),
            address=self.address,
            shard=p.shard,
            weight=float(self.samples) if g.weigh == "samples" else 1.0,
            step=self._step,
            steps=self.steps,
            pid=os.getpid(),
            task=self.learning.task,
        )
        return GossipCore(settings, me)

    def _life(self, me: Member) -> dict[str, Any]:
        """What a replay must know of this life besides the settings."""
        return {
            "agent": me.agent,
            "incarnation": me.incarnation,
            "step": self._step,
            "index": self.index,
            "samples": self.samples,
            "steps": self.steps,
            "chunk_steps": self._chunk,
            "parameters": self.learner.size,
            "environment": {name: os.environ[name] for name in THREADS if name in os.environ},
        }

    def _note(self, op: int, chunk: int = 0, number: int = 0) -> None:
        if self._recorder is not None:
            self._recorder.note(op, chunk, number=number)

    def _run_name(self) -> str:
        if self.placing.run is not None or self.placing.join:
            return self.placing.run or ""
        return f"{self.task.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"

    def _compiled(self, state: TrainState) -> tuple[TrainState, Any]:
        """The training function for any number of steps up to a chunk, compiled before the first batch."""
        self._device_data = jax.device_put(self.data)
        self._chunk = min(CHUNK_STEPS, self._every.steps or CHUNK_STEPS)
        rows = np.zeros((self._chunk, self.task.batch_size), np.int32)
        none = [np.int32(number) for number in (self.index, 0, 0)]
        train = self.learner.train.lower(state, self._device_data, rows, *none).compile()
        for _ in range(2):  # No step, all the way round, twice: what comes out is what the next call will be given.
            state, losses = train(state, self._device_data, rows, *none)
            state = self.learner.replace(state, np.array(self.learner.flatten(state.params)))
        losses.block_until_ready()
        return state, train

    def _introduction(self) -> list[str]:
        task = f"{self.learning.task}, shard {self.placing.shard} ({self.samples} samples)"
        lines = [f"{self.name}: {task}, {self.learner.size:,} parameters, {self.steps} steps; files in {self.run_dir}"]
        if self._resumed is not None:
            lines.append(f"resuming at step {self._step}")
        if self.link.address:
            reach = self.address or self.link.address.replace("0.0.0.0", socket.gethostname())
            lines.append(f"listening on {reach}. On the next machine:\n    {self._invitation(reach)}")
        return lines

    def _invitation(self, reach: str) -> str:
        """The command that starts the next agent: with every setting of ours that isn't what it would be by itself."""
        shards = parse_shard(self.placing.shard)[1]
        told = as_flags(self.learning, self.gossiping)
        if self.placing.wait_for != Placing.wait_for:
            told += ["--wait-for", str(self.placing.wait_for)]
        return shlex.join(["agent", "run", *told, "--join", reach, "--shard", f"{(self.index + 1) % shards}/{shards}"])

    # Meet.

    def _meet(self, network: Network, replica: Replica, state: TrainState, say: Callable[[str], None]) -> TrainState:
        """Wait for whom we must; start from the swarm's model if it is already under way."""
        if self.placing.join:
            say(f"joining {' '.join(self.placing.join)}")
            while not self._halt.is_set() and not network.wait_until(lambda v: bool(v.welcomed and v.others), 0.2):
                continue
        state = self._caught_up(network, replica, state, say)
        network.tell(state="ready")
        deadline_s = time.monotonic() + WAIT_FOR_S
        while not self._halt.is_set() and not network.wait_until(self._are_here, 0.2):
            if time.monotonic() > deadline_s:
                say(f"--wait-for {self.placing.wait_for}: not all are here after {WAIT_FOR_S:.0f} s; starting")
                break
        return state

    def _are_here(self, view: View) -> bool:
        return 1 + sum(member.state != "joining" for member in view.others) >= self.placing.wait_for

    def _caught_up(
        self, network: Network, replica: Replica, state: TrainState, say: Callable[[str], None]
    ) -> TrainState:
        """A late joiner starts from the model of an agent that already trains."""
        if self._resumed is not None or not any(member.step > 0 for member in network.view().others):
            return state
        say("the swarm is already training: taking over its model")
        network.adopt()
        while not network.adopted(0.2):
            if self._halt.is_set():
                return state
        return self.learner.replace(state, replica.published)

    # Train.

    def _train(
        self, network: Network, replica: Replica, state: TrainState, train: Any, say: Callable[[str], None]
    ) -> TrainState:
        """Local steps and boundaries until the steps or the time are used up, or someone calls halt."""
        every, seed = self._every, self.learning.seed
        began_s = saved_s = time.monotonic()
        due_s = began_s + every.seconds
        step_s = 0.0
        first = self._step
        network.tell(state="training", step=self._step)
        while self._step < self.steps and not self._halt.is_set():
            now = time.monotonic()
            if self.placing.stop_after is not None and now - began_s >= self.placing.stop_after:
                break
            count = min(self._chunk, self.steps - self._step)
            if every.steps:
                count = min(count, every.steps - self._step % every.steps)
            elif step_s:
                count = max(1, min(count, int(every.seconds / 2 / step_s)))
            else:
                count = 1
            rows = batch_rows(seed, self.index, self._step, count, self.task.batch_size, self.samples)
            rows = np.resize(rows, (self._chunk, rows.shape[1]))
            state, losses = train(state, self._device_data, rows, *map(np.int32, (self.index, self._step, count)))
            self._note(TRAIN, count, self._step)
            self._loss = float(np.asarray(losses)[count - 1])
            self._step += count
            after = time.monotonic()
            step_s = (after - now) / count
            self._period_s = every.seconds or every.steps * step_s
            if every.steps:
                if self._step % every.steps == 0:
                    network.wait(self._round)
                    self._keep_pace(network.peer_step, step_s)
                    state = self._boundary(replica, state)
                    self._ask(network)
            elif after >= due_s:
                state = self._boundary(replica, state)
                if network.wait(self._round, 0):
                    self._ask(network)
                due_s = max(due_s + every.seconds, after)
            network.tell(step=self._step, loss=self._loss)
            self._measure(network.view())
            if after - saved_s > self.placing.checkpoint_every:
                saved_s = after
                self._save(state, network)
        took_s = self._train_s = time.monotonic() - began_s
        speed = (self._step - first) / max(took_s, 1e-9)
        say(f"trained {self._step - first} steps in {took_s:.1f} s ({speed:.0f} a second)")
        return state

    def _keep_pace(self, peer_step: int | None, step_s: float) -> None:
        """Rest for as long as the peer we just mixed with will need to catch up, if it is far behind.

        Agents that ran ahead would finish early and leave the model to those that are late, whose data it would then
        drift toward. All must take their steps before the swarm has finished, so this costs no time. A peer very far
        behind is new or stuck, and isn't waited for; nor is any where the time is limited rather than the steps.
        """
        if peer_step is None or self.placing.stop_after is not None:
            return
        periods = (self._asked_step - peer_step) / self._every.steps
        if PACE_PERIODS < periods < STUCK_PERIODS:
            self._halt.wait(min(periods - PACE_PERIODS, REST_PERIODS) * self._every.steps * step_s)

    def _ask(self, network: Network) -> None:
        self._round += 1
        self._asked_step = self._step
        network.ask(self._round)

    def _boundary(self, replica: Replica, state: TrainState) -> TrainState:
        """Publish theta, with all that came in since the last boundary."""
        merged, changed = replica.boundary(np.asarray(self.learner.flatten(state.params)))
        return self.learner.replace(state, merged) if changed else state

    # Settle and leave.

    def _settle(self, network: Network, replica: Replica, state: TrainState, say: Callable[[str], None]) -> Report:
        """Gossip without training until everyone has finished, no faster than before; stay for a while, and leave."""
        network.wait(self._round)
        state = self._boundary(replica, state)
        network.tell(state="settling", step=self._step, loss=self._loss)
        deadline_s = time.monotonic() + self.gossiping.settle
        pause_s = min(max(self._period_s, SETTLE_PAUSE_S[0]), SETTLE_PAUSE_S[1])
        told = False
        while not self._halt.is_set() and not network.wait_until(lambda v: v.all_finished, pause_s):
            if time.monotonic() > deadline_s:
                say(f"others still train after --settle {self.gossiping.settle:g} s: leaving them to it")
                break
            if not told:
                say("finished; gossiping on until everyone has")
                told = True
            self._ask(network)
            network.wait(self._round)
        state = self._boundary(replica, state)
        self._save(state, network)  # Before the task's own functions run on it.
        metrics, failure = {}, None
        if self.placing.evaluate:
            try:
                metrics = self._evaluate(state)
                say(f"{self.name}: " + ", ".join(f"test {name} {value:.4g}" for name, value in metrics.items()))
            except Exception as error:
                failure = TaskError(f"the metrics of task {self.task.name} failed: {described_failure(error)}")
        self._linger(network, say)
        state = self._boundary(replica, state)
        self._save(state, network)
        if failure is not None:
            raise failure
        view = network.view()
        self._measure(view, metrics)
        return Report(
            self.name,
            view.run,
            str(self.run_dir),
            self.address,
            self._step,
            view.me.exchanges,
            view.me.bytes_sent,
            self._loss,
            metrics,
            self._train_s,
            time.monotonic() - self._began_s,
        )

    def _linger(self, network: Network, say: Callable[[str], None]) -> None:
        view = network.view()
        if not (view.others or view.observed) or self._halt.is_set():
            return
        if self.gossiping.linger:
            say(f"everyone has finished; staying {self.gossiping.linger:g} s for `agent consensus`")
        deadline_s = time.monotonic() + self.gossiping.linger
        while not self._halt.is_set():
            view = network.view()
            if view.observed:
                deadline_s = max(deadline_s, time.monotonic() + 1)
            if time.monotonic() > deadline_s or not (view.others or view.observed):
                return
            self._halt.wait(0.05)

    def _evaluate(self, state: TrainState) -> dict[str, float]:
        test = {name: np.asarray(field[:]) for name, field in self.task.test_data.items()}
        return self.learner.evaluate(state.params, test)

    # Files.

    def _save(self, state: TrainState, network: Network) -> None:
        """What a resumed agent needs, and what a consensus needs of an agent that is no longer there."""
        view = network.view()
        facts = {
            "agent": self.name,
            "run": view.run,
            "members": sorted({member.agent for member in (*view.others, *view.gone)} | {self.name}),
            "weight": view.me.weight,
            "step": self._step,
            "round": self._round,
            "shard": self.placing.shard,
            "samples": self.samples,
            "seed": self.learning.seed,
            "task": self.learning.task,
            "model": self.learner.spec_hash,
        }
        theta = np.asarray(self.learner.flatten(state.params))
        parameters = [(name, shape) for name, shape, _ in self.learner.spec]
        if self.folder.save(Checkpoint(theta, leaves.to_arrays(state.opt_state), facts, parameters)):
            self._note(SAVE, number=self._step)

    def _measure(self, view: View, metrics: dict[str, float] | None = None) -> None:
        line: dict[str, Any] = {
            "step": self._step,
            "loss": self._loss if math.isfinite(self._loss) else None,
            "exchanges": view.me.exchanges,
            "bytes_sent": view.me.bytes_sent,
            "distance": view.me.distance,
            "members": 1 + len(view.others),
        }
        self.folder.measure(line | (metrics or {}), last=metrics is not None)


def _task(learning: Learning) -> Task:
    task = load_task(learning.task, learning.data)
    return task if learning.batch_size is None else replace(task, batch_size=learning.batch_size)


def total_steps(learning: Learning, samples: int, shards: int, batch_size: int) -> int:
    """Steps to train. Epochs count passes over a shard of average size, so that all agents take as many steps."""
    if learning.steps is not None:
        return learning.steps
    return math.ceil((learning.epochs or EPOCHS) * samples / shards / batch_size)
