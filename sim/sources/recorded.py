"""Makes a tape from what live agents recorded: a real run as an event source.

An agent has two vectors: the one it trains, and the replica that the network mixes. So each has a chain of versions
here, and a boundary is a mix as well: out = theta + (mixed - published). Of a model of several chunks only the first
chunk's operations are followed, which is enough to count exchanges.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.protocol.incarnation import NOBODY
from agents.recorder import ADOPT, ANSWER, APPLY, DROP, KEEP, OFFER, PUBLISH, SAVE, SERVE, TRAIN, Recording
from sim.recordings import AgentRecordings, lacking, missing, resumed_from
from sim.sources.source import Block, Floats
from sim.tape import MIX, Tape
from sim.tape import TRAIN as TRAIN_EVENT

SNAPSHOTS = 50


class Recorded(NamedTuple):
    """An event source whose one tape is a real run, in which a round is a mean local step.

    tape: of the whole run. steps (S,): mean local steps of the agents at each snapshot. exchanges, messages (S,): of
    all until then. last (agents,): local steps of each agent at the end. notes: what the tapes leave open.
    """

    tape: Tape
    steps: NDArray[np.float64]
    exchanges: NDArray[np.int64]
    messages: NDArray[np.int64]
    last: NDArray[np.int64]
    notes: list[str]

    @property
    def agents(self) -> int:
        """How many agents there were."""
        return self.tape.agents

    def blocks(self, rounds: float, moments: Floats, window: float) -> Iterator[Block]:
        """One tape for all rounds; its snapshots are at `steps`, which `moments` must be."""
        yield Block(self.tape, rounds, moments, self.exchanges, self.messages)


class _Chain:
    """Where one agent stands on its tape, and its vectors as versions."""

    def __init__(self, number: int, recorded: AgentRecordings) -> None:
        self.number, self.agent = number, recorded.agent
        self.records = [
            (recording, record)
            for recording in recorded.incarnations
            for record in recording.records[
                (recording.records["chunk"] == 0) | np.isin(recording.records["op"], (TRAIN, SAVE, DROP))
            ].tolist()
        ]
        self.at = 0
        self.theta = self.mixed = self.published = number
        self.saved: dict[tuple[int, int], tuple[int, int]] = {}
        self.ends_early = any(recording.ended for recording in recorded.incarnations)
        self.recording: Recording | None = None
        self.touched = False
        self.kept = number
        self.steps = 0

    @property
    def stuck(self) -> str:
        """Why it doesn't go on."""
        recording, _ = self.records[self.at]
        if recording is not self.recording and resumed_from(recording) is not None:
            return lacking(self.agent, recording)
        return f"{self.agent} stops at record {self.at} of {len(self.records)}: what it takes next was not recorded"


