"""Watches a running swarm: an observer that also asks for sketches and links, and what follows from them.

Each agent is asked for its own, on a connection of ours, and those that we can't reach are asked for through another.
Nothing that comes is trusted: who sends the sketch of another must have its signature where agents have keys, numbers
are checked, and what is kept is bounded.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from agents.mixing.distances import Course, Estimate, Made, course, estimated
from agents.mixing.sketch import unpack
from agents.observe.observer import Observer
from agents.observe.records import weighs
from agents.protocol.limits import KEPT, LOOK_S
from agents.protocol.membership import ABSENT
from agents.submodel import WHOLE, part_of
from transport.credentials import Credentials
from transport.messages import AgentId, Links, Look, Message, Sketch, Welcome
from transport.signing import signer

MAX_WATCHED = 64
"""Agents that we connect with, to ask each for its own."""

MAX_KEPT = 4096
"""Agents whose sketches are kept."""

MAX_COURSE = 8
"""Steps whose consensus distance is kept: over these its slope is taken."""

FIRST_S, ANSWER_S = 1.5, 0.4
"""How long the first look, and any later one, waits for answers, and for connections before: there is a next one."""


class Watching:
    """observer: has met the swarm, and hands us what isn't about members. welcome: of the first that answered."""

    def __init__(self, join: Iterable[str], credentials: Credentials | None) -> None:
        self.observer = Observer(join, credentials, self._take)
        self._credentials = credentials
        self._made: dict[AgentId, list[tuple[tuple[int, int], bool, Made]]] = {}
        self._links: dict[AgentId, tuple[float, Links]] = {}
        self._answered: set[AgentId] = set()
        self._course: dict[int, float] = {}
        self._compared: set[str] = set()
        self._looked_s = 0.0
        self.submodel = WHOLE

    def meet(self, timeout_s: float) -> Welcome:
        """The welcome of the first agent that answers. Raises Unreachable."""
        welcome = self.observer.meet(timeout_s)
        self.submodel = str(welcome.settings.get("submodel", WHOLE))
        return welcome

    def look(self) -> None:
        """Ask everyone for records, sketches and links, and take in what comes within a short time."""
        time.sleep(max(0.0, self._looked_s + LOOK_S - time.monotonic()))
        observer, first = self.observer, not self._looked_s
        answer_s = FIRST_S if first else ANSWER_S
        if not first:
            observer.refresh(answer_s)
        alive = observer.alive()[:MAX_WATCHED]
        self._forget({member.agent for member in (*observer.alive(), *observer.gone())})
        if not all(observer.reached_at(member.agent) for member in alive):
            observer.reach(answer_s)
        living = {member.agent for member in observer.alive()}
        welcomed = [welcome.agent for welcome in observer.welcomes()]
        met = [agent for agent in welcomed if agent in living] or welcomed  # Who is gone would answer for nobody.
        self._answered.clear()
        others = living.difference(met)
        through = met[0] if met and (others or first) else None
        observer.send_all(Look(), only={agent for agent in met if agent != through})
        observer.send_all(Look(everyone=True), only={through} if through else ())
        self._looked_s = time.monotonic()
        while not self._answered.issuperset(met) and time.monotonic() < self._looked_s + answer_s:
            observer.listen(0.02)

    def links(self) -> dict[AgentId, tuple[float, Links]]:
        """By agent, how old its last answer is, in seconds, and with whom it exchanged."""
        return {agent: (time.monotonic() - came_s, links) for agent, (came_s, links) in self._links.items()}

    def estimate(self) -> Estimate | None:
        """How far apart the models are of those that are alive; None where too little is known."""
        made, weights, parts = self._known()
        return estimated(made, weights, parts)

    def course(self) -> Course:
        """(step, consensus distance) at the last steps of which all that train had a sketch; none where nobody does.

        It begins again when the first sketch of one more agent comes: what it was of fewer is of another swarm.
        """
        made, weights, parts = self._known()
        compared = {agent for agent, each in made.items() if each and agent in weights}
        if not compared <= self._compared or all(made[agent][-1].still for agent in compared):
            self._course.clear()
        self._compared = compared
        self._course |= dict(course(made, weights, parts))
        self._course = dict(sorted(self._course.items())[-MAX_COURSE:])
        return list(self._course.items())

    def close(self) -> None:
        """Hang up."""
        self.observer.close()

    def _known(self) -> tuple[dict[str, list[Made]], dict[str, float], dict[str, int | None]]:
        """Of those that are alive and hold a vector: their sketches, weights, and which subnetwork each trains."""
        alive = {member.agent: member for member in self.observer.alive() if member.state not in ABSENT}
        made = {
            str(agent): [each for of, _, each in kept if of == (alive[agent].incarnation, alive[agent].report.part)]
            for agent, kept in self._made.items()
            if agent in alive
        }
        weights = {str(agent): member.report.weight for agent, member in alive.items() if weighs(member)}
        parts = {
            str(agent): part_of(self.submodel, member.report.shard, member.report.part)
            for agent, member in alive.items()
        }
        return made, weights, parts

    def _forget(self, known: Collection[AgentId]) -> None:
        """Keep nothing of agents but these: in a long run there are ever more that are gone."""
        self._made = {agent: made for agent, made in self._made.items() if agent in known}
        self._links = {agent: links for agent, links in self._links.items() if agent in known}

    def _take(self, message: Message, welcome: Welcome) -> None:
        match message:
            case Links():
                self._links[welcome.agent] = time.monotonic(), message
                self._answered.add(welcome.agent)
            case Sketch():
                self._take_sketch(message, welcome)

    def _take_sketch(self, sketch: Sketch, welcome: Welcome) -> None:
        """Keep it: what an agent sends of itself precedes what others pass on."""
        direct = (sketch.agent, sketch.incarnation) == (welcome.agent, welcome.incarnation)
        kept = self._made.get(sketch.agent, [])
        if not direct and (any(own for _, own, _ in kept) or not self._is_signed(sketch, welcome)):
            return
        try:
            made = Made(sketch.step, sketch.still, unpack(sketch.payload))
        except ValueError:
            return
        of = sketch.incarnation, sketch.part
        same = [each for each in kept if each[0] == of and each[1] == direct]
        older = [] if made.still else [each for each in same if each[2].step < made.step and not each[2].still]
        if any(each[2].step > made.step for each in same) and not made.still:
            return
        if sketch.agent in self._made or len(self._made) < MAX_KEPT:
            self._made[sketch.agent] = [*older, (of, direct, made)][-KEPT:]

    def _is_signed(self, sketch: Sketch, welcome: Welcome) -> bool:
        signing = signer(self._credentials, welcome.manifest)
        if signing is None:
            return True
        known = next((member for member in self.observer.alive() if member.agent == sketch.agent), None)
        return known is not None and signing.is_sketched(sketch, known.identity.key, welcome.run)


@contextmanager
def watching(
    join: Iterable[str], timeout_s: float, credentials: Credentials | None
) -> Iterator[tuple[Watching, Welcome]]:
    """One who watches and has looked once, and the first welcome; hung up at the end."""
    watch = Watching(join, credentials)
    try:
        welcome = watch.meet(timeout_s)
        watch.look()
        yield watch, welcome
    finally:
        watch.close()
