"""A member of a swarm for anybody's training loop: `agent run` is a trainer on top of it (DESIGN 1.9).

with Peer(params, task="mine", listen="tcp://0.0.0.0:5710", join=["tcp://other:5710"], secret="secret") as peer:
    for batch in data:
        params, opt_state = step(params, opt_state, batch)
        params = peer.boundary(params)
    params = peer.finish(params)
"""

import logging
import math
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any

import numpy as np

from agents.checks import (
    check_alpha,
    check_choose,
    check_codec,
    check_finish,
    check_mask,
    check_network,
    check_seed,
    check_text,
    check_texts,
    check_topology,
    check_weight,
    parsed,
    texts,
)
from agents.descriptors import dialable
from agents.lateness import Lateness
from agents.learning.parameters import hash_of, parameters
from agents.learning.ravel import Ordered, Ravel, model_in
from agents.learning.rules.rule import checked_vectors
from agents.learning.task import Params
from agents.manifest import Manifest
from agents.mixing.blocks import blocks_of, patterns
from agents.mixing.clipping import Radii
from agents.mixing.codec_names import choices
from agents.mixing.codecs import named as codec_named
from agents.mixing.layout import THETA, Layout
from agents.mixing.nested import Slice
from agents.mixing.replica import Replica
from agents.network import Network, PeerClosed
from agents.protocol.blocking import CHUNK_S
from agents.protocol.core import GossipCore
from agents.protocol.events import Drain, FinishExactly, GiveUpFinish, TookOver
from agents.protocol.limits import EXACT_S
from agents.protocol.membership import ABSENT
from agents.protocol.settings import CoreSettings
from agents.protocol.timing import TIMINGS
from agents.published import one_number, plain_settings, report_fields, whole
from agents.recorder import PUBLISH, Recorder
from agents.requests import StopRequests
from agents.schedule import schedule_of
from agents.securing import opened
from agents.settings import CLIP, Securing
from agents.sketching import Sketching
from agents.submodel import WHOLE, block_count, check_slice, part_of, stays
from agents.values import Clip, Every
from agents.vectors import ReplicaVectors
from agents.view import View
from topology.choices import UNIFORM
from transport.addresses import advertised, is_address, without_key
from transport.link import Link
from transport.messages import Address, AgentId, Identity, Liveness, Member, Plain, Report
from transport.signing import signer

log = logging.getLogger("gossamer")

LOOK_S = 0.2
"""While something is waited for: how often an interruption is noticed."""

DRAIN_S = 5.0
"""How long exchanges that are open may take to be completed when we leave."""

TURN_S = 30.0
"""How long the vector of another subnetwork may take to come."""

FINISH_S = 60.0
"""How long `finish` waits for the others, once half have finished."""

STOP_S = 10.0
"""How long those that still train then have until they stop, at their next boundary."""

MISSED_S = 2.0
"""For so long all others have finished without us before we take over what they hold."""

RECENT = 8
"""Of how many boundaries the time of a step is known."""

PAUSE_S = 0.02, 1.0
"""At least and at most, between two exchanges of an agent that trains no more: it keeps the pace it had before."""


