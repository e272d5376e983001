"""Schedules a tape into waves of fixed width for a device, and gives each version a slot while it is read.

Events whose inputs are there are packed into waves by list scheduling, in the order of time (Graham 1969); a version
holds a slot from the step that writes it to the last that reads it, as a compiler gives registers.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.tape import ADOPT, TRAIN, Ints, Tape, TapeError, first_events


class Widths(NamedTuple):
    """The shape of one step on the device: `mix_waves` waves of `mix` events each, then one wave of `train` events."""

    train: int
    mix: int
    mix_waves: int


class Waves(NamedTuple):
    """A tape as a device runs it, step by step: slots instead of versions. A lane with nothing to do writes nowhere.

    mix_cur, mix_a, mix_b, mix_out (steps, mix_waves, mix) int32; mix_coefficient, the same shape, float32;
    with an axis more where it is one for each block. mix_adopts, the same shape, bool: what a codec has no part in.
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
    mix_adopts: NDArray[np.bool_]
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
            raise TapeError(
                f"a tape begins with the {len(self.slot)} versions that the one before it leaves: got {tape.entering}"
            )
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
        mixed = tape.kind[written] != TRAIN
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

    def _fill(
        self, tape: Tape, step: Ints, wave: Ints, lane: Ints, snapshot: NDArray[np.int32], slot: NDArray[np.int32]
    ) -> Waves:
        widths, steps = self.widths, len(snapshot)
        mixes, trains = np.flatnonzero(tape.kind != TRAIN), np.flatnonzero(tape.kind == TRAIN)
        at_mix = (step[mixes] * widths.mix_waves + wave[mixes]) * widths.mix + lane[mixes]
        at_train = step[trains] * widths.train + lane[trains]
        mix_shape, train_shape = (steps, widths.mix_waves, widths.mix), (steps, widths.train)

        def of(shape: tuple[int, ...], where: Any, values: Any, otherwise: Any = 0, dtype: Any = np.int32) -> Any:
            made = np.full(shape, otherwise, dtype)
            made.ravel()[where] = values
            return made

        return Waves(
            mix_cur=of(mix_shape, at_mix, slot[tape.cur[mixes]]),
            mix_a=of(mix_shape, at_mix, slot[tape.a[mixes]]),
            mix_b=of(mix_shape, at_mix, slot[tape.b[mixes]]),
            mix_out=of(mix_shape, at_mix, slot[tape.entering + mixes], NOWHERE + np.arange(widths.mix)),
            mix_coefficient=_coefficients(mix_shape, at_mix, tape.coefficient[mixes]),
            mix_adopts=of(mix_shape, at_mix, tape.kind[mixes] == ADOPT, dtype=np.bool_),
            train_cur=of(train_shape, at_train, slot[tape.cur[trains]]),
            train_out=of(train_shape, at_train, slot[tape.entering + trains], NOWHERE + np.arange(widths.train)),
            train_agent=of(train_shape, at_train, tape.agent[trains]),
            train_step=of(train_shape, at_train, tape.step[trains]),
            train_event=of(train_shape, at_train, trains, -1),
            snapshot=snapshot,
            snapshots=slot[tape.snapshots],
            slots=self.slots,
            fill=len(trains) / max(1, steps * widths.train),
        )


def _coefficients(shape: tuple[int, ...], where: Ints, values: NDArray[np.float32]) -> NDArray[np.float32]:
    made = np.zeros((math.prod(shape), *values.shape[1:]), np.float32)
    made[where] = values
    return made.reshape(*shape, *values.shape[1:])


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
    mixes = _Queue(np.flatnonzero(tape.kind != TRAIN), widths.mix, widths.mix * widths.mix_waves)
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


def best_widths(tape: Tape, samples_a_turn: int) -> Widths:
    """Widths of waves that run this tape in the least time, by a model of what a lane costs; found by trying some.

    For many agents, where trying takes long, those that do well for a few.
    """
    agents = tape.agents
    trains, mixes = int((tape.kind == TRAIN).sum()), int((tape.kind != TRAIN).sum())
    if not trains:
        return Widths(1, max(1, agents // 4), 2)
    if agents > TRIED_AGENTS:
        train = min(-(-agents // 4), WIDEST)
        return Widths(train, math.ceil(1.15 * mixes / trains * train / 2), 2)
    train_cost, mix_cost, step_cost = 3 + 0.3 * samples_a_turn, 1.6, 20
    head = first_events(tape, 4 * TRIED_AGENTS)
    head_trains = int((head.kind == TRAIN).sum())
    choices = []
    for part in (1, 2, 3, 4, 5, 6, 8):
        for mix_waves in (1, 2, 3):
            train = -(-agents // part)
            mix = max(1, math.ceil(1.15 * mixes / trains * train / mix_waves))
            cost = train * train_cost + mix * mix_waves * mix_cost + step_cost
            full = max(-(-head_trains // train), -(-(len(head) - head_trains) // (mix * mix_waves)))
            choices.append((full * cost, cost, Widths(train, mix, mix_waves)))
    best = (math.inf, Widths(1, 1, 1))
    for least, cost, widths in sorted(choices):
        if least > best[0]:
            break  # Even with all lanes full it would take longer, as would all that follow.
        best = min(best, (place(head, widths)[3] * cost, widths))
    return best[1]


TRIED_AGENTS = 1000

WIDEST = 1 << 16
"""Lanes of a train wave at most: enough for any device, few enough to bound what a wave holds beside the models."""
