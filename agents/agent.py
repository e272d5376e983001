"""One agent from its settings to its report: what `agent run` does.

prepare   bind; task, shard, learner, checkpoint: what is wrong shows before anything compiles
meet      join the swarm; a late joiner takes over a model that is already trained
train     local steps on the device; at each boundary take in what came and begin the next exchange
finish    gossip without training until everyone has finished; save; evaluate
leave     stay for `agent consensus` for a grace period, or until it was taken; complete what is open, save, leave
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from agents.bookkeeping import Bookkeeping
from agents.claim import claimed
from agents.compiling import compiling
from agents.completion import completed, known_before
from agents.config import as_flags, plain
from agents.evaluating import Evaluator, measured, shown
from agents.facts import checkpoint_facts, first_record, last_loss, recording_facts
from agents.goal import Scores
from agents.introduction import completion, invitation, opening, reachable
from agents.joining import shared, suggestions, task_name
from agents.learning.errors import TaskError
from agents.learning.rule_names import overlaps
from agents.learning.step import TrainState
from agents.peer import Peer, new_run, unique_name
from agents.prepare import can_replay, prepare
from agents.privacy_ledger import ledger_of
from agents.recorder import FILE as RECORDING
from agents.recorder import Recorder, recorder_of
from agents.report import Report, report_of
from agents.schedule import schedule_of
from agents.securing import listens_at, opened
from agents.settings import PLAIN, Gossiping, Learning, Placing, Securing
from agents.sinks.feed import CLOSE_S, HALTED_S
from agents.sinks.opening import feeds_of
from agents.sinks.sink import About
from agents.store import Folder
from agents.trainer import Progress, ShardData, Trainer, batches_of, chunk_steps, restored
from agents.turning import Turning
from agents.values import Every
from agents.waits import stay, wait_for_members, waited_out
from transport.addresses import advertised

log = logging.getLogger("gossamer")

Notify = Callable[[str], None]
"""Called with each line that an operator should read."""


class Agent:
    """One agent, its settings checked and its address bound; `run` compiles and trains.

    Raises TaskError, SettingsError, DataError, CheckpointError, LinkError: all of them before anything starts.
    """

    def __init__(self, learning: Learning, gossiping: Gossiping, placing: Placing, securing: Securing = PLAIN) -> None:
        self._began_s = time.monotonic()
        self._halt = threading.Event()
        self.live = False
        """Whether it takes part. Before that there is nothing to save, and nobody to leave."""
        self._words = as_flags(learning, gossiping, placing)
        with ExitStack() as on_failure:
            self._listen, self._securing = listens_at(placing, securing), securing
            self.link = opened(self._listen, placing.advertise, placing.join, securing)
            on_failure.callback(self.link.close)
            self.address = advertised(self.link.address, placing.join, placing.advertise)
            own, before = {self.address, self.link.address}, known_before(placing, learning.task, self._words)
            mine = completed((learning, gossiping, placing), own, self.link.credentials, before)
            self.learning, self.gossiping, self.placing = learning, gossiping, placing = mine
            self._claim = claimed(placing.run_dir, learning.task, placing.shard, self._words)
            on_failure.callback(self._claim.release)
            self.run_dir, last = self._claim.path, self._claim.last
            self.name = placing.name or last.agent or unique_name()
            self._run = placing.run or last.run or ("" if placing.join else new_run(task_name(learning.task)))
            me = {"agent": self.name, "pid": os.getpid(), "address": self.address}
            self.folder = Folder(self.run_dir, me, placing.keep_checkpoints, self._claim.renew)
            on_failure.callback(self.folder.abandon)
            self.prepared = prepare(learning, placing.shard, gossiping)
            self._resumed = self.folder.resume(
                model=self.prepared.learner.spec_hash, seed=learning.seed, shard=str(placing.shard)
            )
            self._saved = self._resumed.facts if self._resumed else {}
            self._turning = Turning(gossiping.turns, gossiping.submodel, placing.shard)
            self._ledger = ledger_of(learning, self.prepared, self.run_dir, self._saved, last)
            step = self._saved.get("step", 0)
            about = About(self.run_dir, self._run, self.name, plain(learning, gossiping), step)
            self._feeds = feeds_of(placing.track, placing.prometheus, about)
            on_failure.pop_all()

    def halt(self) -> None:
        """Stop training at the next boundary, save and leave; may be called from a signal handler."""
        self._halt.set()

    def run(self, notify: Notify = log.info) -> Report:
        """Compile, train, finish, save and leave. notify: called with each line an operator should read."""
        learning, learner, every, saved = self.learning, self.prepared.learner, self.gossiping.every, self._saved
        with ExitStack() as closing:
            closing.callback(self._claim.release)
            closing.callback(self.link.close)
            self.folder.open()
            closing.callback(self.folder.close)
            closing.callback(lambda: self._feeds.close(HALTED_S if self._halt.is_set() else CLOSE_S))
            self._feeds.start()
            listen, run, named = self._listen or "none", self._run or None, bool(self.placing.name)
            placing = replace(self.placing, name=self.name, run=run, run_dir=self.run_dir, listen=listen)
            self.folder.write_config(learning, self.gossiping, placing, self._securing)
            shard = ShardData(jax.device_put(self.prepared.data), self.prepared.index, self.prepared.samples)
            schedule = schedule_of(every, time.monotonic())
            incarnation = self._claim.begin(self.name, self._run, self._words, int(saved.get("incarnation", 0)), named)
            recorded = recording_facts(self.name, incarnation, saved, self.prepared, learning, self.gossiping)
            recorded |= {"chunk_steps": chunk_steps(schedule)} | self._turning.first(saved)
            tape, most_bytes = self.run_dir / RECORDING, int(placing.record_mb * 1e6)
            recorder = recorder_of(tape, placing.record and can_replay(learning, self.gossiping), most_bytes, recorded)
            if recorder is not None:
                closing.callback(recorder.close)
            if self._ledger is not None:
                closing.callback(self._ledger.close)
            batches = batches_of(self.prepared, learning.seed, shard, chunk_steps(schedule), self._ledger)
            trainer = Trainer(learner, shard, batches, schedule, recorder, self._ledger is None, last_loss(saved))
            with compiling(learner.spec_hash):
                state = trainer.compile(self._first_state())
            notify(f"compiled after {time.monotonic() - self._began_s:.1f} s")
            self.live = True
            peer = self._peer(state, every, incarnation, recorder)
            closing.callback(peer.close)
            me = self.name, learning, self.placing, self.prepared, str(self.run_dir), self.gossiping.submodel
            reach = reachable(self.link.address, self.address) if self.link.address else ""
            for line in opening(*me, saved.get("step"), reach, self._feeds.line):
                notify(line)
            facts = checkpoint_facts(
                self.name, incarnation, learning, self.placing.shard, self.prepared, self.gossiping.submodel, saved
            )
            every_s = self.placing.checkpoint_every
            books = Bookkeeping(self.folder, recorder, learner, facts, every_s, self._ledger, self._feeds)
            judge = Evaluator(self.prepared, books, learning.evaluate_every, saved)
            report = self._live(peer, trainer, judge, books, state, notify)
            if not self._halt.is_set():
                self._claim.finish()
            return report

    def _live(
        self, peer: Peer, trainer: Trainer, judge: Evaluator, books: Bookkeeping, state: TrainState, notify: Notify
    ) -> Report:
        """Meet, train, finish and leave."""
        learner, state = self.prepared.learner, self._meet(peer, state, notify)
        began_s = time.monotonic()
        if not peer.ready:  # Interrupted before: there is nothing of the swarm's that could be saved.
            return self._report(peer, trainer, {}, 0.0)
        state = self._train(peer, trainer, judge, state, notify)
        train_s = time.monotonic() - began_s
        if trainer.ended:
            state = self._finish(peer, state, notify)
        else:
            state = trainer.leave(state, peer, self.gossiping.settle)
        metrics: dict[str, float] = {}
        failure: TaskError | None = None
        if not self._halt.is_set():  # Else there is no time for it.
            books.end(peer, state)  # Before the task's own functions run on it.
            metrics, failure = judge.at_end(state) if self.placing.evaluate else ({}, None)
            if metrics:
                notify(f"{self.name}: {shown('test', metrics)}")
                books.consensus(peer, state, metrics)
            stay(peer.view, self.gossiping, self._halt, notify, books.again)
        state = self._with(state, peer.drain(learner.shared(state)))
        books.save(peer, state)
        books.check()
        if failure is not None:
            raise failure
        books.measure(Progress(peer.step, trainer.loss), peer.view(), measured("test", metrics))
        return self._report(peer, trainer, metrics, train_s)

    def _report(self, peer: Peer, trainer: Trainer, metrics: dict[str, float], train_s: float) -> Report:
        seconds = time.monotonic() - self._began_s
        return report_of(peer, self.run_dir, self.address, trainer.loss, metrics, train_s, seconds, self._ledger)

    # Prepare.

    def _first_state(self) -> TrainState:
        learner, saved = self.prepared.learner, self._resumed
        state = learner.init(self.learning.seed)
        return state if saved is None else restored(state, saved, learner)

    def _peer(self, state: TrainState, every: Every, incarnation: int, recorder: Recorder | None) -> Peer:
        learning, gossiping, placing, prepared = self.learning, self.gossiping, self.placing, self.prepared
        report = first_record(self._saved, placing.shard, prepared.steps)
        report |= self._turning.first(self._saved) | (self._ledger.record() if self._ledger else {})
        if prepared.goal is not None:
            report |= Scores.resumed(prepared.goal, self._saved).record()
        return Peer(
            prepared.learner.shared(state),
            task=task_name(learning.task),
            join=placing.join,
            every=every,
            alpha=gossiping.alpha,
            codec=gossiping.codec,
            choose=gossiping.choose,
            topology=gossiping.topology,
            weight=1.0 if gossiping.weigh == "equal" else float(prepared.samples),
            seed=learning.seed,
            name=self.name,
            run=self._run or None,
            advertise=self.address or None,
            network=gossiping.network,
            silent_s=gossiping.silent,
            finish=gossiping.finish,
            mask=gossiping.mask,
            clip=gossiping.clip,
            private=gossiping.private,
            submodel=gossiping.submodel,
            slice=prepared.slice,
            shared=shared(learning, gossiping, placing.shard) | dict(prepared.own),
            suggestions=suggestions(learning, gossiping, prepared.steps),
            report=report,
            round=self._saved.get("round", 0),
            remembered=self._saved.get("addresses", ()),
            learned=self._resumed.learned if self._resumed else None,
            link=self.link,
            incarnation=incarnation,
            recorder=recorder,
            interrupt=self._halt,
            keep_pace=placing.stop_after is None,
            overlap=overlaps(gossiping.overlap, prepared.learner.rule.name),
            vectors=prepared.learner.rule.vectors,
        )

    # Meet, train, finish.

    def _meet(self, peer: Peer, state: TrainState, notify: Notify) -> TrainState:
        """Wait for whom we must; start from the swarm's model if it is already under way."""
        if self.placing.join:
            notify(f"joining {' '.join(self.placing.join)}")
        trained = self._resumed is not None and self._resumed.facts["step"] > 0
        ours = self.prepared.learner.shared(state)
        theirs = peer.meet(ours, resumed=trained)
        if theirs is not ours:
            notify("the swarm is already training: took over its model")
        if self.link.address and peer.ready:
            taken = {member.report.shard for member in peer.view().others}
            reach = reachable(self.link.address, self.address)
            if line := invitation(self.learning, self.placing, reach, taken, self._securing):
                notify(line)
        wait_for_members(peer, self.placing, self._halt, notify)
        return self._with(state, theirs)

    def _with(self, state: TrainState, mixed: Any) -> TrainState:
        """The state with the params of what a peer gave back; the rule learns nothing of it."""
        return state._replace(params=self.prepared.learner.params_of(mixed))

    def _train(self, peer: Peer, trainer: Trainer, judge: Evaluator, state: TrainState, notify: Notify) -> TrainState:
        """Local steps and boundaries until steps or time are used up, the swarm stops, or someone calls halt."""
        first, began_s = peer.step, time.monotonic()
        limit_s, given_s = self.placing.stop_after or math.inf, self.gossiping.settle
        ledger, steps = self._ledger, self.prepared.steps
        if ledger is not None:
            steps = first + ledger.affordable(steps - first)

        def go_on() -> bool:
            in_time = time.monotonic() - began_s < limit_s and peer.waited_s <= given_s and not judge.agreed(peer)
            return in_time and not self._halt.is_set() and (ledger is None or ledger.book(trainer.chunk_steps))

        peer.publish("training")
        run = partial(trainer.run, peer=peer, go_on=go_on, after=partial(judge.after_steps, peer))
        state = self._turning.train(state, peer, steps, run, self.prepared.learner)
        if not self._halt.is_set():
            state = trainer.end(state)
        took_s, taken = max(time.monotonic() - began_s, 1e-9), peer.step - first
        notify(f"trained {taken} steps in {took_s:.1f} s ({taken / took_s:.0f} a second)")
        if judge.stopped:
            notify(judge.stopped)
        elif peer.step < steps and peer.waited_s > given_s:
            notify(f"{waited_out(peer.waited_s, given_s)}: ending at step {peer.step} of {steps}")
        if ledger is not None:
            ledger.close()
            peer.report(**ledger.record())
            notify(f"each example of the shard has given away {ledger}")
        return state

    def _finish(self, peer: Peer, state: TrainState, notify: Notify) -> TrainState:
        """Gossip without training until everyone has finished."""
        finish_s, ours = self.gossiping.settle, self.prepared.learner.shared(state)
        mixed = peer.gossip(ours, finish_s, lambda: notify("finished; gossiping on until everyone has"))
        if not peer.view().all_finished and not self._halt.is_set():
            notify(f"others still train long after --settle {finish_s:g} s: finishing without them")
        if peer.view().exact:
            notify(completion(peer.view(), self.gossiping.submodel))
        return self._with(state, mixed)
