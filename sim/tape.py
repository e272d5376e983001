"""The event tape in single-assignment form: every event reads versions of models and writes a new one (DESIGN 1.8).

    train   out = train(cur, agent, step)
    mix     out = cur + coefficient * (b - a)        the difference as the codec makes it known
    adopt   out = cur + coefficient * (b - a)        exactly, and the codec learns afresh from there

A version is a number: 0 .. entering-1 were there before the tape's first event, and event e writes version
entering + e. A message is a reference to a version, so nothing is copied in order to be sent. A long run is a
sequence of tapes: what `leaving` names on one enters the next, in this order, the agents' current versions first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topology.errors import GossamerError

TRAIN, MIX, ADOPT = range(3)

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


class TapeError(GossamerError, ValueError):
    """A tape that can't be run: it reads what is not there."""

    code = "G604"


@dataclass(frozen=True, eq=False)
class Tape:
    """Events in an order in which each reads only what came before it.

    kind (E,): TRAIN, MIX or ADOPT. time (E,): in rounds. agent, peer (E,): peer -1 for none. step (E,): the number of
    the first local step of a train. cur, a, b (E,): versions read (a train reads cur alone: there a = b = cur).
    coefficient (E,): of a mix, or (E, K) where coordinates are in K blocks. leaving (L,): versions alive at the end,
    current ones of all agents first.
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
        left, times = np.unique(self.leaving, return_counts=True)
        if len(left) < len(self.leaving):
            raise TapeError(f"a version may leave a tape once: got version {left[times.argmax()]} more often")
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
    first: dict[str, Any] = {name: getattr(tape, name)[:count] for name in columns}
    return replace(tape, **first, leaving=tape.leaving[:0], snapshots=tape.snapshots[:0])


def versions_at(moments: Floats, agents: int, time: Floats, agent: Ints, version: Ints) -> NDArray[np.int32]:
    """The version that each agent has at each moment, (S, agents), of events in the order of time.

    moments (S,): ascending. time, agent, version (K,): when an agent writes which version; -1 for none.
    """
    current = np.arange(agents, dtype=np.int32)
    taken = np.empty((len(moments), agents), np.int32)
    begin = 0
    for k, end in enumerate(np.searchsorted(time, moments, side="right")):
        rows = np.arange(begin, end)[version[begin:end] >= 0]
        current[agent[rows]] = version[rows]  # Of several writes by one agent the last stays.
        taken[k], begin = current, end
    return taken
