"""Makes sketches of an agent's model in a thread of its own, and keeps the swarm's distance that follows from them.

One is made where training passes a multiple of a power of two of steps, so chosen that sketches are PERIOD_S apart at
least: agents of different speed pass the same steps, and those of one step are compared. While training stands still
they come by time. What it costs is bounded by SHARE of a processor.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from agents.mixing.bounds import MAX_WEIGHT
from agents.mixing.distances import Made, estimated
from agents.mixing.norms import Vector
from agents.mixing.replica import Replica
from agents.mixing.sketch import pack, plan_of, sketch_of, unpack
from agents.protocol.events import Sketched
from agents.protocol.membership import ABSENT, FINISHED
from agents.submodel import OF_SHARD, part_of
from agents.view import View
from transport.messages import Member, Sketch

log = logging.getLogger("gossamer")

PERIOD_S = 1.0
"""Between two sketches, at least."""

SHARE = 0.005
"""Of a processor's time, for making sketches."""

COPIED = 1 << 19
"""Coordinates up to which training copies its model for a sketch: of a larger one the copy would be felt."""

PAUSE_S, PERIODS = 2.0, 4
"""After so long, and so many times what lay between the last two sketches, training counts as standing still."""


class Sketching:
    """Sketches the vector of `replica`, where it lies in `spans`; a run's agents all use its `seed`.

    view: the swarm as it is known now. send: what becomes of a sketch. runs: whether view and send can be called.
    submodel: how the model is divided.
    """

    def __init__(
        self,
        replica: Replica,
        spans: Sequence[slice],
        seed: int,
        view: Callable[[], View],
        send: Callable[[Sketched], None],
        runs: Callable[[], bool],
        submodel: str,
    ) -> None:
        self._replica, self._spans, self._seed, self._submodel = replica, spans, seed, submodel
        self._view, self._send, self._runs = view, send, runs
        self._wake, self._stopping = threading.Event(), False
        self._copy: Vector | None = None
        self._part: int | None = OF_SHARD
        self._step, self._due = -1, 0
        self._every, self._period_s = 1, PERIOD_S
        self._made_step, self._made_s, self._gap_s = -1, 0.0, 0.0
        self.distance: float | None = None
        """The swarm's consensus distance, as it is estimated here; None while nothing is known of others."""
        self._thread = threading.Thread(target=self._run, name="sketches", daemon=True)

    def start(self) -> None:
        """Start the thread, which sketches the vector at boundaries, or as it is where none come."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident:
            self._thread.join()

    def reached(self, step: int) -> None:
        """Training has published its vector of this step. Called by its thread."""
        self._step = step
        if step < self._due or self._wake.is_set():
            return
        now = time.monotonic()
        first, passed_s = self._made_step < 0, max(1e-6, now - self._made_s)
        if not first:
            self._every = spaced(self._every, (step - self._made_step) / passed_s, self._period_s)
        self._due = (step // self._every + 1) * self._every
        if not first and passed_s < self._period_s / 2:
            return
        self._made_step, self._made_s, self._gap_s = step, now, 0.0 if first else passed_s
        self._copy = self._replica.snapshot() if self._replica.parameters <= COPIED else None
        self._wake.set()

    def holds(self, part: int | None) -> None:
        """From now on the vector is that of this subnetwork, as in our record; None while it is being replaced.

        Called by training's thread.
        """
        self._copy = None
        self._part = part

    def _run(self) -> None:
        try:
            self._loop()
        except Exception:
            if self._runs():  # Else the network has ended, and training will know why.
                log.warning("no more sketches of this agent's model are made", exc_info=True)

    def _loop(self) -> None:
        while not self._stopping:
            view = self._view()
            pause_s = PERIOD_S if view.me.state in FINISHED else max(PAUSE_S, PERIODS * self._gap_s)
            still = not self._wake.wait(pause_s)
            if self._stopping:
                return
            if view.me.state not in ABSENT:
                self._make(still)
            self._wake.clear()

    def _make(self, still: bool) -> None:
        began_s = time.thread_time()
        part = self._part  # Read before the copy: what `holds` changes meanwhile is found below.
        copy, self._copy = self._copy, None
        step = max(0, self._step if still else self._made_step)
        plan = plan_of(self._seed, self._replica.parameters)
        values = sketch_of(plan, self._pieces(None if still else copy))
        if part is None or part != self._part:
            return
        view = self._view()
        cost_s = time.thread_time() - began_s
        self._period_s = max(PERIOD_S, view.sketch_s, cost_s / SHARE)
        self._send(Sketched(step, still, pack(values), part))
        members = [view.me, *view.reached]
        made: dict[str, Sequence[Made]] = {
            each.agent: made_of(view.sketches.get(each.agent, ()), each.report.part) for each in members
        }
        mine = (*made[view.me.agent], Made(step, still, values))
        made[view.me.agent] = mine
        found = estimated(made, weights_of(members), parts_of(members, self._submodel))
        self.distance = found.distance if found is not None else None

    def _pieces(self, copy: Vector | None) -> Iterable[tuple[int, Vector]]:
        """The vector, a chunk at a time; what isn't exchanged is no part of it."""
        for chunk, span in enumerate(self._spans):
            yield span.start, self._replica.copy(chunk) if copy is None else copy[span]


def spaced(every: int, steps_s: float, period_s: float) -> int:
    """The power of two of steps that takes period_s or somewhat more; the same as before where that still does.

    every: the one before, steps_s: steps taken in a second.
    """
    while every < period_s * steps_s:
        every *= 2
    while every > 1 and every > 2 * period_s * steps_s:
        every //= 2
    return every


def made_of(sketches: Iterable[Sketch], part: int = OF_SHARD) -> list[Made]:
    """Those that are sketches of this subnetwork, as numbers."""
    found = []
    for each in sketches:
        if each.part != part:
            continue
        try:
            found.append(Made(each.step, each.still, unpack(each.payload)))
        except ValueError:  # Not finite: its sender's fault, whose alarm is to find.
            continue
    return found


def weights_of(members: Iterable[Member]) -> dict[str, float]:
    """By name, of those that hold a vector and weigh what an exchange would take."""
    return {m.agent: w for m in members if m.state not in ABSENT and 0 < (w := m.report.weight) <= MAX_WEIGHT}


def parts_of(members: Iterable[Member], submodel: str) -> dict[str, int | None]:
    """By name, which subnetwork each trains; None for the whole model."""
    return {member.agent: part_of(submodel, member.report.shard, member.report.part) for member in members}