class _Tracing:
    """Follows all tapes together, a record each in turn, and writes down the events."""

    def __init__(self, found: list[AgentRecordings]) -> None:
        self.chains = [_Chain(number, recorded) for number, recorded in enumerate(found)]
        self.columns: list[tuple[int, float, int, int, int, int, int, int, float]] = []
        self.offers: dict[Any, int] = {}
        self.differences: dict[Any, tuple[int, int]] = {}
        self.pieces: dict[Any, int] = {}
        self.exchanges = self.messages = 0

    def train(self, chain: _Chain, step: int) -> int:
        cur = chain.theta
        return self._event(TRAIN_EVENT, chain, -1, step, cur, cur, cur, 0.0)

    def mix(self, chain: _Chain, peer: int, cur: int, a: int, b: int, coefficient: float) -> int:
        """out = cur + coefficient * (b - a): the version it writes."""
        return self._event(MIX, chain, peer, 0, cur, a, b, coefficient)

    def _event(
        self, kind: int, chain: _Chain, peer: int, step: int, cur: int, a: int, b: int, coefficient: float
    ) -> int:
        self.columns.append((kind, float(chain.steps), chain.number, peer, step, cur, a, b, coefficient))
        return len(self.chains) + len(self.columns) - 1

    def advance(self, chain: _Chain) -> bool:
        """One record of this agent: False if there is none, or what it takes is not there yet."""
        if chain.at == len(chain.records):
            return False
        recording, (op, peer, chunk, number, rate) = chain.records[chain.at]
        if recording is not chain.recording:
            resumed = resumed_from(recording)
            if resumed is not None and resumed not in chain.saved:
                return False
            first = chain.number if resumed is None else chain.saved[resumed][0]
            chain.theta = chain.mixed = chain.published = first
            chain.touched, chain.recording = False, recording
        them = recording.peers[peer - 1] if peer else NOBODY
        ours, theirs = (chain.agent, recording.facts["incarnation"], number), (them.agent, them.number, number)
        other = next((c.number for c in self.chains if c.agent == them.agent), -1)
        match op:
            case _ if op == TRAIN:
                for step in range(number, number + chunk):
                    chain.theta = self.train(chain, step)
                chain.steps = number + chunk
            case _ if op == PUBLISH:
                if chain.touched:
                    chain.theta = self.mix(chain, -1, chain.theta, chain.published, chain.mixed, 1.0)
                chain.published, chain.mixed, chain.touched = chain.theta, chain.theta, False
            case _ if op == OFFER:
                self.offers[ours] = chain.mixed
                self.messages += 1
            case _ if op == ANSWER:
                if theirs not in self.offers:
                    return False
                offered, before = self.offers.pop(theirs), chain.mixed
                chain.mixed = self.mix(chain, other, before, offered, before, -rate)
                self.differences[theirs] = offered, before
                chain.touched = True
                self.messages += 1
            case _ if op == APPLY:
                if ours not in self.differences:
                    return False
                offered, before = self.differences.pop(ours)
                chain.mixed = self.mix(chain, other, chain.mixed, offered, before, rate)
                chain.touched = True
                self.exchanges += 1
            case _ if op == SERVE:
                self.pieces[theirs] = chain.mixed
            case _ if op == KEEP:
                if ours not in self.pieces:
                    return False
                chain.kept = self.pieces.pop(ours)
            case _ if op == ADOPT:
                chain.theta = self.mix(chain, other, chain.theta, chain.theta, chain.kept, 1.0)
                chain.published, chain.mixed, chain.touched = chain.theta, chain.theta, False
            case _ if op == SAVE:
                chain.saved[recording.facts["incarnation"], chunk] = chain.theta, number
            case _ if op == DROP:
                chain.saved.pop((recording.facts["incarnation"], chunk), None)
        chain.at += 1
        return True


def recorded_tape(found: list[AgentRecordings]) -> Recorded:
    """The tape of a run from its agents' recordings; agents are numbered as they are sorted."""
    tracing = _Tracing(found)
    chains = tracing.chains
    total = sum(len(chain.records) for chain in chains)
    every = max(1, total // SNAPSHOTS)
    marks: list[tuple[list[int], float, int, int]] = []

    def mark() -> None:
        versions = [chain.theta for chain in chains]
        steps = float(np.mean([chain.steps for chain in chains]))
        marks.append((versions, steps, tracing.exchanges, tracing.messages))

    mark()
    done, moved = 0, True
    while moved:
        moved = False
        for chain in chains:
            if tracing.advance(chain):
                moved = True
                done += 1
                if done % every == 0:
                    mark()
    for chain in chains:
        if chain.at == len(chain.records) and chain.saved and not chain.ends_early:
            chain.theta, chain.steps = list(chain.saved.values())[-1]
    mark()
    columns = list(zip(*tracing.columns, strict=True)) or [()] * 9  # Nothing was recorded.
    kind, time, agent, peer, step, cur, a, b, coefficient = columns
    versions, steps, exchanges, messages = zip(*marks, strict=True)
    whole = {"peer": peer, "step": step, "cur": cur, "a": a, "b": b, "agent": agent}
    tape = Tape(
        agents=len(chains),
        entering=len(chains),
        kind=np.array(kind, np.int8),
        time=np.array(time),
        coefficient=np.array(coefficient, np.float32),
        leaving=np.array([chain.theta for chain in chains], np.int32),
        snapshots=np.array(versions, np.int32),
        **{name: np.array(column, np.int32) for name, column in whole.items()},
    )
    notes = missing(found) + [chain.stuck for chain in chains if chain.at < len(chain.records)]
    last = np.array([chain.steps for chain in chains])
    return Recorded(tape, np.array(steps), np.array(exchanges), np.array(messages), last, notes)
