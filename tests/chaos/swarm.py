"""A swarm on the virtual network under a schedule of chaos: agents train, crash, leave, join, sleep and come back.

What `Peer` does for a training loop in a process, `Loop` does here on the virtual clock, from the first Hello to the
exact finish; `Swarm` is the network, with all that befalls it.
"""

import random
from dataclasses import dataclass, replace

import numpy as np

from agents.mixing.layout import Layout
from agents.protocol import events as ev
from agents.protocol.incarnation import Incarnation
from agents.protocol.membership import ABSENT
from agents.protocol.settings import CoreSettings
from tests.agents.protocol.memory_network import Agent, MemoryNetwork, Weather
from tests.chaos.liar import Liar
from tests.chaos.schedule import Fault, Schedule
from transport.messages import Address

DRAIN_S = 5.0
FIRST_INCARNATION = 100_000


class Pace:
    """An agent's clock: it never goes back, and goes at its own rate."""

    def __init__(self, clock) -> None:
        self._clock, self._from_s, self._own_s, self._rate = clock, clock.now, clock.now, 1.0

    def __call__(self) -> float:
        return self._own_s + self._rate * (self._clock.now - self._from_s)

    def go(self, rate: float) -> None:
        """From now on it goes so many times as fast."""
        self._own_s, self._from_s, self._rate = self(), self._clock.now, rate


@dataclass
class Saved:
    """What an agent has on its disk: the vector, how far it had trained, its incarnation."""

    theta: np.ndarray
    step: int
    round: int


class Loop:
    """One start of an agent, and its training loop: `boundary` is called each period."""

    def __init__(self, swarm: "Swarm", agent: Agent, period_s: float, saved: Saved | None) -> None:
        self.swarm, self.agent, self.name, self.period_s = swarm, agent, agent.name, period_s
        self.core = agent.core
        self.step, self.round = (saved.step, saved.round) if saved else (0, 0)
        self.resumed = saved is not None
        self.saved = saved or Saved(agent.own.copy(), 0, 0)
        self.asked_s: float | None = None
        self.longest_s = 0.0
        self.leaving_s: float | None = None
        self.adopting = False
        self.over = self.stops = False
        self.slept_s = 0.0
        """For how long it was paused in all."""
        self._random = random.Random(f"{swarm.seed}/{self.name}/{self.core.members.me.incarnation}")
        self._noise = np.random.default_rng(self._random.randrange(1 << 30))
        swarm.clock.at(swarm.now + self._random.uniform(0, period_s), self._boundary)

    @property
    def state(self) -> str:
        """As it is published."""
        return self.core.members.me.state

    def _boundary(self) -> None:
        if self.over:
            return
        if self.name not in self.swarm.paused:
            self.boundary()
        self.swarm.clock.at(self.swarm.now + self.period_s, self._boundary)

    def boundary(self) -> None:
        """What the training loop does once a period."""
        if self.state == "joining":
            self._enter()
        if self.state == "joining" or self.leaving_s is not None:
            return self._leave_if_drained()
        trains = self.state in ("ready", "training") and self.swarm.trains
        if trains:
            self.step += 1
            self.agent.driver.publish(**({"state": "training"} if self.state == "ready" else {}), step=self.step)
        self.swarm.train(self.name, self._noise.normal(size=self.swarm.parameters) * trains)
        if self._random.random() < 0.2:
            self.saved = Saved(self.agent.own.copy(), self.step, self.round)
        self._note_over()
        if self.asked_s is None and not self.stops:
            self.round += 1
            self.asked_s = self.swarm.now
            self.swarm.due(self.name, self.round)
            self._note_over()
        return None

    def finish(self) -> None:
        """Training is over: finish with the others."""
        if self.state != "settling":
            self.agent.driver.publish(state="settling", step=self.step)
            self.agent.handle(ev.FinishExactly())

    def leave(self) -> None:
        """Complete what is open, save and publish that we leave; `Swarm` ends us then."""
        if self.leaving_s is None:
            self.agent.handle(ev.Drain())
            self.leaving_s = self.swarm.now

    def _leave_if_drained(self) -> None:
        if self.leaving_s is None:
            return
        if self.core.exchanges.idle or self.swarm.now - self.leaving_s >= DRAIN_S:
            if self.state != "joining":
                self.swarm.train(self.name, np.zeros(self.swarm.parameters))
                self.saved = Saved(self.agent.own.copy(), self.step, self.round)
            clean = self.core.exchanges.idle
            self.agent.driver.publish(state="left")
            self.swarm.end(self, clean)

    def _note_over(self) -> None:
        """Whether training waits no longer for the exchange that it asked for."""
        if self.asked_s is None:
            return
        self.longest_s = max(self.longest_s, self.swarm.now - self.asked_s)
        if any(isinstance(s, ev.RoundOver) and s.round == self.round for s in self.agent.signals[-50:]):
            self.asked_s = None

    def _enter(self) -> None:
        """As `Peer` does: wait for a welcome, adopt a vector where others train and we have none of our own."""
        members = self.core.members.met()
        if self.leaving_s is not None or not self.core.handshake.welcomed or not members:
            return
        others_train = any(member.report.step > 0 and member.state not in ABSENT for member in members)
        if others_train and not self.resumed:
            if not self.adopting:
                self.adopting = True
                self.swarm.adopt(self.name)
            return
        if self.adopting:
            self.agent.handle(ev.StopAdopting())
            self.agent.vectors.inner.stop_adopting()
        self.agent.trained = self.agent.own.astype(np.float64)
        self.agent.driver.publish(state="ready")


