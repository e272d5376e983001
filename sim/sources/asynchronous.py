"""Asynchronous gossip drawn from statistics: what all protocols share, who takes a turn when, and what arrives.

A turn's neighbor is drawn as a live agent draws it. A window of rounds at a time becomes one tape, all of it by
sorting and scanning arrays: entries (an offer is read, a message is taken in, ...) in the order of time, and for
each entry the version that its agent has then. What is in flight at the end of a window is carried into the next.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sim.conditions import SOURCE, Conditions
from sim.sources.carried import Carried
from sim.sources.grouping import grouped
from sim.sources.messages import JOIN, KINDS, READ, RETURN, TAKE, TURN_TRAIN, Entries, Int32s, Messages, Window
from sim.sources.neighbors import names, neighbors
from sim.sources.source import Block, Floats, Ints
from sim.tape import TRAIN, Tape, versions_at
from topology import Topology, draw
from topology.selection import identities


class Asynchronous(Carried, ABC):
    """An event source. A protocol defines when an agent trains, what a message does and what it carries beside a model.

    topology: whom an agent may turn to. local_steps: of one train, 0 for none. message_bytes: of one model.
    """

    trains_at_turn: ClassVar[bool] = True
    """Whether an agent trains at its turn, rather than on what it takes in."""

    completes_at: ClassVar[int] = TAKE
    """The part with which a message is over: TAKE, or RETURN for those that are answered."""

    taken_parts: tuple[int, ...] = (TAKE,)  # What a message does where it arrives, in this order.
    reads_at: int = READ
    """When a turn's model is read in order to be sent: by an entry of its own, or as its training leaves it."""

    factors: tuple[int, ...] = ()  # Shape of the coefficients of a mix: (K,) for K blocks.
    choose = "uniform"  # How an agent chooses among its neighbors: or "roundrobin".
    once = False  # Whether of two agents that a schedule pairs only one turns to the other.
    waits = False  # Whether an agent that sent a message takes its next turn only once the answer is there.
    parts = 1  # Subnetworks: agent i holds number i mod parts, and takes over another's of this number when it joins.

    def __init__(
        self, topology: Topology, conditions: Conditions, *, local_steps: int = 1, message_bytes: int = 0
    ) -> None:
        self.topology, self.conditions, self.agents = topology, conditions, conditions.agents
        self.local_steps, self.message_bytes = local_steps, message_bytes
        self.entering = self.agents
        self.in_flight = Messages.none()
        self._identity = identities(names(self.agents))
        first = np.maximum(conditions.first_turns(), conditions.join_times)
        self._queue = np.argsort(first, kind="stable")  # In this order periodic clocks stay sorted, so it is kept.
        self._next = first[self._queue]
        self._turn = np.zeros(self.agents, np.int32)
        self._steps = np.zeros(self.agents, np.int64)
        self._exchanges, self._sent, self._now = 0, 0, 0.0
        self._to_join = conditions.join_times.copy()

    # What a protocol adds.

    @abstractmethod
    def mix(self, window: Window) -> None:
        """Fill in what each TAKE and RETURN of the window reads, and its coefficient."""

    @abstractmethod
    def carry(self, leaving: Ints, is_open: NDArray[np.bool_]) -> None:
        """Keep what belongs to the versions that leave this window, and to the messages that are still open."""

    def returns(self, agent: Ints, turn: Ints, arrives: Floats) -> Floats:
        """When what is sent at these turns is answered, (M,); when it arrives, if it isn't."""
        return arrives

    def declined(self, messages: Messages) -> NDArray[np.bool_]:
        """Messages that their receivers refuse."""
        return np.zeros(len(messages.sender), bool)

    # One window.

    def blocks(self, rounds: float, moments: Floats, window: float) -> Iterator[Block]:
        """Tapes for all the rounds, `window` of them at a time; snapshots of all agents at these moments, ascending."""
        while self._now < rounds:
            until = min(rounds, self._now + window)
            last = until >= rounds
            inside = (moments >= self._now) & ((moments < until) | last)
            yield self._block(until, moments[inside])

    def _block(self, until: float, moments: Floats) -> Block:
        turns = self._turns_until(until)
        sent = np.flatnonzero(turns.receiver >= 0)
        messages = self.in_flight.and_these(turns.where(sent))
        goes_on = ~self.declined(messages)
        messages = messages.where(goes_on)
        entries = self._in_order(until, turns, messages, sent[goes_on[len(self.in_flight.sender) :]])
        version, cur, last = self._versions(entries)
        reading = np.flatnonzero((entries.part == self.reads_at) & (entries.row >= 0))
        taking = np.flatnonzero(entries.part == TAKE)
        messages.read[entries.row[reading]] = (cur if self.reads_at == READ else version)[reading]
        messages.before[entries.row[taking]] = cur[taking]
        nothing = np.zeros((len(cur), *self.factors), np.float32)
        window = Window(entries, messages, version, cur, a=cur.copy(), b=cur.copy(), coefficient=nothing)
        self._join(window)
        self.mix(window)
        kind = KINDS[entries.part]
        step = self._step_numbers(entries, kind)
        snapshots = versions_at(moments, self.agents, entries.time, entries.agent, version)
        is_open = np.ones(len(messages.sender), bool)
        is_open[entries.row[entries.part == self.completes_at]] = False
        leaving = self._leave(messages, is_open, last, int(version.max(initial=self.entering)))
        exchanges, sent_until = self._counts(entries, turns, moments)
        writes = np.flatnonzero(version >= 0) if self.reads_at == READ else slice(None)
        tape = Tape(
            agents=self.agents,
            entering=self.entering,
            kind=kind[writes],
            time=entries.time[writes],
            agent=entries.agent[writes],
            peer=self._peers(entries, messages)[writes],
            step=step[writes],
            cur=cur[writes],
            a=window.a[writes],
            b=window.b[writes],
            coefficient=window.coefficient[writes],
            leaving=leaving,
            snapshots=snapshots,
        )
        self.entering, self._now = len(leaving), until
        return Block(tape, until, moments, exchanges, sent_until)

    # Turns and messages.

    def _turns_until(self, until: float) -> Messages:
        """Every turn before then, in the order of time, with its message."""
        parts: list[Any] = []
        while len(due := np.flatnonzero(self._next < until)):
            agent, time, turn = self._queue[due], self._next[due], self._turn[due]
            then = time + self.conditions.interval(agent, turn + 1)
            if self.waits:
                there = self.conditions.is_online(agent, time)  # Who is not begins nothing that it would wait for.
                begun = self._begun(agent[there], time[there], turn[there])
                then[there] = np.where(begun.receiver >= 0, np.maximum(then[there], begun.returns), then[there])
                parts.append(begun)
            else:
                parts.append((agent, time, turn))
            self._next[due] = then
            self._turn[due] += 1
        if self.waits:
            turns = self.in_flight.where(slice(0, 0))
            for more in parts:
                turns = turns.and_these(more)
            return turns.where(np.lexsort((turns.sender, turns.sent)))
        none = np.empty(0, np.int32)
        parts.append((none, none * 1.0, none))
        agent, time, turn = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(time, kind="stable")
        turns = self._begun(agent[order], time[order], turn[order])
        return turns.where(self.conditions.is_online(turns.sender, turns.sent))

    def _begun(self, agent: Ints, time: Floats, turn: Ints) -> Messages:
        """What these agents send at these turns, (M,)."""
        conditions = self.conditions
        peer = neighbors(self.topology, conditions.seed, agent, self._identity, turn + 1, self.choose, self.once)
        arrives = time + conditions.delays(agent, turn, self.message_bytes)
        met = np.flatnonzero(peer >= 0)
        received = ~conditions.lost(agent, turn)[met]
        received &= conditions.reach(agent[met], peer[met], time[met]) & conditions.is_online(peer[met], arrives[met])
        peer[met[~received]] = -2
        back, nothing = self.returns(agent, turn, arrives), np.full((2, len(agent)), -1, np.int32)
        return Messages(agent.astype(np.int32), peer, time, arrives, back, nothing[0], nothing[1], np.ones(len(agent)))

    def _in_order(self, until: float, turns: Messages, messages: Messages, sending: Ints) -> Entries:
        """The entries of this window, sorted by time; those at one time are in the order of their parts.

        sending: the turns whose messages are new in this window, the last ones of all messages.
        """
        rows = np.arange(len(messages.sender), dtype=np.int32)
        fresh = rows[len(rows) - len(sending) :]
        arriving = rows[(messages.before < 0) & (messages.arrives < until)]
        joining = np.flatnonzero((self._to_join > 0) & (self._to_join < until)).astype(np.int32)
        times, parts, agents, of = list[Any](), list[Any](), list[Any](), list[Any]()

        def add(part: int, time: Floats, agent: Ints, row: Ints) -> None:
            times.append(time)
            parts.append(np.full(len(time), part, np.int8))
            agents.append(agent)
            of.append(row)

        add(JOIN, self._to_join[joining], joining, np.full(len(joining), -1, np.int32))
        self._to_join[joining] = 0
        if self.local_steps and self.trains_at_turn:
            row = np.full(len(turns.sender), -1, np.int32)
            if self.reads_at == TURN_TRAIN:
                row[sending] = fresh
            add(TURN_TRAIN, turns.sent, turns.sender, row)
        if self.reads_at == READ:
            add(READ, messages.sent[fresh], messages.sender[fresh], fresh)
        for part in self.taken_parts:
            add(part, messages.arrives[arriving], messages.receiver[arriving], arriving)
        if self.completes_at == RETURN:
            back = rows[messages.returns < until]
            add(RETURN, messages.returns[back], messages.sender[back], back)
        time = np.concatenate(times)
        order = np.argsort(time, kind="stable")
        return Entries(
            time[order], np.concatenate(parts)[order], np.concatenate(agents)[order], np.concatenate(of)[order]
        )

    # Versions.

    def _versions(self, entries: Entries) -> tuple[Int32s, Int32s, Int32s]:
        """(the version that each entry writes or -1, the version that its agent has before it), (K,) each, and the
        version that each agent has at the end, (agents,)."""
        count = len(entries.time)
        order, ends = grouped(entries.agent, self.agents)
        first = ends[:-1][ends[:-1] < ends[1:]]
        agent = entries.agent[order]  # An agent's entering version is its number.
        if self.reads_at == READ:
            writes = entries.part != READ
            version = np.where(writes, self.entering - 1 + np.cumsum(writes, dtype=np.int32), -1)
            writes = writes[order]
            latest = np.where(writes, np.arange(count, dtype=np.int32), 0)
            latest[first] = first
            own = np.where(writes, version[order], agent)[np.maximum.accumulate(latest)]
        else:
            version = np.arange(self.entering, self.entering + count, dtype=np.int32)
            own = version[order]
        then, cur = np.empty(count, np.int32), np.empty(count, np.int32)
        then[1:] = own[:-1]
        then[first] = agent[first]
        cur[order] = then
        last = np.arange(self.agents, dtype=np.int32)
        has = np.flatnonzero(ends[:-1] < ends[1:])
        last[has] = own[ends[has + 1] - 1]
        return version, cur, last

    def _join(self, window: Window) -> None:
        """Late joiners take the model of an agent who is online."""
        entries, version = window.entries, window.version
        for joined in np.flatnonzero(entries.part == JOIN):
            source = self._donor(int(entries.agent[joined]), float(entries.time[joined]))
            earlier = np.flatnonzero((entries.agent[:joined] == source) & (version[:joined] >= 0))
            window.b[joined] = version[earlier[-1]] if len(earlier) else source
            window.coefficient[joined] = 1.0

    def _donor(self, agent: int, time: float) -> int:
        """Whose model the agent takes over: its own where nobody else has been there with one of its subnetwork."""
        alike = np.arange(agent % self.parts, self.agents, self.parts)
        there = alike[self.conditions.is_online(alike, np.full(len(alike), time)) & (alike != agent)]
        if not len(there):
            there = alike[self.conditions.join_times[alike] <= 0]
        return int(there[int(draw(self.conditions.seed * 16 + SOURCE, agent, 0, len(there)))]) if len(there) else agent

    def _step_numbers(self, entries: Entries, kind: Ints) -> Int32s:
        """The number of each train's first local step."""
        trains = np.flatnonzero(kind == TRAIN)
        order, ends = grouped(entries.agent[trains], self.agents)
        counts = np.diff(ends)
        number = np.arange(len(order)) + np.repeat(self._steps - ends[:-1], counts)
        step = np.zeros(len(kind), np.int32)
        step[trains[order]] = number * self.local_steps
        self._steps += counts
        return step

    def _peers(self, entries: Entries, messages: Messages) -> Int32s:
        """With whom each entry has to do, -1 for nobody."""
        peer = np.full(len(entries.time), -1, np.int32)
        for part, other in ((TAKE, messages.sender), (RETURN, messages.receiver)):
            at = np.flatnonzero(entries.part == part)
            peer[at] = other[entries.row[at]]
        return peer

    def _leave(self, messages: Messages, is_open: NDArray[np.bool_], current: Int32s, newest: int) -> Int32s:
        """The versions that leave: the agents' current ones, then those that messages under way refer to besides."""
        messages = messages.where(is_open)
        referred = np.unique(np.concatenate([messages.read, messages.before]))
        referred = referred[referred >= 0]
        number = np.full(newest + 2, -1, np.int32)  # The last one is what -1 finds.
        number[current] = np.arange(len(current))
        others = referred[number[referred] < 0]
        number[others] = len(current) + np.arange(len(others))
        leaving = np.concatenate([current, others])
        self.carry(leaving, is_open)
        self.in_flight = messages._replace(read=number[messages.read], before=number[messages.before])
        return leaving

    def _counts(self, entries: Entries, turns: Messages, moments: Floats) -> tuple[Ints, Ints]:
        """Exchanges completed and models sent until each moment."""
        done = entries.time[entries.part == self.completes_at]
        sent_at = [turns.sent[turns.receiver != -1]]
        if self.completes_at == RETURN:
            sent_at.append(entries.time[entries.part == TAKE])
        exchanges = self._exchanges + np.searchsorted(done, moments, side="right")
        sent = self._sent + np.sum([np.searchsorted(times, moments, side="right") for times in sent_at], axis=0)
        self._exchanges += len(done)
        self._sent += sum(map(len, sent_at))
        return exchanges, sent
