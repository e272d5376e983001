"""The event tape in single-assignment form: every event reads versions of models and writes a new one (DESIGN 1.6).

    train   out = train(cur, agent, step)
    mix     out = cur + coefficient * (b - a)

A version is a number: 0 .. entering-1 were there before the tape's first event, and event e writes version
entering + e. A message is a reference to a version, so nothing is copied in order to be sent. A long run is a
sequence of tapes: what `leaving` names on one enters the next, in this order, the agents' current versions first.

`Scheduler` turns tapes into `Waves` for a device. Events whose inputs are there are packed into waves of fixed
width by list scheduling, in the order of time (Graham 1969); a version gets a slot for as long as it is read, as
a compiler gives registers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topology.errors import GossamerError

TRAIN, MIX = 0, 1

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


class TapeError(GossamerError, ValueError):
    """A tape that can't be run: it reads what is not there."""


@dataclass(frozen=True, eq=False)
class Tape:
    """Events in an order in which each reads only what came before it.

    kind (E,): TRAIN or MIX. time (E,): in rounds. agent, peer (E,): peer -1 for none. step (E,): the number of the
    first local step of a train. cur, a, b (E,): versions read (a train reads cur alone: there a = b = cur).
    coefficient (E,): of a mix. leaving (L,): versions alive at the end, current ones of all agents first.
    snapshots (S, agents): versions at the moments that are to be evaluated, in the order of time.
    """

    agents: int
    entering: int
    kind: NDArray[np.int8]
    time: NDArray[np.float64]
    agent: NDArray[np.int32]
    peer: NDArray[np.int32]
    step: NDArray[np.int32]
    cur: NDArray[np.int32]
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    coefficient: NDArray[np.float32]
    leaving: NDArray[np.int32]
    snapshots: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kind)

    def check(self) -> "Tape":
        """The tape itself. Raises TapeError if an event reads a version that isn't written before it."""
        latest = np.max([self.cur, self.a, self.b], axis=0) if len(self) else np.empty(0, np.int32)
        least = np.min([self.cur, self.a, self.b], axis=0) if len(self) else latest
        wrong = np.flatnonzero((latest >= self.entering + np.arange(len(self))) | (least < 0))
        if wrong.size:
            raise TapeError(f"event {wrong[0]} reads version {latest[wrong[0]]}, which is not written before it")
        known = self.entering + len(self)
        if len(np.unique(self.leaving)) < len(self.leaving):
            raise TapeError("a version leaves this tape twice: it would lie in two places")
        for name in ("leaving", "snapshots"):
            outside = [v for v in getattr(self, name).ravel() if not 0 <= v < known]
            if outside:
                raise TapeError(f"{name} names version {outside[0]}; this tape has 0 to {known - 1}")
        return self


def side_by_side(tapes: Sequence[Tape]) -> Tape:
    """One tape of several that have nothing to do with each other: the agents of one after those of the other."""
    if len(tapes) == 1:
        return tapes[0]
    order = np.argsort(np.concatenate([tape.time for tape in tapes]), kind="stable")
    agents, entering = sum(tape.agents for tape in tapes), sum(tape.entering for tape in tapes)
    place = np.empty(len(order), np.int32)
    place[order] = entering + np.arange(len(order))
    versions, first_agent, others, event = [], 0, agents, 0
    for tape in tapes:  # Where each one's versions are now: its agents' current ones, other entering ones, events.
        more = tape.entering - tape.agents
        versions.append(
            np.concatenate(
                [first_agent + np.arange(tape.agents), others + np.arange(more), place[event : event + len(tape)]]
            ).astype(np.int32)
        )
        first_agent, others, event = first_agent + tape.agents, others + more, event + len(tape)
    first = np.cumsum([0] + [tape.agents for tape in tapes])

    def events(name: str, moved: Callable[[int, NDArray[Any]], Any] = lambda k, column: column) -> Any:
        column = np.concatenate([moved(k, getattr(tape, name)) for k, tape in enumerate(tapes)])
        return column[order].astype(getattr(tapes[0], name).dtype)

    def read(k: int, column: NDArray[Any]) -> Any:
        return versions[k][column]

    leaving = [read(k, tape.leaving) for k, tape in enumerate(tapes)]
    return Tape(
        agents,
        entering,
        kind=events("kind"),
        time=events("time"),
        agent=events("agent", lambda k, column: column + first[k]),
        peer=events("peer", lambda k, column: np.where(column < 0, -1, column + first[k])),
        step=events("step"),
        cur=events("cur", read),
        a=events("a", read),
        b=events("b", read),
        coefficient=events("coefficient"),
        leaving=np.concatenate(
            [each[: tape.agents] for each, tape in zip(leaving, tapes, strict=True)]
            + [each[tape.agents :] for each, tape in zip(leaving, tapes, strict=True)]
        ),
        snapshots=np.concatenate([read(k, tape.snapshots) for k, tape in enumerate(tapes)], axis=1),
    )