class Swarm(MemoryNetwork):
    """The agents of a schedule. ended: the starts of agents that are over, as they were at their end."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule.parameters, schedule.seed, topology=schedule.topology)
        self.schedule = schedule
        self.loops: dict[str, Loop] = {}
        self.ended: list[tuple[Loop, bool]] = []
        self.paused: set[str] = set()
        self.trains = True
        self.away = 0
        """How many are to come back."""
        self.chunks = len(Layout.flat(schedule.parameters).chunks)
        self.manifest = CoreSettings("run", "ring", 0, 0.5, 1, 1).manifest.hash
        self._numbers: dict[str, list[int]] = {}
        self._paces: dict[str, Pace] = {}
        self._backlog: dict[str, list] = {}
        self._blocked: list[tuple[frozenset, bool]] = []
        self._replays: tuple[float, float] = (0.0, 0.0)
        self.liars: list[Liar] = []
        draw = np.random.default_rng(schedule.seed)
        for number, name in enumerate(schedule.agents):
            join = [
                f"tcp://{other}.example:5710" for other in schedule.agents[:number] if other not in schedule.behind_nat
            ]
            join = [each for each in join if draw.random() < 0.7 or each == join[0]]
            self.start(name, draw.normal(size=schedule.parameters), tuple(join))
        for fault in schedule.faults:
            self.at(fault.when, lambda fault=fault: self.befall(fault))

    # Agents.

    def start(self, name: str, theta, join: tuple[str, ...], jump: int = 1, saved: Saved | None = None) -> Loop:
        """An agent starts, for the first time or again."""
        numbers = self._numbers.setdefault(name, [])
        number = (numbers[-1] + jump) if numbers else FIRST_INCARNATION
        while number in numbers:
            number += 1
        numbers.append(number)
        index = self.schedule.agents.index(name) if name in self.schedule.agents else 0
        pace = self._paces[name] = Pace(self.clock)
        agent = self.add_agent(
            name, theta, alpha=self.schedule.alphas[index], weight=self.schedule.weights[index],
            nat=name in self.schedule.behind_nat, incarnation=number, topology=self.schedule.topology,
            state="joining" if join else "ready", join=tuple(map(Address, join)), now=pace,
        )  # fmt: skip
        agent.join, agent.incarnation = join, Incarnation(name, number)
        agent.trained = agent.own.astype(np.float64)
        self.paused.discard(name)
        loop = self.loops[name] = Loop(self, agent, self.schedule.periods_s[index], saved)
        return loop

    def end(self, loop: Loop, clean: bool) -> None:
        """An agent is no more. clean: nothing was open."""
        loop.over = True
        self.ended.append((loop, clean))
        self.remove(loop.name)
        del self.loops[loop.name]
        del self.agents[loop.name]
        self.paused.discard(loop.name)
        self._backlog.pop(loop.name, None)

    @property
    def complete(self) -> bool:
        """Whether all that are to come back are here, and nobody is leaving."""
        return not self.away and not any(loop.leaving_s for loop in self.loops.values())

    def join_anew(self) -> None:
        """Where some agents and the others know no address of each other, one starts again with all of them.

        They were started with addresses of agents that are gone for good. ZeroMQ connects by addresses: no message
        passes between them, whatever the protocol does, so a user has to bring them together.
        """
        for name in list(self.loops):
            linked = self._linked(name)
            if any(agent.core.members.me.address for other, agent in self.agents.items() if other not in linked):
                loop, there = self.loops[name], [agent.core.members.me.address for agent in self.agents.values()]
                self.end(loop, clean=False)
                self.start(name, loop.saved.theta, tuple(filter(None, there)), saved=replace(loop.saved))

    def _linked(self, name: str) -> set[str]:
        """All to whom a chain of agents leads from this one, of which one of each two knows an address of the other."""
        known: dict[str, set[str]] = {}
        for one, agent in self.agents.items():
            members = agent.core.members
            records = {member.address for member in (*members.others(), *members.gone())}
            known[one] = {*agent.join, *records, *agent.core.handshake._contacts}
        listens = {one: agent.core.members.me.address for one, agent in self.agents.items()}
        found, todo = {name}, [name]
        while todo:
            one = todo.pop()
            new = {
                each for each in self.agents if listens[each] in known[one] - {""} or listens[one] in known[each] - {""}
            }
            todo += new - found
            found |= new
        return found

    def total(self) -> np.ndarray:
        """The conserved quantity, with those that are over as they were at their end, and what liars brought in."""
        living = dict(self.agents)
        self.agents = living | {f"{loop.name}/{k}": loop.agent for k, (loop, _) in enumerate(self.ended)}
        try:
            total = super().total()
        finally:
            self.agents = living
        chunks = Layout.flat(self.parameters).chunks
        for chunk, moved in self.account.brought:
            total[chunks[chunk]] -= moved
        return total

    # The network.

    def deliver(self, packet) -> None:
        """As the network does; who is paused receives it later."""
        if packet.receiver in self.paused:
            self._backlog.setdefault(packet.receiver, []).append(packet)
        else:
            super().deliver(packet)

    def _weather(self, sender, receiver, message):
        for side, oneway in self._blocked:
            if (sender.name in side) != (receiver.name in side) and (not oneway or sender.name in side):
                return
        yield from super()._weather(sender, receiver, message)
        self.sent.clear()
        likely, later_s = self._replays
        if self._random.random() < likely:
            yield self._random.uniform(0, later_s)

    def calm(self) -> None:
        """From now on all is fair: nobody sleeps, lies or is cut off."""
        self.weather, self._replays = Weather(), (0.0, 0.0)
        self._blocked.clear()
        for name in list(self.paused):
            self._resume(name)
        for name in self.agents:
            self.reunite(name)
        for liar in self.liars:
            liar.stop()

    # What befalls them.

    def befall(self, fault: Fault) -> None:
        """It goes wrong now."""
        over = self.now + fault.for_s
        match fault.kind:
            case "weather":
                self.weather = Weather(*fault.value)
                self.at(over, lambda: setattr(self, "weather", Weather()))
            case "replay":
                self._replays = fault.value
                self.at(over, lambda: setattr(self, "_replays", (0.0, 0.0)))
            case "partition" | "oneway":
                block = frozenset(fault.who), fault.kind == "oneway"
                self._blocked.append(block)
                self.at(over, lambda: self._blocked.remove(block) if block in self._blocked else None)
            case "join":
                join = tuple(self.addresses)
                honest = set(join) - {liar.address for liar in self.liars}  # Who knows a liar alone never gets further.
                if honest and fault.who[0] not in self._numbers:
                    theta = np.random.default_rng(self.schedule.seed).normal(size=self.parameters)
                    self.start(fault.who[0], theta, join)
            case "liar":
                liar = Liar(self, int(fault.value[0]))
                self.liars.append(liar)
                self.at(over, liar.stop)
            case _ if fault.who[0] in self.loops and self.loops[fault.who[0]].leaving_s is None:
                self._befall_one(fault, self.loops[fault.who[0]], over)

    def _befall_one(self, fault: Fault, loop: Loop, over: float) -> None:
        name = loop.name
        match fault.kind:
            case "isolate":
                self.isolate(name)
                self.at(over, lambda: self.reunite(name))
            case "pause":
                self.paused.add(name)
                self.nodes[name].online = lambda: name not in self.paused
                loop.slept_s += fault.for_s
                self.at(over, lambda: self._resume(name))
            case "pace":
                self._paces[name].go(fault.value[0])
                self.at(over, lambda: self._paces[name].go(1.0))
            case "crash":
                self.end(loop, clean=False)
                self._come_back(loop, fault)
            case "leave":
                loop.leave()
                self._come_back(loop, fault)

    def _come_back(self, loop: Loop, fault: Fault) -> None:
        def start() -> None:
            if loop.name in self.loops:  # Still leaving: later.
                self.at(self.now + 0.5, start)
                return
            self.away -= 1
            self.start(loop.name, loop.saved.theta, loop.agent.join, int(fault.value[0]), replace(loop.saved))

        if fault.value:
            self.away += 1
            self.at(self.now + fault.for_s, start)

    def _resume(self, name: str) -> None:
        self.paused.discard(name)
        for packet in self._backlog.pop(name, []):
            self.deliver(packet)