class Peer:
    """Takes part in a swarm with the model `params`: any pytree of float arrays, NumPy's or JAX's.

    Start all members from equal params. Call `boundary` after each local step, and go on with the params that it
    returns. While the loop is elsewhere the peer answers from what was last published. Call `finish` to agree with the
    others at the end, and `close`, or use it in a with-block. Peers exchange in float32, whatever the params are, and
    float64 params keep what that can't hold of them.

    Equal in all agents of a run, or they are refused: task, any name for what is trained; alpha, how much of itself an
    agent keeps in an exchange, in [0, 1]; topology, who may exchange with whom (ring, torus, base:2, ...); seed, of the
    choice of neighbors; finish, "exact" to end with the mean of all in all, "gossip" to end near it; what else stands
    in `shared`; and names, shapes and dtypes of the params.

    codec: how differences are written in the exchanges that we begin, if the peer has that codec: "float32",
    "bfloat16", "lattice:4", what else `agents.mixing.codec_names` has, or "auto" to choose by what exchanges take.

    choose: which neighbor we turn to: "uniform", each equally likely, "roundrobin", one after the other, or "fastest",
    the likelier, the less time exchanges with it took.

    private: patterns of parameters' names, such as "head/*", that never leave this peer; equal in all agents too.
    submodel: "layers:K" where each trains one of K blocks of layers, that of shard s, as in report={"shard": "s/n"},
    being s mod K: the loop leaves the others as they are, and takes them over from who trains them; "width:K" where
    the params are those of subnetwork s mod K, which mix with others of the same alone, and where all give a first
    `part` in their report each but the first K may `turn` to another; "nested" where they are a slice of a larger
    model. Equal in all. slice: which, as `agents.subnetworks.slice_of` has it; each peer's own.
    mask: scale of the noise, in the units of the params, on what others see of them; it leaves the swarm's mean alone.
    remembered: addresses of others that an earlier incarnation of this agent knew, tried beside `join`.
    learned: what the codec had learned in an earlier incarnation of this agent, as `learned()` returned it.
    clip: how far one exchange may move this model, as so many times what training moves it between two boundaries;
    math.inf for any distance. Of two that exchange the smaller one counts.

    listen: tcp://HOST:PORT, port 0 for any free one, None behind NAT. join: addresses of agents of the swarm. every:
    how often an exchange is begun, "10steps" or "0.5s". weight: of this model in exchanges and in the consensus, > 0.
    name: unique in the swarm; made from the host's if None. run: its name; if None that of the swarm, or a new one.
    advertise: the address to publish, if peers can't use the one that this machine sees itself. network: what lies
    between the peers, "local", "lan" or "wan", by which waiting is timed (`agents.protocol.timing`); silent_s: how long
    a member that answers nobody is only suspected, in place of the network's. suggestions: settings that a joiner may
    take over. report: more fields of this member's record. round: of the last exchange begun by an earlier incarnation
    of this agent; incarnation: number of this one, greater than all that this name had before, which only a counter on
    a disk can promise; if None, 1 for a name that is made up, and the time of this machine's clock for one that is
    given: a peer that restarts with its clock set back is taken for the older one. link: bound already, in place of
    `listen`; the peer closes it. recorder: notes what is done to the vector. interrupt: ends every wait for others when
    it is set, as a signal handler may, or `agent stop`; only `drain`, which is short, isn't ended. keep_pace: rest
    where a peer is far behind, so that all take their steps in about the same time; not where the time is limited.
    overlap: whether training goes on while its exchange is under way, and takes it in at the next boundary, or at a
    later one if it takes longer; if not, a boundary waits for what it has begun as long as its peer answers in time.
    vectors: names of what is exchanged, where that is more than the params, as in ("theta", "momentum"): these are a
    tuple then, in each call, of pytrees of the same shapes, the params first; a joiner takes over the first alone.
    key, trust: files with our secret key and the public keys of who may take part, made by `agent keygen` and `agent
    trust add`; or secret: a file that all members have. With neither, all addresses must be on this machine, unless it
    is insecure.

    Raises SettingsError, TaskError or TopologyError for what can't be used, LinkError if `listen` can't be bound.
    """

    def __init__(
        self,
        params: Params,
        *,
        task: str,
        listen: str | None = "tcp://127.0.0.1:0",
        join: Iterable[str] = (),
        every: str | Every = "10steps",
        alpha: float = 0.5,
        topology: str = "ring",
        weight: float = 1.0,
        seed: int = 0,
        codec: str = "float32",
        choose: str = UNIFORM,
        finish: str = "exact",
        clip: float | Clip = CLIP,
        mask: float = 0.0,
        private: str | Iterable[str] = (),
        submodel: str = WHOLE,
        slice: Slice | None = None,
        name: str | None = None,
        run: str | None = None,
        advertise: str | None = None,
        network: str = "lan",
        silent_s: float | None = None,
        shared: Mapping[str, Plain] | None = None,
        suggestions: Mapping[str, Plain] | None = None,
        report: Mapping[str, Any] | None = None,
        round: int = 0,
        remembered: Iterable[str] = (),
        learned: np.ndarray[Any, np.dtype[np.float32]] | None = None,
        link: Link | None = None,
        incarnation: int | None = None,
        recorder: Recorder | None = None,
        interrupt: threading.Event | None = None,
        keep_pace: bool = True,
        overlap: bool = True,
        vectors: tuple[str, ...] = (THETA,),
        key: str | Path | None = None,
        trust: str | Path | None = None,
        secret: str | Path | None = None,
        insecure: bool = False,
    ) -> None:
        join, remembered = texts("--join", join), texts("remembered", remembered)
        every, clip = parsed("--every", Every, every), parsed("--clip", Clip, clip)
        vectors = checked_vectors(vectors, "Peer")
        check_alpha(alpha)
        check_codec(codec)
        check_topology(topology)
        check_choose(choose, topology)
        check_weight(weight)
        check_seed(seed)
        check_network(network, silent_s)
        check_finish(finish)
        check_mask(mask)
        check_texts(name=name, run=run)
        check_text("task", task)
        check_slice(submodel, slice, private := patterns(texts("--private", private)), codec, len(vectors))
        round = whole("round", round)
        incarnation = None if incarnation is None else whole("incarnation", incarnation)
        report = report_fields(report or {})
        self._ravel = Ravel(params) if slice is None else Ordered(params, slice.places)
        spec = parameters(model_in(params, vectors))
        self._schedule = schedule_of(every, time.monotonic())
        self.name = AgentId(name or unique_name())
        with ExitStack() as on_failure:
            securing = Securing(key=_path(key), trust=_path(trust), secret=_path(secret), insecure=insecure)
            link = link or opened(listen, advertise, join, securing)
            on_failure.callback(link.close)
            self.address = Address(advertised(link.address, join, advertise))
            ours = {without_key(self.address), without_key(link.address)}
            join = tuple(address for address in join if without_key(address) not in ours)
            if slice is None:
                blocks = blocks_of(Layout(spec), private, block_count(submodel))
                self._layout = layout = Layout(spec, blocks.scope, vectors)
            else:
                blocks = slice.blocks
                self._layout = layout = slice.layout
            agreed: dict[str, Plain] = {
                "task": task,
                "model": hash_of(spec) if slice is None else slice.model,
                "alpha": float(alpha),
                "topology": topology,
                "seed": int(seed),
                "finish": finish,
                "private": ",".join(private),
                "submodel": submodel,
                **blocks.settings,
            }
            suggested = {"codec": codec, "choose": choose, **(suggestions or {})}
            self.manifest = Manifest(
                plain_settings("shared settings", {**agreed, **(shared or {})}),
                plain_settings("suggestions", suggested),
            )
            settings = CoreSettings(
                run=run or ("" if join else new_run(task)),
                topology=topology,
                seed=int(seed),
                alpha=float(alpha),
                parameters=layout.size,
                chunks=len(layout.chunks),
                of_theta=len(layout.theta_chunks),
                blocks=blocks.of_chunks * len(vectors) if blocks.count > 1 else (),
                manifest=self.manifest,
                codec=codec,
                choose=choose,
                join=join,
                remembered=tuple(each for each in remembered if is_address(each) and without_key(each) not in ours),
                listening=bool(link.address),
                **asdict(TIMINGS[network]) | ({} if silent_s is None else {"silent_s": silent_s}),
                dialed=dialable(),
            )
            by_itself = {"weight": float(weight), "pid": os.getpid(), "task": task, "codec": choices(codec)[0]}
            by_itself |= {"capacity": slice.capacity} if slice else {}
            me = Member(
                Identity(self.name, incarnation or (time.time_ns() if name else 1), self.address),
                Liveness(state="joining" if join else "ready"),
                Report(**{**by_itself, **report}),
            )
            core = GossipCore(settings, me, signer(link.credentials, self.manifest.hash))
            published = partial(recorder.note, PUBLISH) if recorder else None
            radii = Radii(clip.factor, len(layout.chunks)) if clip.factor < math.inf else None
            theta, moved = np.concatenate(self._ravel.parts(params)), radii.moved if radii else None
            self._replica = Replica(theta, published, layout, moved)
            self._vectors = ReplicaVectors(
                self._replica,
                codec_named(choices(codec)[0]),
                core.exchanges.is_open,
                recorder,
                radii,
                mask,
                lambda: core.finish.complete,
                core.ownership.trains,
                learned,
                choices(codec),
            )
            self._interrupted = interrupt or threading.Event()
            self._network = Network(core, self._vectors, link, recorder, StopRequests(link, self._interrupted.set))
            self._sketching = Sketching(
                self._replica,
                layout.theta_chunks if slice is None else blocks.scopes[0].chunks(),  # Of slices what all hold.
                int(seed),
                self._network.view,
                self._network.handle,
                lambda: self._network.runs,
                submodel,
            )
            on_failure.pop_all()
        self._ready, self._submodel = not join, submodel
        self._drained, self._drained_s = False, 0.0
        self._exact = finish == "exact"
        self._keeps_pace, self._overlaps = keep_pace, overlap
        self._lateness = Lateness()
        self._round = round
        self._step = self._resumed_step = me.report.step
        self._part = me.report.part
        self._resumed_s = time.monotonic()
        self._step_times: deque[float] = deque(maxlen=RECENT)
        self._sketching.holds(me.report.part)
        self._network.start(round)
        if not mask:  # What others see of the model is masked, and so would have to be its sketch.
            self._sketching.start()

    # For any training loop.

    @property
    def members(self) -> tuple[Member, ...]:
        """The members that are alive, this one included, sorted by name."""
        view = self._network.view()
        return tuple(sorted((view.me, *view.others), key=lambda member: member.agent))

    @property
    def run(self) -> str:
        """The run's name; "" until a swarm that we join has welcomed us."""
        return self._network.view().run

    @property
    def asked_to_stop(self) -> bool:
        """Whether `agent stop`, or whoever holds `interrupt`, asks this peer to finish and to leave."""
        return self._interrupted.is_set()

    @property
    def waited_s(self) -> float:
        """For how long at least half of the members have finished: how long a loop that still trains is waited for.

        Infinity once all others have finished without this peer: `finish` takes over their model, if it comes in time.
        """
        view = self._network.view()
        return math.inf if view.left_behind else view.waited_s

    def boundary(self, params: Params, steps: int = 1, loss: Any = None) -> Params:
        """After `steps` local steps: params, mixed with what peers sent, whenever an exchange is due.

        Returns the same pytree of the same kinds of arrays; the very same one if nothing came. Publishes it, and begins
        the next exchange. With every="10steps" it waits for the exchange begun at the last boundary where that should
        be over by now; one that takes longer is taken in at a later boundary, and none is begun meanwhile. With "0.5s"
        it never waits. A peer that joins a swarm under way takes over its model here.
        loss: a number or an array of one, published with the record. Raises SwarmError if the swarm refuses us,
        TaskError if it is another pytree than before, SettingsError for other steps or losses, PeerClosed after
        `finish`.
        """
        before, step = self._step, whole("steps so far", self._step + whole("steps", steps))
        due = self._schedule.due(before, step, time.monotonic())
        progress: dict[str, Any] = {"step": step}
        if loss is not None and due:  # A loss on the device is waited for where something is waited for anyway.
            progress["loss"] = one_number("loss", loss)
        self._step, self._network.progress = step, self._network.progress | progress
        return self._at_boundary(params) if due else params

    def finish(self, params: Params, timeout_s: float = FINISH_S) -> Params:
        """Gossip without training until everyone has finished: params as they are then.

        timeout_s: how long others are waited for once at least half of all have finished; ten seconds later they are
        left out, unless their loop has looked at `waited_s` and finishes too. Afterwards no exchange is begun or
        answered, so that nothing is lost when this peer closes.
        """
        return self.drain(self.gossip(params, timeout_s))

    def close(self) -> None:
        """Complete open exchanges, publish that we leave, and close every socket.

        What these exchanges bring in comes too late for the caller's params: call `finish` or `drain` before, or it is
        lost to the swarm.
        """
        try:
            if self._network.runs:
                self._wait_until_drained(DRAIN_S)
        finally:
            self._sketching.stop()
            self._network.stop()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # For a trainer that wants more, such as that of `agent run`.

    @property
    def step(self) -> int:
        """Local steps taken."""
        return self._step

    @property
    def round(self) -> int:
        """Exchanges begun or tried so far."""
        return self._round

    @property
    def ready(self) -> bool:
        """Whether we are in the swarm: welcomed, and with its model if it was under way when we joined."""
        return self._ready

    @property
    def consensus_distance(self) -> float | None:
        """How far the models of the swarm are from their mean, estimated from sketches; None if nothing is known."""
        return self._sketching.distance

    def view(self) -> View:
        """The swarm as this peer knows it now. Raises SwarmError if it was refused."""
        return self._network.view()

    def publish(self, state: str) -> None:
        """Publish this member's state (`transport.messages`) to all connections. A peer that isn't ready stays so."""
        if self._ready:
            self._network.publish(state=state, **self._network.progress)

    def report(self, **fields: Any) -> None:
        """Set fields of this member's record (`transport.messages.Report`), published with its progress.

        Raises SettingsError for what a record doesn't have, or not so.
        """
        self._network.progress = self._network.progress | report_fields(fields)

    def meet(self, params: Params, resumed: bool = False) -> Params:
        """Wait until the swarm has welcomed us, and take over its model if it is already training.

        resumed: these params are our own from an earlier incarnation; keep them.
        """
        while not self._ready and not self._interrupted.is_set():
            if self._welcomed(LOOK_S):
                params = self._enter(params, resumed)
        return params

    def wait_for(self, members: int, timeout_s: float) -> bool:
        """Wait until so many members, this one included, hold a model; False if time is up or we are interrupted.

        A swarm in which somebody trains has begun: it isn't waited for. If the swarm that we join trains already, call
        `meet` first.
        """
        deadline_s = time.monotonic() + timeout_s

        def are_here(view: View) -> bool:
            here = sum(member.state not in ABSENT for member in view.others)
            return self._ready and (1 + here >= members or any(m.state == "training" for m in view.others))

        while not self._interrupted.is_set():
            if not self._ready and self._welcomed(0) and not self._others_train(self._part):
                self._become_ready()
            if self._network.wait_until(are_here, LOOK_S):
                self._resumed_s = time.monotonic()
                return True
            if time.monotonic() > deadline_s:
                return False
        return False

    @property
    def part(self) -> int:
        """Which subnetwork we hold, where agents go from one to another; else OF_SHARD: that of the shard."""
        return self._part

    def turn(self, params: Params, part: int) -> Params:
        """Go to another subnetwork, with submodel "width:K": the params of an agent that trains it, or ours as before.

        Call it between two boundaries; the property `part` is then the subnetwork that we train. Exchanges that are
        open get a second to complete. The new vector is downloaded from any member that trains that subnetwork, for
        TURN_S at most; local steps since the last boundary are discarded with the old one.

        Nothing changes if no vector arrives in time, if no other live member permanently trains our current subnetwork
        (its shard's number is below K), so that no subnetwork loses its last agent, or once half of the members have
        finished.
        """
        began_s = time.monotonic()
        left_to = any(stays(self._submodel, member.report.shard) for member in self._holding(self._part))
        may_go = self._ready and left_to and not self.waited_s
        if part == self._part or not may_go or not self._others_train(part):
            return params
        self._wait_for_exchange()
        self._sketching.holds(None)
        self._network.adopt(part)
        if self._adopts(TURN_S, lambda: self._others_train(part)):
            params, self._part = self._adopted(params), part
        else:
            params = self.take_in(params)
        self._sketching.holds(self._part)
        self._network.publish(part=self._part, state="training")
        self._resumed_s, self._resumed_step = time.monotonic(), self._step
        self._network.waited_s += self._resumed_s - began_s
        return params

    def learned(self, note: Callable[[], None] = lambda: None) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What the codec has learned of the differences to others, to be saved; empty if it learns nothing.

        note: called meanwhile, while no difference is applied.
        """
        return self._vectors.learned(note)

    def take_in(self, params: Params) -> Params:
        """Publish params plus what came since the last boundary, whether or not an exchange is due."""
        restore = partial(self._ravel.restore, like=params)
        restored = self._replica.boundary(self._ravel.parts(params), self._ravel.fresh, restore)
        return params if restored is None else restored

    def gossip(self, params: Params, timeout_s: float = FINISH_S, waiting: Callable[[], None] = lambda: None) -> Params:
        """Go on exchanging without training until everyone has finished, or time is up. waiting: called if it must.

        timeout_s: how long others are waited for once at least half of all have finished; then they have ten seconds
        to stop, and are left out if they don't. A peer that isn't in the swarm yet waits for its welcome first.
        """
        self._check_takes_part()
        deadline_s = time.monotonic() + timeout_s
        while not self._ready and not self._interrupted.is_set() and time.monotonic() < deadline_s:
            if self._welcomed(LOOK_S):
                params = self._enter(params, resumed=False)
        if not self._ready:
            return params
        self._wait_for_exchange()
        params = self.take_in(params)
        self.publish("settling")
        if self._exact:
            self._network.handle(FinishExactly())
        pause_s = min(max(self._schedule.period_s(self._step_s), PAUSE_S[0]), PAUSE_S[1])
        waited = False
        while not self._interrupted.is_set() and not self._network.wait_until(lambda v: v.all_finished, pause_s):
            if self._network.view().waited_s > timeout_s + STOP_S:
                break
            if not waited:
                waited = True
                waiting()
            if self._network.wait(self._round, 0):
                self._ask()
            self._wait_for_exchange()
        if self._exact and not self._interrupted.is_set():
            if not self._network.view().all_finished:
                self._network.handle(FinishExactly(without_others=True))
            params = self._wait_for_finish(params)
        return self.take_in(params)

    def drain(self, params: Params, timeout_s: float = DRAIN_S) -> Params:
        """Begin and answer no exchange any longer, complete those that are open: params with all that came."""
        self._wait_until_drained(timeout_s)
        return self.take_in(params) if self._ready else params

    # How it is done.

    def _at_boundary(self, params: Params) -> Params:
        self._check_takes_part()
        took_s, taken = time.monotonic() - self._resumed_s, self._step - self._resumed_step
        self._step_times.append(took_s / max(1, taken))
        if not self._ready and self._welcomed(0):
            params = self._enter(params, resumed=False)
        if self._ready:
            params = self._exchanged(params)
        self._resumed_s, self._resumed_step = time.monotonic(), self._step
        return params

    def _exchanged(self, params: Params) -> Params:
        began_s = time.monotonic()
        if self._schedule.waits:
            self._wait_for_exchange(began_s - self._resumed_s if self._overlaps else math.inf)
            if self._keeps_pace:
                self._rest(self._schedule.rest_s(self._network.ahead, self._step_s))
            self._network.waited_s += time.monotonic() - began_s
        params = self.take_in(params)
        self._sketching.reached(self._step)
        if self._network.wait(self._round, 0):
            self._ask()
            if self._schedule.waits and not self._overlaps:
                asked_s = time.monotonic()
                self._wait_for_exchange()
                self._network.waited_s += time.monotonic() - asked_s
                params = self.take_in(params)
        else:
            self._lateness.skipped(self._round)
            self._network.skip()
        return params

    def _rest(self, rest_s: float) -> None:
        """Let a peer catch up for so long, unless half have finished: they wait for us."""
        deadline_s = time.monotonic() + rest_s
        while (left_s := deadline_s - time.monotonic()) > 0 and not self._network.view().waited_s:
            if self._interrupted.wait(min(LOOK_S, left_s)):
                return

    @property
    def _step_s(self) -> float:
        """Seconds of one local step, on average between recent boundaries, all but the longest: that may be a pause."""
        times = sorted(self._step_times)
        return fmean(times[:-1] or times) if times else 0.0

    def _wait_for_exchange(self, period_s: float = math.inf) -> None:
        """Until the last exchange that we began is over, or we are interrupted, or it is late (`agents.lateness`).

        period_s: what the local steps before this boundary took.
        """
        began_s, left_s = time.monotonic(), 0.0
        while not self._network.wait(self._round, min(LOOK_S, left_s)) and not self._interrupted.is_set():
            limit_s = self._lateness.limit_s(self._round, self._network.expected_s, period_s)
            left_s = limit_s - (time.monotonic() - began_s)
            if left_s <= 0:
                return

    def _wait_for_finish(self, params: Params) -> Params:
        """Until the exact finish is over, or takes too long, or we are interrupted; our params then.

        They are those of the others if these finished without us, while this machine slept, say, or was restarted.
        """
        began_s = missed_s = time.monotonic()
        missed, asked = "", False
        while not self._network.wait_until(lambda view: view.finish_over, LOOK_S):
            if self._interrupted.is_set():
                return params
            view, now = self._network.view(), time.monotonic()
            missed, missed_s = view.missed, missed_s if view.missed == missed else now
            still_s = min(view.finish_still_s, now - began_s)
            if missed and not asked and now - missed_s >= MISSED_S:
                asked = True
                self._network.adopt(finished=missed)
                if self._adopts(EXACT_S + CHUNK_S * self._replica.chunks, lambda: bool(self._network.view().missed)):
                    self._network.handle(TookOver(missed))
                    params = self._adopted(params)
            elif still_s > EXACT_S:
                log.warning("the exact finish has not progressed for %g s: this model is not exactly the mean", still_s)
                self._network.handle(GiveUpFinish())
                return params
        return params

    def _enter(self, params: Params, resumed: bool) -> Params:
        """From joining to ready: with the swarm's model, if it is under way and we have none of our own."""
        if not resumed and self._others_train(self._part):
            self._network.adopt()
            if self._adopts():
                params = self._adopted(params)
            elif self._interrupted.is_set():
                return params
        self._become_ready()
        return params

    def _adopts(self, timeout_s: float = math.inf, there: Callable[[], bool] | None = None) -> bool:
        """Whether the vector that was asked for has come, and is ours now. there: whether anybody still has it."""
        there = there or partial(self._others_train, self._part)
        deadline_s = time.monotonic() + timeout_s
        while not self._network.adopted(LOOK_S):
            late = self._interrupted.is_set() or time.monotonic() > deadline_s
            if late or not there():  # Those ahead may have gone, and their model with them.
                self._network.stop_adopting()
                break
        return self._network.adopted(0)

    def _adopted(self, params: Params) -> Params:
        """The params with the swarm's values in all coordinates that are exchanged."""
        theta, whole = self._replica.snapshot(), np.concatenate(self._ravel.parts(params))
        for span in self._layout.chunks:
            whole[span] = theta[span]
        return self._ravel.restore(self._ravel.pieces(whole), params, moved=False)

    def _become_ready(self) -> None:
        self._ready = True
        self._network.publish(state="ready")

    def _welcomed(self, timeout_s: float) -> bool:
        """Whether the swarm that we join let us in, and we know whom it consists of."""
        return self._network.wait_until(lambda view: bool(view.welcomed and view.others), timeout_s)

    def _others_train(self, part: int) -> bool:
        """Whether another member has trained this subnetwork, or the model where all train the same."""
        return any(member.report.step > 0 for member in self._holding(part))

    def _holding(self, part: int) -> list[Member]:
        """The other members that hold the vector of this subnetwork, or of the model where all train the same."""
        view = self._network.view()
        ours = part_of(self._submodel, view.me.report.shard, part)
        there = (member for member in view.reached if member.state not in ABSENT)
        return [m for m in there if ours == part_of(self._submodel, m.report.shard, m.report.part) is not None]

    def _ask(self) -> None:
        self._network.ask(self._round + 1)
        self._round += 1

    def _wait_until_drained(self, timeout_s: float) -> None:
        """Once in all: what wasn't completed in that time isn't waited for again when we close."""
        if not self._drained:
            self._drained = True
            self._drained_s = time.monotonic() + timeout_s
        self._network.handle(Drain())
        rest_s = max(0.0, self._drained_s - time.monotonic())
        self._network.wait_until(lambda view: view.draining and view.idle, rest_s)

    def _check_takes_part(self) -> None:
        if self._drained:
            raise PeerClosed("this peer has finished: to take part again, start a new one")


def _path(given: str | Path | None) -> Path | None:
    return Path(given) if given is not None else None


def unique_name() -> str:
    """This host's name and three random bytes."""
    return f"{socket.gethostname().split('.')[0]}-{secrets.token_hex(3)}"


def new_run(task: str) -> str:
    """A name for a run that nobody has had before."""
    return f"{task}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