def first_events(tape: Tape, count: int) -> Tape:
    """The tape's first events alone, for a look at it: nothing leaves and nothing is evaluated."""
    columns = ("kind", "time", "agent", "peer", "step", "cur", "a", "b", "coefficient")
    nothing = {"leaving": tape.leaving[:0], "snapshots": tape.snapshots[:0]}
    return replace(tape, **{name: getattr(tape, name)[:count] for name in columns}, **nothing)


class Widths(NamedTuple):
    """The shape of one step on the device: `mix_waves` waves of `mix` events each, then one wave of `train` events."""

    train: int
    mix: int
    mix_waves: int


class Waves(NamedTuple):
    """A tape as a device runs it, step by step: slots instead of versions. A lane with nothing to do writes nowhere.

    mix_cur, mix_a, mix_b, mix_out (steps, mix_waves, mix) int32; mix_coefficient, the same shape, float32.
    train_cur, train_out, train_agent, train_step (steps, train) int32. An out of `slots` or more is no slot.
    train_event (steps, train): which event of the tape, -1 for none.
    snapshot (steps,): which snapshot is taken at the end of this step, -1 for none. snapshots (S, agents): slots.
    slots: how many are in use at most, up to now. fill: share of the lanes of train waves that have something to do.
    """

    mix_cur: NDArray[np.int32]
    mix_a: NDArray[np.int32]
    mix_b: NDArray[np.int32]
    mix_out: NDArray[np.int32]
    mix_coefficient: NDArray[np.float32]
    train_cur: NDArray[np.int32]
    train_out: NDArray[np.int32]
    train_agent: NDArray[np.int32]
    train_step: NDArray[np.int32]
    train_event: NDArray[np.int32]
    snapshot: NDArray[np.int32]
    snapshots: NDArray[np.int32]
    slots: int
    fill: float


class Scheduler:
    """Schedules the tapes of one run, one after the other: where each version lies carries over from tape to tape."""

    def __init__(self, agents: int, widths: Widths) -> None:
        self.widths = widths
        self.slot = np.arange(agents, dtype=np.int32)
        self.slots = agents
        self._free = np.empty(0, np.int32)

    def schedule(self, tape: Tape) -> Waves:
        """The tape's waves. Raises TapeError if it doesn't begin with what the last one left."""
        if tape.entering != len(self.slot):
            raise TapeError(f"a tape that {tape.entering} versions enter can't follow one that {len(self.slot)} leave")
        step, wave, lane, steps = place(tape, self.widths)
        snapshot, taken = _snapshots(tape, step, steps)
        steps = len(snapshot)
        slot = self._allocate(tape, step, steps, taken)
        return self._fill(tape, step, wave, lane, snapshot, slot)

    def _allocate(self, tape: Tape, step: Ints, steps: int, taken: Ints) -> NDArray[np.int32]:
        """The slot of every version: held from the step that writes it to the last that reads it."""
        slot = np.empty(tape.entering + len(tape), np.int32)
        slot[: tape.entering] = self.slot
        step = step.astype(np.int16 if steps < 2**15 else np.int32)  # NumPy sorts 16 bits by radix.
        used = np.full(len(slot), -1, step.dtype)
        used[tape.entering :] = step
        written = np.argsort(step, kind="stable")
        in_order = step[written]
        mixed = tape.kind[written] == MIX
        for read, of in ((tape.cur, slice(None)), (tape.a, mixed), (tape.b, mixed)):
            last = np.full(len(slot), -1, step.dtype)
            last[read[written[of]]] = in_order[of]  # Of several readers of one version the last stays.
            np.maximum(used, last, out=used)
        for versions, when in zip(tape.snapshots, taken, strict=True):
            used[versions] = np.maximum(used[versions], when)
        used[tape.leaving] = steps
        self._release(slot, np.flatnonzero(used[: tape.entering] < 0))
        write_ends = np.searchsorted(in_order, np.arange(steps), side="right")
        expired = np.argsort(used, kind="stable")
        expiry = np.searchsorted(used[expired], np.arange(-1, steps), side="right")
        begin = 0
        for s in range(steps):
            events = written[begin : write_ends[s]] + tape.entering
            begin = write_ends[s]
            slot[events] = self._take(len(events))
            self._release(slot, expired[expiry[s] : expiry[s + 1]])
        self.slot = slot[tape.leaving]
        return slot

    def _take(self, count: int) -> NDArray[np.int32]:
        if count > len(self._free):
            more = count - len(self._free)
            self._free = np.concatenate([np.arange(self.slots, self.slots + more, dtype=np.int32), self._free])
            self.slots += more
        taken, self._free = self._free[len(self._free) - count :], self._free[: len(self._free) - count]
        return taken

    def _release(self, slot: NDArray[np.int32], versions: Ints) -> None:
        self._free = np.concatenate([self._free, slot[versions]])

    def _fill(self, tape: Tape, step: Ints, wave: Ints, lane: Ints, snapshot: Ints, slot: NDArray[np.int32]) -> Waves:
        widths, steps = self.widths, len(snapshot)
        mixes, trains = np.flatnonzero(tape.kind == MIX), np.flatnonzero(tape.kind == TRAIN)
        at_mix = (step[mixes] * widths.mix_waves + wave[mixes]) * widths.mix + lane[mixes]
        at_train = step[trains] * widths.train + lane[trains]
        mix_shape, train_shape = (steps, widths.mix_waves, widths.mix), (steps, widths.train)

        def of(shape: tuple[int, ...], where: Any, values: Any, otherwise: Any = 0, dtype: Any = np.int32) -> Any:
            made = np.full(shape, otherwise, dtype)
            made.ravel()[where] = values
            return made

        return Waves(
            *(of(mix_shape, at_mix, slot[read[mixes]]) for read in (tape.cur, tape.a, tape.b)),
            of(mix_shape, at_mix, slot[tape.entering + mixes], NOWHERE + np.arange(widths.mix)),
            of(mix_shape, at_mix, tape.coefficient[mixes], dtype=np.float32),
            of(train_shape, at_train, slot[tape.cur[trains]]),
            of(train_shape, at_train, slot[tape.entering + trains], NOWHERE + np.arange(widths.train)),
            of(train_shape, at_train, tape.agent[trains]),
            of(train_shape, at_train, tape.step[trains]),
            of(train_shape, at_train, trains, -1),
            snapshot,
            slot[tape.snapshots],
            self.slots,
            len(trains) / max(1, steps * widths.train),
        )


