"""Makes tapes from statistics: who takes a turn when, whom it meets, what arrives and when.

    exchange   turn: train, offer to a neighbor; there: answer and concede; back here: close       (DESIGN 1.2)
    push       turn: send to a neighbor; there: merge and train       (Ormandi 2013, Hegedus et al. 2021)
    push-sum   turn: train, send half of one's mass along with the model; there: merge by mass      (Kempe 2003)

A turn's neighbor is drawn as a live agent draws it. A window of rounds at a time becomes one tape, all of it by
sorting and scanning arrays: entries (an offer is read, a difference is taken in, ...) in the order of time, and for
each entry the version that its agent has then. What is in flight at the end of a window is carried into the next.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.conditions import SECOND_DELAY, SOURCE, Conditions
from sim.tape import MIX, TRAIN, Tape
from topology import Graph, Schedule, Topology, draw
from topology.selection import identities

PROTOCOLS = ("exchange", "push", "push-sum", "synchronous")
MERGES = ("merge-update", "update-merge")
WEIGHINGS = ("alpha", "age")

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


class Block(NamedTuple):
    """A window of rounds. rounds, exchanges, messages (S,): the time of each snapshot, and all that was until then.

    exchanges: completed ones, or models taken in. messages: models and differences sent, each as large as theta.
    """

    tape: Tape
    rounds: Floats
    exchanges: Ints
    messages: Ints


@dataclass(frozen=True, eq=False)
class Protocol:
    """What is done at a turn and with what arrives. alpha: how much of itself an agent keeps. train: whether it learns.

    weights (agents,): of each agent in an exchange; None for equal ones. local_steps: of one train.
    merge: the order in which "push" merges and trains. weigh: "push" merges by alpha, or by the models' ages.
    """

    name: str = "exchange"
    alpha: float = 0.5
    local_steps: int = 1
    weights: Floats | None = None
    merge: str = "merge-update"
    weigh: str = "alpha"


def names(agents: int) -> list[str]:
    """What simulated agents are called: in the order of their numbers, as live ones are sorted."""
    digits = len(str(agents - 1))
    return [f"agent-{index:0{digits}d}" for index in range(agents)]


def neighbors(topology: Topology, seed: int, agent: Ints, identity: Any, round: Ints) -> NDArray[np.int64]:
    """Whom each agent (M,) meets in its round (M,), drawn as `topology.select` draws it; -1 for nobody."""
    graphs: tuple[Graph, ...] = topology.graphs if isinstance(topology, Schedule) else (topology,)
    found = np.full(len(agent), -1, np.int64)
    for r, graph in enumerate(graphs):
        mine = np.flatnonzero(round % len(graphs) == r) if len(graphs) > 1 else np.arange(len(agent))
        mine = mine[graph.degree[agent[mine]] > 0]
        if len(mine):
            who = agent[mine]
            position = draw(seed, identity[who], round[mine], graph.degree[who])
            found[mine] = graph.indices[graph.indptr[who] + position]
    return found


class _Messages(NamedTuple):
    """What is under way, a column each (K,): a model, or an exchange whose answer is not back yet.

    read, before: the versions that were sent, and that the receiver had before it took it in; -1 if not yet.
    """

    sender: Ints
    receiver: Ints
    turn: Ints
    arrives: Floats
    returns: Floats
    read: Ints
    before: Ints

    def where(self, mask: Any) -> "_Messages":
        return _Messages(*(column[mask] for column in self))

    def and_these(self, more: "_Messages") -> "_Messages":
        return _Messages(*(np.concatenate(pair) for pair in zip(self, more, strict=True)))


class _Entries(NamedTuple):
    """What happens in a window, a column each (K,). part: TURN_TRAIN ... CLOSE. row: of the message, -1 for none."""

    time: Floats
    turn: Ints
    part: Ints
    agent: Ints
    row: Ints


JOIN, TURN_TRAIN, READ, TAKE, TAKEN_TRAIN, CLOSE = range(6)


class Asynchronous:
    """Iterate over `blocks` once; what it has carried so far is its own. topology: whom an agent may turn to."""

    def __init__(self, topology: Topology, protocol: Protocol, conditions: Conditions, message_bytes: int = 0) -> None:
        self.topology, self.protocol, self.conditions = topology, protocol, conditions
        self.agents = conditions.agents
        self._bytes = message_bytes
        self._identity = identities(names(self.agents))
        self._next = np.maximum(conditions.first_turns(), conditions.join_times)
        self._turn = np.zeros(self.agents, np.int64)
        self._steps = np.zeros(self.agents, np.int64)
        self._turns = 0
        empty = np.empty(0, np.int64)
        self._flying = _Messages(empty, empty, empty, empty * 0.0, empty * 0.0, empty, empty)
        self._entering = self.agents
        self._exchanges = self._sent = 0
        self._age = np.zeros(self.agents, np.int64)
        self._mass = np.ones(self.agents)
        self._flying_mass = np.empty(0)
        self._now = 0.0
        self._to_join = conditions.join_times.copy()

    def blocks(self, rounds: float, snapshot_rounds: Floats, window: float) -> Iterator[Block]:
        """Tapes for all the rounds, `window` of them at a time; snapshots of all agents at these moments, ascending."""
        while self._now < rounds:
            until = min(rounds, self._now + window)
            last = until >= rounds
            inside = (snapshot_rounds >= self._now) & ((snapshot_rounds < until) | last)
            yield self._block(until, snapshot_rounds[inside])

    # One window.

    def _block(self, until: float, moments: Floats) -> Block:
        fresh = self._turns_until(until)
        messages = self._flying.and_these(fresh.where(fresh.receiver >= 0))
        entries = self._in_order(until, fresh, messages)
        previous, version, cur = self._versions(entries)
        read, before = messages.read.copy(), messages.before.copy()
        reading, taking = entries.part == READ, entries.part == TAKE
        read[entries.row[reading]] = cur[reading]
        before[entries.row[taking]] = cur[taking]
        messages = messages._replace(read=read, before=before)
        tape_rows = np.flatnonzero(version >= 0)
        a, b, coefficient = self._mixing(entries, messages, cur, version, previous)
        kind = np.where(np.isin(entries.part, (TURN_TRAIN, TAKEN_TRAIN)), TRAIN, MIX)
        step = self._step_numbers(entries, kind)
        current, snapshots = self._snapshots(entries, version, moments)
        is_over = np.zeros(len(messages.sender), bool)
        is_over[entries.row[entries.part == (CLOSE if self._answers else TAKE)]] = True
        leaving, carried = self._carry(messages, ~is_over, current)
        exchanges, sent = self._counts(entries, fresh, moments)
        peer = np.full(len(entries.time), -1)
        has = entries.row >= 0
        rows = entries.row[has]
        peer[has] = np.where(
            messages.sender[rows] == entries.agent[has], messages.receiver[rows], messages.sender[rows]
        )
        tape = Tape(
            agents=self.agents,
            entering=self._entering,
            kind=kind[tape_rows].astype(np.int8),
            time=entries.time[tape_rows],
            agent=entries.agent[tape_rows].astype(np.int32),
            peer=peer[tape_rows].astype(np.int32),
            step=step[tape_rows].astype(np.int32),
            cur=cur[tape_rows].astype(np.int32),
            a=a[tape_rows].astype(np.int32),
            b=b[tape_rows].astype(np.int32),
            coefficient=coefficient[tape_rows].astype(np.float32),
            leaving=leaving.astype(np.int32),
            snapshots=snapshots.astype(np.int32),
        )
        self._flying, self._entering, self._now = carried, len(leaving), until
        return Block(tape, moments, exchanges, sent)

    @property
    def _answers(self) -> bool:
        return self.protocol.name == "exchange"

    def _turns_until(self, until: float) -> _Messages:
        """Every turn before then, in the order of time; receiver -1 if nothing of what it sends will arrive."""
        agents, times, turns = [], [], []
        while len(due := np.flatnonzero(self._next < until)):
            agents.append(due)
            times.append(self._next[due])
            turns.append(self._turn[due])
            self._next[due] += self.conditions.interval(due, self._turn[due] + 1)
            self._turn[due] += 1
        agent = np.concatenate([np.empty(0, np.int64), *agents])
        time = np.concatenate([np.empty(0), *times])
        turn = np.concatenate([np.empty(0, np.int64), *turns])
        conditions = self.conditions
        there = conditions.is_online(agent, time)
        order = np.flatnonzero(there)
        order = order[np.lexsort((agent[order], time[order]))]
        agent, time, turn = agent[order], time[order], turn[order]
        peer = neighbors(self.topology, conditions.seed, agent, self._identity, turn + 1)
        arrives = time + conditions.delays(agent, turn, self._bytes)
        met = np.flatnonzero(peer >= 0)
        heard = ~conditions.lost(agent, turn)[met]
        heard &= conditions.reach(agent[met], peer[met], time[met]) & conditions.is_online(peer[met], arrives[met])
        peer[met[~heard]] = -2
        number = self._turns + np.arange(len(agent))
        self._turns += len(agent)
        back = arrives
        if self._answers:
            back = arrives + conditions.delays(agent, turn, self._bytes, SECOND_DELAY)
            back = conditions.next_online(agent, back)
        nothing = np.full(len(agent), -1)
        self._turn_time = time
        return _Messages(agent, peer, number, arrives, back, nothing, nothing)

    def _in_order(self, until: float, fresh: _Messages, messages: _Messages) -> _Entries:
        """Everything of this window, in the order of time, and of turns where that is the same."""
        carried = len(self._flying.sender)
        rows = np.arange(len(messages.sender))
        new = rows[carried:]
        nobody = np.full(len(fresh.sender), -1)
        sent_time = self._turn_time[fresh.receiver >= 0]
        parts = []
        if self.protocol.local_steps and self.protocol.name != "push":
            trains = np.full(len(nobody), TURN_TRAIN)
            parts.append(_Entries(self._turn_time, fresh.turn, trains, fresh.sender, nobody))
        parts.append(_Entries(sent_time, messages.turn[new], np.full(len(new), READ), messages.sender[new], new))
        arriving = rows[(messages.before < 0) & (messages.arrives < until)]
        taken = _Entries(
            messages.arrives[arriving],
            messages.turn[arriving],
            np.full(len(arriving), TAKE),
            messages.receiver[arriving],
            arriving,
        )
        parts.append(taken)
        if self.protocol.name == "push" and self.protocol.local_steps:
            parts.append(taken._replace(part=np.full(len(arriving), TAKEN_TRAIN)))
        if self._answers:
            back = rows[messages.returns < until]
            parts.append(
                _Entries(
                    messages.returns[back], messages.turn[back], np.full(len(back), CLOSE), messages.sender[back], back
                )
            )
        joining = np.flatnonzero((self._to_join > 0) & (self._to_join < until))
        if len(joining):
            none = np.full(len(joining), -1)
            parts.append(_Entries(self._to_join[joining], none, none * 0 + JOIN, joining, none))
            self._to_join[joining] = 0
        columns = _Entries(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        part = columns.part
        if self.protocol.merge == "update-merge":
            part = np.where(part == TAKE, TAKEN_TRAIN, np.where(part == TAKEN_TRAIN, TAKE, part))
        order = np.lexsort((part, columns.turn, columns.time))
        return _Entries(*(column[order] for column in columns))

    def _versions(self, entries: _Entries) -> tuple[Ints, Ints, Ints]:
        """(the entry before it at the same agent, the version it writes or -1, the version its agent has before it)."""
        count = len(entries.time)
        writes = entries.part != READ
        version = np.where(writes, self._entering + np.cumsum(writes) - 1, -1)
        order = np.argsort(entries.agent, kind="stable")
        agent = entries.agent[order].astype(np.int64)
        first = np.ones(count, bool)
        first[1:] = agent[1:] != agent[:-1]
        group = np.cumsum(first) - 1
        own = np.where(version[order] >= 0, version[order], agent)  # An agent's entering version is its own number.
        latest = np.maximum.accumulate(group * (1 << 40) + own) - group * (1 << 40)
        cur = np.empty(count, np.int64)
        cur[order] = np.where(first, agent, np.concatenate([[0], latest[:-1]])[:count])
        previous = np.empty(count, np.int64)
        previous[order] = np.where(first, -1, np.concatenate([[-1], order[:-1]])[:count])
        return previous, version, cur

    def _mixing(
        self, entries: _Entries, messages: _Messages, cur: Ints, version: Ints, previous: Ints
    ) -> tuple[Ints, Ints, Floats]:
        """a, b and the coefficient of every entry; of those that mix nothing, something harmless."""
        a, b, coefficient = cur.copy(), cur.copy(), np.zeros(len(cur))
        beta = 1 - self.protocol.alpha
        taken, closed = np.flatnonzero(entries.part == TAKE), np.flatnonzero(entries.part == CLOSE)
        rows = entries.row[taken]
        if self._answers:
            share = self._shares(messages)
            a[taken] = messages.read[rows]
            coefficient[taken] = -beta * share[1][rows]
            rows = entries.row[closed]
            a[closed], b[closed] = messages.read[rows], messages.before[rows]
            coefficient[closed] = beta * share[0][rows]
        else:
            b[taken] = messages.read[rows]
            coefficient[taken] = beta
            if self.protocol.name == "push-sum":
                coefficient[taken] = self._by_mass(entries, previous, messages)
            elif self.protocol.weigh == "age":
                coefficient[taken] = self._by_age(entries, cur, b, version)[taken]
        for joined in np.flatnonzero(entries.part == JOIN):
            source = self._source(int(entries.agent[joined]), float(entries.time[joined]))
            earlier = np.flatnonzero((entries.agent[:joined] == source) & (version[:joined] >= 0))
            b[joined] = version[earlier[-1]] if len(earlier) else source
            coefficient[joined] = 1.0
        return a, b, coefficient

    def _source(self, agent: int, time: float) -> int:
        """From whom a late joiner takes its first model: an agent who is there."""
        there = np.flatnonzero(self.conditions.is_online(np.arange(self.agents), np.full(self.agents, time)))
        there = there[there != agent]
        if not len(there):
            there = np.flatnonzero(self.conditions.join_times <= 0)
        return int(there[int(draw(self.conditions.seed * 16 + SOURCE, agent, 0, len(there)))])

    def _shares(self, messages: _Messages) -> tuple[Floats, Floats]:
        """The initiator's and the responder's share of every exchange (DESIGN 1.2)."""
        weights = self.protocol.weights
        if weights is None:
            ones = np.ones(len(messages.sender))
            return ones, ones
        mine, theirs = weights[messages.sender], weights[messages.receiver]
        return 2 * (theirs / (mine + theirs)), 2 * (mine / (mine + theirs))

    def _by_age(self, entries: _Entries, cur: Ints, b: Ints, version: Ints) -> Floats:
        """The received model's age over both ages: how much of it is merged (Ormandi et al. 2013)."""
        age = np.concatenate([self._age, np.zeros(int((version >= 0).sum()), np.int64)])
        written = np.flatnonzero(version >= 0)
        coefficient = np.full(len(cur), 0.5)
        for event in levels(np.stack([cur, b], axis=1)[written] - self._entering):
            entry = written[event]
            mine, theirs = age[cur[entry]], age[b[entry]]
            mixes = entries.part[entry] == TAKE
            coefficient[entry] = np.where(mine + theirs > 0, theirs / np.maximum(mine + theirs, 1), 0.5)
            age[version[entry]] = np.where(mixes, np.maximum(mine, theirs), mine + self.protocol.local_steps)
        self._ages_then = age
        return coefficient

    def _by_mass(self, entries: _Entries, previous: Ints, messages: _Messages) -> Floats:
        """The received mass over the sum: with theta kept divided by its mass, this is push-sum (Kempe et al. 2003)."""
        reader = np.full(len(messages.sender), -1)
        reading = np.flatnonzero(entries.part == READ)
        reader[entries.row[reading]] = reading
        flying = np.concatenate([self._flying_mass, np.zeros(len(messages.sender) - len(self._flying_mass))])
        taken = entries.part == TAKE
        sent = np.where(taken & (entries.row >= 0), reader[entries.row], -1)
        coefficient = np.zeros(len(entries.time))
        mass = self._mass
        for entry in levels(np.stack([previous, sent], axis=1)):
            agent, row = entries.agent[entry], entries.row[entry]
            sends, takes = entries.part[entry] == READ, entries.part[entry] == TAKE
            mass[agent[sends]] /= 2
            flying[row[sends]] = mass[agent[sends]]
            more = flying[row[takes]]
            mass[agent[takes]] += more
            coefficient[entry[takes]] = more / mass[agent[takes]]
        self._flying_mass_then = flying
        return coefficient[taken]

    def _step_numbers(self, entries: _Entries, kind: Ints) -> Ints:
        """The number of each train's first local step."""
        trains = np.flatnonzero(kind == TRAIN)
        step = np.zeros(len(kind), np.int64)
        order = trains[np.argsort(entries.agent[trains], kind="stable")]
        agent = entries.agent[order]
        starts = np.searchsorted(agent, agent, side="left")
        step[order] = self._steps[agent] + (np.arange(len(order)) - starts) * self.protocol.local_steps
        self._steps += np.bincount(agent, minlength=self.agents) * self.protocol.local_steps
        return step

    def _snapshots(self, entries: _Entries, version: Ints, moments: Floats) -> tuple[Ints, Ints]:
        """(the version each agent ends with, those it had at each moment)."""
        current = np.arange(self.agents)
        written = np.flatnonzero(version >= 0)
        ends = np.searchsorted(entries.time[written], moments, side="right")
        taken = np.empty((len(moments), self.agents), np.int64)
        begin = 0
        for k, end in enumerate([*ends, len(written)]):
            rows = written[begin:end]
            current[entries.agent[rows]] = version[rows]  # Of several writes by one agent the last stays.
            begin = end
            if k < len(moments):
                taken[k] = current
        return current, taken

    def _carry(self, messages: _Messages, open: NDArray[np.bool_], current: Ints) -> tuple[Ints, _Messages]:
        """What leaves this window: the agents' current versions, and what messages under way refer to besides."""
        messages = messages.where(open)
        referred = np.concatenate([messages.read, messages.before])
        others = np.setdiff1d(referred[referred >= 0], current)
        leaving = np.concatenate([current, others])
        order = np.argsort(leaving)
        ranked = leaving[order]

        def renamed(versions: Ints) -> Ints:
            found = order[np.minimum(np.searchsorted(ranked, versions), len(order) - 1)]
            return np.where(versions >= 0, found, -1)

        if self.protocol.weigh == "age" and self.protocol.name == "push":
            self._age = self._ages_then[leaving]
        if self.protocol.name == "push-sum":
            self._flying_mass = self._flying_mass_then[open]
        return leaving, messages._replace(read=renamed(messages.read), before=renamed(messages.before))

    def _counts(self, entries: _Entries, fresh: _Messages, moments: Floats) -> tuple[Ints, Ints]:
        """Exchanges completed and models sent until each moment."""
        done = np.sort(entries.time[entries.part == (CLOSE if self._answers else TAKE)])
        sends = np.sort(self._turn_time[fresh.receiver != -1])
        answers = np.sort(entries.time[entries.part == TAKE]) if self._answers else np.empty(0)
        exchanges = self._exchanges + np.searchsorted(done, moments, side="right")
        sent = self._sent + sum(np.searchsorted(times, moments, side="right") for times in (sends, answers))
        self._exchanges += len(done)
        self._sent += len(sends) + len(answers)
        return exchanges, sent


def levels(inputs: Ints) -> Iterator[Ints]:
    """Entries (K,) in groups, each after all that it depends on: inputs (K, 2), -1 or beyond K for what is there."""
    done = np.zeros(len(inputs) + 1, bool)
    done[-1] = True
    inputs = np.where((inputs < 0) | (inputs >= len(inputs)), len(inputs), inputs)
    waiting = np.arange(len(inputs))
    while len(waiting):
        ready = done[inputs[waiting]].all(axis=1)
        yield waiting[ready]
        done[waiting[ready]] = True
        waiting = waiting[~ready]
