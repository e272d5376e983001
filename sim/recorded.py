"""Makes a tape from what live agents recorded: their run, as the simulator sees it.

An agent has two vectors: the one it trains, and the replica that the network mixes. So each has a chain of versions
here, and a boundary is a mix as well: out = theta + (mixed - published). Of a model of several chunks only the first
chunk's operations are followed, which is enough to count exchanges.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.recorder import ADOPT, ANSWER, CLOSE, KEEP, OFFER, PUBLISH, SAVE, SERVE, TRAIN, LifeTape
from sim.exact import Recording, missing
from sim.tape import MIX, Tape
from sim.tape import TRAIN as TRAIN_EVENT

SNAPSHOTS = 50


class Recorded(NamedTuple):
    """tape: of the whole run. steps (S,): mean local steps of the agents at each snapshot. exchanges, messages (S,): of
    all until then. last (agents,): local steps of each agent at the end. notes: what the tapes leave open.
    """

    tape: Tape
    steps: NDArray[np.float64]
    exchanges: NDArray[np.int64]
    messages: NDArray[np.int64]
    last: NDArray[np.int64]
    notes: list[str]


class _Chain:
    """Where one agent stands on its tape, and its vectors as versions."""

    def __init__(self, number: int, recording: Recording) -> None:
        self.number, self.agent = number, recording.agent
        self.records = [
            (life, record)
            for life in recording.lives
            for record in life.records[(life.records["chunk"] == 0) | (life.records["op"] == TRAIN)].tolist()
        ]
        self.at = 0
        self.theta = self.mixed = self.published = self.saved = number
        self.life: LifeTape | None = None
        self.touched = False
        self.kept = number
        self.steps = 0


class _Tracing:
    """Follows all tapes together, a record each in turn, and writes down the events."""

    def __init__(self, found: list[Recording]) -> None:
        self.chains = [_Chain(number, recording) for number, recording in enumerate(found)]
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
        life, (op, peer, chunk, number, alpha, share) = chain.records[chain.at]
        if life is not chain.life:
            chain.theta = chain.mixed = chain.published = chain.saved
            chain.touched, chain.life = False, life
        them = life.peers[peer - 1] if peer else ("", 0)
        ours, theirs = (chain.agent, life.facts["incarnation"], number), (*them, number)
        other = next((c.number for c in self.chains if c.agent == them[0]), -1)
        beta = (1 - alpha) * share
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
                chain.mixed = self.mix(chain, other, before, offered, before, -beta)
                self.differences[theirs] = offered, before
                chain.touched = True
                self.messages += 1
            case _ if op == CLOSE:
                if ours not in self.differences:
                    return False
                offered, before = self.differences.pop(ours)
                chain.mixed = self.mix(chain, other, chain.mixed, offered, before, beta)
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
                chain.saved = chain.theta
        chain.at += 1
        return True


def recorded_tape(found: list[Recording]) -> Recorded:
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
        if chain.at == len(chain.records) and chain.saved >= len(chains):
            chain.theta = chain.saved
    mark()
    kind, time, agent, peer, step, cur, a, b, coefficient = zip(*tracing.columns, strict=True)
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
    notes = [f"{agent} left no tape: what others took from it can't be replayed" for agent in missing(found)]
    notes += [
        f"{chain.agent} stops at record {chain.at} of {len(chain.records)}: what it takes next is on no tape"
        for chain in chains
        if chain.at < len(chain.records)
    ]
    last = np.array([chain.steps for chain in chains])
    return Recorded(tape, np.array(steps), np.array(exchanges), np.array(messages), last, notes)
