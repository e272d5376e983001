"""Writes the tapes of a protocol of one's own, event by event, without a version number in sight."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim.sources.source import Block, Floats, Ints
from sim.tape import MIX, TRAIN, Tape, versions_at

Row = tuple[int, float, int, int, int, int, int, int, float]


class TapeWriter:
    """Writes tapes from what agents do, which is given in the order of time.

        events = TapeWriter(agents, moments)
        events.train(time, agent, step)                 # `local_steps` of them, the first of number `step`
        events.exchange(time, i, j, rate)               # zero-sum, at one moment
        model = events.model(agent)                     # what the agent has now, to be sent
        events.mix(later, other, model, coefficient)    # other += coefficient * (model - other)
        yield events.block(until)

    current [agents]: the version that each agent has now. moments: as `blocks` is given them.
    after: the state() of the writer of the run that this one goes on from, None at the start.
    """

    def __init__(self, agents: int, moments: Floats, after: Mapping[str, Any] | None = None) -> None:
        self.agents = agents = int(agents)
        self.current = list(range(agents))
        self._moments, self._taken = moments, 0
        self._exchanges, self._messages = (int(after[name]) if after else 0 for name in ("exchanges", "messages"))
        self._counted: list[tuple[float, int, int]] = []
        self._begin(int(after["entering"]) if after else agents)

    def state(self) -> dict[str, Ints]:
        """Counters to continue from after a block, by name: a part of what a source's state() returns."""
        found = {"entering": self._entering, "exchanges": self._exchanges, "messages": self._messages}
        return {name: np.array(value) for name, value in found.items()}

    def _begin(self, entering: int) -> None:
        self._entering, self._rows = entering, list[Row]()

    def model(self, agent: int) -> int:
        """The agent's model as it is now, for `mix`; beyond this block `block` must be given it."""
        return self.current[agent]

    def train(self, time: float, agent: int, step: int) -> None:
        """The agent trains, from its local step of this number on."""
        now = self.current[agent]
        self._write(TRAIN, time, agent, -1, step, now, now, now, 0.0)

    def mix(
        self, time: float, agent: int, model: int, coefficient: float, peer: int = -1, *, messages: int = 1
    ) -> None:
        """The agent moves toward a model that was sent: by coefficient * (model - its own).

        messages: how many that took; 0 where an agent only computes with what it has, which counts as no exchange.
        """
        now = self.current[agent]
        self._write(MIX, time, agent, peer, 0, now, now, model, coefficient)
        self._count(time, int(messages > 0), messages)

    def exchange(self, time: float, i: int, j: int, rate: float) -> None:
        """Both move toward each other by rate * (the other's model - their own): zero-sum. Two messages."""
        a, b = self.current[i], self.current[j]
        self._write(MIX, time, i, j, 0, a, a, b, rate)
        self._write(MIX, time, j, i, 0, b, a, b, -rate)  # The same difference on both sides.
        self._count(time, 1, 2)

    def block(self, until: float, in_flight: Sequence[int] = ()) -> Block:
        """All that was written since the last one, until this round; the next one begins with what it leaves.

        in_flight: models that later blocks read. Their numbers there: `carried[model]`.
        """
        columns = [np.array(column) for column in zip(*self._rows, strict=True)] or [np.empty(0)] * 9
        kind, time, agent, peer, step, cur, a, b, coefficient = columns
        last = not len(self._moments) or until >= self._moments[-1]
        end = int(np.searchsorted(self._moments, until, side="right" if last else "left"))
        moments = self._moments[self._taken : end]
        leaving = list(dict.fromkeys([*self.current, *in_flight]))
        versions = self._entering + np.arange(len(time))
        tape = Tape(
            agents=self.agents,
            entering=self._entering,
            kind=kind.astype(np.int8),
            time=time.astype(float),
            agent=agent.astype(np.int32),
            peer=peer.astype(np.int32),
            step=step.astype(np.int32),
            cur=cur.astype(np.int32),
            a=a.astype(np.int32),
            b=b.astype(np.int32),
            coefficient=coefficient.astype(np.float32),
            leaving=np.array(leaving, np.int32),
            snapshots=versions_at(moments, self.agents, time, agent.astype(int), versions),
        )
        counts = np.array([self._counts_until(moment) for moment in moments], int).reshape(-1, 2)
        self._exchanges, self._messages = self._counts_until(np.inf)
        self._taken, self._counted = end, []
        self.carried = {version: number for number, version in enumerate(leaving)}
        self.current = list(range(self.agents))
        self._begin(len(leaving))
        return Block(tape, until, moments, counts[:, 0], counts[:, 1])

    def _write(
        self, kind: int, time: float, agent: int, peer: int, step: int, cur: int, a: int, b: int, coefficient: float
    ) -> None:
        if self._rows and time < self._rows[-1][1]:
            raise ValueError(f"events are written in the order of time: got {time} after {self._rows[-1][1]}")
        self._rows.append((kind, time, agent, peer, step, cur, a, b, coefficient))
        self.current[agent] = self._entering + len(self._rows) - 1

    def _count(self, time: float, exchanges: int, messages: int) -> None:
        self._counted.append((time, exchanges, messages))

    def _counts_until(self, moment: float) -> tuple[int, int]:
        until = [(exchanges, messages) for time, exchanges, messages in self._counted if time <= moment]
        return (
            self._exchanges + sum(exchanges for exchanges, _ in until),
            self._messages + sum(messages for _, messages in until),
        )
