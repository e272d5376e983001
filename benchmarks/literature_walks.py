"""Models on random walks, as a protocol of one's own: gossip learning (Ormandi et al. 2013) with token accounts.

    turn, once a period    send one's model to a random neighbor, or save a token (Danner and Jelasity 2018)
    a model arrives        take it over, or its mean with the one that came before; train on it; spend tokens on sending

Models carry their age, the local steps behind them. With token accounts an older model than one's own is of no use.
"""

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np

from sim import Block, TapeWriter
from topology import Graph

TURN, ARRIVAL = 0, 1


class Walks:
    """A source of events. merges: whether a model is averaged with the last one that came, before it is trained.

    tokens: (A, C) of the randomized token account, reactivity and capacity; None sends at each turn and at no other.
    sent: models that each agent has sent. ages: of the models that they have.
    """

    merges, tokens = False, None

    def __init__(self, topology: Graph, conditions: Any, *, local_steps: int, message_bytes: int) -> None:
        self.agents, self.topology, self.conditions = conditions.agents, topology, conditions
        self.local_steps, self.message_bytes = local_steps, message_bytes
        self.random = np.random.default_rng([conditions.seed, 7])
        self.ages = [0] * self.agents
        self.balance = [0] * self.agents
        self.sent = [0] * self.agents
        self._turns, self._trained = [0] * self.agents, [0] * self.agents
        self._last: list[int | None] = [None] * self.agents
        self._events: list[tuple[float, int, int, int]] = []
        """(when, a number that breaks ties and names a message, TURN or ARRIVAL, whose)"""
        self._flying = dict[int, tuple[int, int]]()
        """A message: its model and age."""
        self._numbers = 0

    def blocks(self, rounds: float, moments: Any, window: float) -> Iterator[Block]:
        """What happens, in the order of time."""
        events, until = TapeWriter(self.agents, moments), window
        for agent, time in enumerate(self.conditions.first_turns()):
            self._plan(float(time), TURN, agent)
        while True:
            time, number, kind, agent = heapq.heappop(self._events)
            while time >= min(until, rounds):
                yield self._block(events, min(until, rounds))
                if until >= rounds:
                    return
                until += window
            if kind == TURN:
                interval = self.conditions.interval(np.array([agent]), np.array([self._turns[agent] + 1]))
                self._turns[agent] += 1
                self._plan(time + float(interval[0]), TURN, agent)
            there = self.conditions.online == 1 or self.conditions.is_online(np.array([agent]), np.array([time]))[0]
            message = self._flying.pop(number, None)
            if there and message is not None:
                self._receive(events, time, agent, *message)
            elif there and kind == TURN:
                if self.tokens is None or self.random.random() < self._proactive(self.balance[agent]):
                    self._send(events, time, agent)
                else:
                    self.balance[agent] += 1

    def _block(self, events: TapeWriter, until: float) -> Block:
        last = [model for model in self._last if model is not None]
        block = events.block(until, in_flight=[*last, *(model for model, _ in self._flying.values())])
        self._last = [None if model is None else events.carried[model] for model in self._last]
        self._flying = {number: (events.carried[model], age) for number, (model, age) in self._flying.items()}
        return block

    def _plan(self, time: float, kind: int, agent: int) -> int:
        self._numbers += 1
        heapq.heappush(self._events, (time, self._numbers, kind, agent))
        return self._numbers

    def _send(self, events: TapeWriter, time: float, agent: int) -> None:
        near = self.topology.indices[self.topology.indptr[agent] : self.topology.indptr[agent + 1]]
        peer = int(near[int(self.random.random() * len(near))])
        me, number = np.array([agent]), np.array([self.sent[agent]])
        self.sent[agent] += 1
        if self.conditions.drop and self.conditions.lost(me, number)[0]:
            return
        delay = float(self.conditions.delays(me, number, self.message_bytes)[0])
        message = self._plan(time + delay, ARRIVAL, peer)
        self._flying[message] = events.model(agent), self.ages[agent]

    def _receive(self, events: TapeWriter, time: float, agent: int, model: int, age: int) -> None:
        useful = self.tokens is None or age >= self.ages[agent]
        if useful:
            last = self._last[agent]
            if self.merges and last is not None:
                events.mix(time, agent, last, 1.0, messages=0)
                events.mix(time, agent, model, 0.5)
            else:
                events.mix(time, agent, model, 1.0)
            if self.merges:
                self._last[agent] = model
            events.train(time, agent, self._trained[agent] * self.local_steps)
            self._trained[agent] += 1
            self.ages[agent] = age + 1
        if self.tokens is not None and useful:
            sends = self.balance[agent] / self.tokens[0]
            for _ in range(int(sends) + (self.random.random() < sends % 1)):  # Rounded at random.
                self.balance[agent] -= 1
                self._send(events, time, agent)

    def _proactive(self, balance: int) -> float:
        """The chance of sending at a turn."""
        assert self.tokens is not None
        reactivity, capacity = self.tokens
        return min(max((balance - reactivity + 1) / (capacity - reactivity + 1), 0.0), 1.0)


class Merging(Walks):
    """Walks whose models are averaged where they meet: the variant MU of the paper."""

    merges = True