NOWHERE = 2**30
"""From here on an `out` is no slot; each lane has its own, as no two may go to the same place."""


def place(tape: Tape, widths: Widths) -> tuple[Ints, Ints, Ints, int]:
    """List scheduling: the step, the wave within it and the lane of each event, (E,) each, and the number of steps.

    In each wave stand the earliest events whose inputs exist. Only the first few waves' worth of waiting events
    are looked at, which bounds the work of a step whatever the length of the tape.
    """
    events = len(tape)
    step, wave, lane = (np.zeros(events, np.int32) for _ in range(3))
    done = np.zeros(tape.entering + events, bool)
    done[: tape.entering] = True
    mixes = _Queue(np.flatnonzero(tape.kind == MIX), widths.mix, widths.mix * widths.mix_waves)
    trains = _Queue(np.flatnonzero(tape.kind == TRAIN), widths.train, widths.train)
    s = 0
    while mixes or trains:
        found = 0
        for q in range(widths.mix_waves):
            events_now = mixes.pick(lambda w: done[tape.cur[w]] & done[tape.a[w]] & done[tape.b[w]])
            if not len(events_now):
                break
            step[events_now], wave[events_now], lane[events_now] = s, q, np.arange(len(events_now))
            done[tape.entering + events_now] = True
            found += len(events_now)
        events_now = trains.pick(lambda w: done[tape.cur[w]])
        step[events_now], lane[events_now] = s, np.arange(len(events_now))
        done[tape.entering + events_now] = True
        if not found and not len(events_now):
            raise TapeError("no event can run: the tape reads what it never writes")
        s += 1
    return step, wave, lane, s


LOOKAHEAD = 2
"""Steps' worth of waiting events that list scheduling looks at."""


class _Queue:
    """The events of one kind that wait, in the order of time; a window of them is looked at."""

    def __init__(self, events: Ints, width: int, a_step: int) -> None:
        self._events, self._width, self._window = events, width, LOOKAHEAD * a_step
        self._waiting, self._next = events[: self._window], self._window

    def __bool__(self) -> bool:
        return len(self._waiting) > 0

    def pick(self, ready: Any) -> Ints:
        """The first events that are ready, at most a wave of them; they wait no longer."""
        positions = np.flatnonzero(ready(self._waiting))[: self._width]
        if not len(positions):
            return positions
        picked = self._waiting[positions]
        left = np.ones(len(self._waiting), bool)
        left[positions] = False
        more = self._events[self._next : self._next + len(positions)]
        self._next += len(positions)
        self._waiting = np.concatenate([self._waiting[left], more])
        return picked


def _snapshots(tape: Tape, step: Ints, steps: int) -> tuple[NDArray[np.int32], Ints]:
    """For every step which snapshot is taken at its end, one at most; and the step of each snapshot."""
    written = np.concatenate([np.full(tape.entering, -1), step])
    taken = np.empty(len(tape.snapshots), np.int64)
    last = -1
    for k, versions in enumerate(tape.snapshots):
        last = taken[k] = max(last + 1, int(written[versions].max(initial=0)))
    snapshot = np.full(max(steps, last + 1), -1, np.int32)
    snapshot[taken] = np.arange(len(taken))
    return snapshot, taken
